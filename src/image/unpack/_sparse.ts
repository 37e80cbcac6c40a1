/** Sparse files: the maps of old GNU headers and of PAX 0.0, 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files"). */
import type { Extent } from "./entry.ts";
import { binaryString, BLOCK_BYTES, numberAt } from "./_header.ts";
import { paxInteger, type PaxRecords } from "./_pax.ts";

const OLD_MAP = 386;
const OLD_MAP_ENTRIES = 4;
const OLD_IS_EXTENDED = 482;
const OLD_REAL_SIZE = 483;
const EXTENSION_ENTRIES = 21;
const EXTENSION_IS_EXTENDED = 504;
const ENTRY_BYTES = 24;
const NUMBER_BYTES = 12;
/** Limit of a map's text in PAX 1.0, bytes, and of entries of any map: no honest file comes near. */
const MAX_MAP_BYTES = 1 << 20;
const MAX_EXTENTS = 1 << 16;
const MAX_LINE_CHARS = 20;

/** A map that is being read. `ok` is false once it is malformed. */
export interface SparseMap {
  readonly extents: Extent[];
  /** Size of the whole file, bytes. */
  realSize: number;
  /** Another block of the map follows. */
  more: boolean;
  ok: boolean;
}

/** The map in an old GNU header block (type S). */
export function oldGnuMap(block: Uint8Array, at: number): SparseMap {
  const map: SparseMap = {
    extents: [],
    realSize: numberAt(block, at + OLD_REAL_SIZE, NUMBER_BYTES),
    more: (block[at + OLD_IS_EXTENDED] ?? 0) !== 0,
    ok: true,
  };
  readOldEntries(map, { block, start: at + OLD_MAP, count: OLD_MAP_ENTRIES });
  return map;
}

/** Adds an extension block of an old GNU map. */
export function extendOldGnuMap(map: SparseMap, block: Uint8Array, at: number): void {
  readOldEntries(map, { block, start: at, count: EXTENSION_ENTRIES });
  map.more = (block[at + EXTENSION_IS_EXTENDED] ?? 0) !== 0;
}

function readOldEntries(map: SparseMap, source: { block: Uint8Array; start: number; count: number }): void {
  for (let i = 0; i < source.count; i++) {
    const at = source.start + i * ENTRY_BYTES;
    // An entry with an empty offset or length field ends the map.
    if (source.block[at] === 0 || source.block[at + NUMBER_BYTES] === 0) return;
    addExtent(map, numberAt(source.block, at, NUMBER_BYTES), numberAt(source.block, at + NUMBER_BYTES, NUMBER_BYTES));
  }
}

function addExtent(map: SparseMap, offset: number, sizeBytes: number): void {
  const last = map.extents.at(-1);
  const from = last === undefined ? 0 : last.offset + last.sizeBytes;
  const isValid = offset >= from && sizeBytes >= 0 && Number.isSafeInteger(offset + sizeBytes);
  if (!isValid || map.extents.length >= MAX_EXTENTS) map.ok = false;
  else map.extents.push({ offset, sizeBytes });
}

/** Which kind of PAX sparse file these records describe; undefined for an ordinary file. */
export function paxSparseKind(records: PaxRecords): "in_header" | "in_data" | undefined {
  const major = records.get("GNU.sparse.major") ?? "";
  const minor = records.get("GNU.sparse.minor") ?? "";
  if (major === "0" && (minor === "0" || minor === "1")) return "in_header";
  if (major === "1" && minor === "0") return "in_data";
  if (major !== "" || minor !== "") return undefined;
  return (records.get("GNU.sparse.map") ?? "") === "" ? undefined : "in_header";
}

/** Size of the whole file by the records, bytes; `otherwise` when they do not say; NaN when they are wrong. */
export function paxRealSize(records: PaxRecords, otherwise: number): number {
  const text = records.get("GNU.sparse.size") || records.get("GNU.sparse.realsize");
  return text === undefined || text === "" ? otherwise : paxInteger(text);
}

/** The map of formats 0.0 and 0.1. */
export function paxHeaderMap(records: PaxRecords, realSize: number): SparseMap {
  const map: SparseMap = { extents: [], realSize, more: false, ok: true };
  const count = paxInteger(records.get("GNU.sparse.numblocks") ?? "");
  const text = records.get("GNU.sparse.map") ?? "";
  const numbers = text === "" ? [] : text.split(",").map(paxInteger);
  if (numbers.length !== count * 2) map.ok = false;
  for (let i = 0; map.ok && i < numbers.length; i += 2) addExtent(map, numbers[i] ?? NaN, numbers[i + 1] ?? NaN);
  return map;
}

/** Reads the map of format 1.0, which stands before the data in whole blocks: decimal lines, the count first. */
export class DataMapReader {
  readonly map: SparseMap;
  #text = "";
  #bytes = 0;
  #numbers: number[] = [];

  constructor(realSize: number) {
    this.map = { extents: [], realSize, more: true, ok: true };
  }

  /** Takes the next block of the map. */
  add(block: Uint8Array, at: number): void {
    this.#bytes += BLOCK_BYTES;
    const text = this.#text + binaryString(block, at, at + BLOCK_BYTES);
    const lines = text.split("\n");
    this.#text = lines.pop() ?? "";
    for (const line of lines) {
      const value = paxInteger(line);
      if (!(value >= 0)) this.map.ok = false;
      this.#numbers.push(value);
      if (this.#isComplete()) break;
    }
    const isTooLong = this.#text.length > MAX_LINE_CHARS || this.#bytes > MAX_MAP_BYTES;
    if ((this.#numbers[0] ?? 0) > MAX_EXTENTS || (isTooLong && !this.#isComplete())) this.map.ok = false;
    if (!this.map.ok || this.#isComplete()) this.#finish();
  }

  #isComplete(): boolean {
    const count = this.#numbers[0];
    return count !== undefined && this.#numbers.length >= 1 + count * 2;
  }

  #finish(): void {
    this.map.more = false;
    for (let i = 1; this.map.ok && i < this.#numbers.length; i += 2) {
      addExtent(this.map, this.#numbers[i] ?? NaN, this.#numbers[i + 1] ?? NaN);
    }
  }
}

/** Whether the map fits its file: in order (checked as it was read), within the size, and all stored bytes are used. */
export function mapFits(map: SparseMap, storedBytes: number): boolean {
  const last = map.extents.at(-1);
  const end = last === undefined ? 0 : last.offset + last.sizeBytes;
  const total = map.extents.reduce((sum, extent) => sum + extent.sizeBytes, 0);
  return map.ok && Number.isSafeInteger(map.realSize) && end <= map.realSize && total === storedBytes;
}
