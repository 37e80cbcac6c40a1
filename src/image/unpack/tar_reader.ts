import type { ErrorKind } from "../../base/errors.ts";
import { binaryString, BLOCK_BYTES, isZeroBlock, parseHeader, type RawHeader } from "./_header.ts";
import { parsePax, type PaxRecords } from "./_pax.ts";
import {
  DataMapReader,
  extendOldGnuMap,
  mapFits,
  oldGnuMap,
  paxHeaderMap,
  paxRealSize,
  paxSparseKind,
  type SparseMap,
} from "./_sparse.ts";
import { buildEntry, hasPayload, type MetaHeaders, resolveSize } from "./_build_entry.ts";
import type { TarEntry } from "./entry.ts";
import { LayerError } from "./layer_error.ts";

/** Takes what a {@link TarReader} finds, in the order of the archive. */
export interface TarSink {
  /** Bytes of the archive that are no payload: headers, padding, the end. Valid during the call only. */
  raw(bytes: Uint8Array<ArrayBuffer>): void;
  /** A global PAX header was read; it changes nothing. */
  globalHeader(name: string): void;
  /** The next entry. Its payload follows, in pieces. */
  entry(entry: TarEntry): void;
  /** Payload as stored in the archive. Valid during the call only. */
  payload(bytes: Uint8Array<ArrayBuffer>): void;
  /** All payload of the entry was given. */
  entryEnd(): void;
}

export interface TarReaderLimits {
  readonly maxPathBytes: number;
}

/** Limit of one extended header or long name, bytes: that of Go's archive/tar, which containers/storage uses. */
const MAX_META_BYTES = 1 << 20;

type State =
  | "header"
  | "meta"
  | "extension" // blocks of an old GNU sparse map
  | "map" // blocks of a PAX 1.0 sparse map
  | "payload"
  | "padding"
  | "end" // after the first zero block
  | "trailer";

/**
 * Reads a tar archive that is pushed to it in pieces of any size: ustar, PAX, GNU and old tar.
 *
 * {@link step} works through one header or one piece of payload at a time, so that a caller can pause anywhere. What
 * is accepted follows Go's archive/tar, which is what the rest of the world reads layers with.
 */
export class TarReader {
  #state: State = "header";
  /** Bytes of all that was consumed. */
  #offset = 0;
  readonly #block = new Uint8Array(BLOCK_BYTES);
  #blockFill = 0;
  #meta: MetaHeaders = {};
  #metaType = "";
  #metaBytes = new Uint8Array(0);
  #metaFill = 0;
  #remaining = 0;
  #padding = 0;
  #header: RawHeader | undefined;
  #records: PaxRecords | undefined;
  #map: SparseMap | undefined;
  #dataMap: DataMapReader | undefined;
  #stored = 0;
  #entryName = "";
  #entryOffset = 0;
  #headOffset = 0;
  #inChain = false;

  constructor(private readonly sink: TarSink, private readonly limits: TarReaderLimits) {}

  /** Name of the entry being read, bytes in a string, and the offset of its first header; for error messages. */
  get place(): { entry: string; offset: number } {
    return { entry: this.#entryName, offset: this.#entryOffset };
  }

  /**
   * Works through the next part of `chunk`, which starts at `from`.
   *
   * @returns the index up to which the chunk is done
   * @throws LayerError when the archive is damaged; what the sink throws
   */
  step(chunk: Uint8Array<ArrayBuffer>, from: number): number {
    switch (this.#state) {
      case "payload":
        return this.#payload(chunk, from);
      case "meta":
        return this.#collectMeta(chunk, from);
      case "padding":
        return this.#skipPadding(chunk, from);
      case "trailer":
        this.#raw(chunk, from, chunk.length);
        return chunk.length;
      default:
        return this.#takeBlock(chunk, from);
    }
  }

  /**
   * Passes over what is left of an entry's payload, for a caller that only wants to know where it is.
   *
   * @returns how many bytes the caller leaves out before the next {@link step}; 0 outside of payload
   */
  skipPayload(): number {
    if (this.#state !== "payload") return 0;
    const skipped = this.#remaining;
    this.#offset += skipped;
    this.#remaining = 0;
    this.#onPayloadEnd();
    return skipped;
  }

  /**
   * The archive ends here. A missing end marker is accepted, as Go does: the digest tells whether something was cut.
   *
   * @throws LayerError in the middle of an entry
   */
  end(): void {
    const isBetween = this.#blockFill === 0 && (this.#state === "header" || this.#state === "end");
    if (this.#state === "trailer") return;
    if (!this.#inChain && (isBetween || this.#state === "padding")) return;
    this.#fail(`the archive is cut after ${this.#offset} bytes`);
  }

  #fail(reason: string, kind: ErrorKind = "data_loss"): never {
    throw new LayerError(reason, { ...this.place, kind });
  }

  #raw(chunk: Uint8Array<ArrayBuffer>, from: number, to: number): void {
    this.#offset += to - from;
    this.sink.raw(from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to));
  }

  #takeBlock(chunk: Uint8Array<ArrayBuffer>, from: number): number {
    if (this.#blockFill === 0 && chunk.length - from >= BLOCK_BYTES) {
      this.#raw(chunk, from, from + BLOCK_BYTES);
      this.#onBlock(chunk, from);
      return from + BLOCK_BYTES;
    }
    const to = Math.min(chunk.length, from + BLOCK_BYTES - this.#blockFill);
    this.#block.set(chunk.subarray(from, to), this.#blockFill);
    this.#blockFill += to - from;
    if (this.#blockFill < BLOCK_BYTES) return to;
    this.#blockFill = 0;
    this.#raw(this.#block, 0, BLOCK_BYTES);
    this.#onBlock(this.#block, 0);
    return to;
  }

  #onBlock(block: Uint8Array<ArrayBuffer>, at: number): void {
    if (this.#state === "extension") return this.#onExtension(block, at);
    if (this.#state === "map") return this.#onMapBlock(block, at);
    if (block[at] === 0 && isZeroBlock(block, at)) {
      if (this.#state === "header" && this.#inChain) this.#fail("an extended header is followed by nothing");
      this.#state = this.#state === "end" ? "trailer" : "end";
      return;
    }
    if (this.#state === "end") this.#fail("a single zero block stands between entries");
    this.#onHeader(block, at);
  }

  #onHeader(block: Uint8Array<ArrayBuffer>, at: number): void {
    if (!this.#inChain) this.#headOffset = this.#offset - BLOCK_BYTES;
    this.#entryOffset = this.#headOffset;
    const header = parseHeader(block, at);
    if (header === undefined) this.#fail(`the header at byte ${this.#offset - BLOCK_BYTES} has a wrong checksum`);
    this.#entryName = header.name;
    for (const key of ["mode", "uid", "gid", "size", "mtime", "deviceMajor", "deviceMinor"] as const) {
      if (Number.isNaN(header[key])) this.#fail(`the header's ${key} is not a number or is out of range`);
    }
    switch (header.type) {
      case "x":
      case "g":
      case "L":
      case "K":
        return this.#startMeta(header);
      case "S":
        return this.#startOldSparse(header, { block, at });
      default:
        return this.#startEntry(header);
    }
  }

  #startMeta(header: RawHeader): void {
    const limit = `limit of ${MAX_META_BYTES} bytes`;
    if (header.size < 0) this.#fail("the header's size is negative");
    if (header.size > MAX_META_BYTES) {
      this.#fail(`an extended header of ${header.size} bytes is over the ${limit}`, "invalid_argument");
    }
    this.#inChain = true;
    this.#header = header;
    this.#metaType = header.type;
    this.#metaBytes = new Uint8Array(header.size);
    this.#metaFill = 0;
    this.#padding = paddingOf(header.size);
    this.#state = "meta";
    if (header.size === 0) this.#onMeta();
  }

  #collectMeta(chunk: Uint8Array<ArrayBuffer>, from: number): number {
    const to = Math.min(chunk.length, from + this.#metaBytes.length - this.#metaFill);
    this.#metaBytes.set(chunk.subarray(from, to), this.#metaFill);
    this.#metaFill += to - from;
    this.#raw(chunk, from, to);
    if (this.#metaFill === this.#metaBytes.length) this.#onMeta();
    return to;
  }

  #onMeta(): void {
    const content = binaryString(this.#metaBytes, 0, this.#metaBytes.length);
    this.#metaBytes = new Uint8Array(0);
    this.#state = this.#padding === 0 ? "header" : "padding";
    if (this.#metaType === "L") this.#meta.longName = cut(content);
    else if (this.#metaType === "K") this.#meta.longLink = cut(content);
    else {
      const records = parsePax(content);
      if (records === undefined) this.#fail("an extended header is malformed");
      if (this.#metaType === "x") this.#meta.records = records;
      else this.#onGlobal(records);
    }
  }

  #onGlobal(records: PaxRecords): void {
    // As Go does it: a global header stands for itself, and what stood before it does not reach the next entry.
    this.#meta = {};
    this.#inChain = false;
    this.sink.globalHeader(records.get("path") || this.#header?.name || "");
  }

  #startEntry(header: RawHeader): void {
    const records = this.#meta.records;
    const kind = records === undefined || !hasPayload(header) ? undefined : paxSparseKind(records);
    this.#header = header;
    this.#records = records;
    this.#stored = this.#checkSize(header);
    if (kind === undefined || records === undefined) return this.#emit(undefined, this.#stored);
    const realSize = paxRealSize(records, this.#stored);
    if (kind === "in_header") return this.#emit(paxHeaderMap(records, realSize), this.#stored);
    this.#dataMap = new DataMapReader(realSize);
    this.#state = "map";
  }

  #startOldSparse(header: RawHeader, source: { block: Uint8Array; at: number }): void {
    if (header.format !== "gnu") this.#fail("a GNU sparse file has a header of another format");
    this.#header = header;
    this.#records = this.#meta.records;
    this.#stored = this.#checkSize(header);
    const map = oldGnuMap(source.block, source.at);
    this.#map = map;
    if (map.more && map.ok) this.#state = "extension";
    else this.#emit(map, this.#stored);
  }

  #onExtension(block: Uint8Array, at: number): void {
    const map = this.#map;
    if (map === undefined) return;
    extendOldGnuMap(map, block, at);
    if (!map.ok || !map.more) this.#emit(map, this.#stored);
  }

  #onMapBlock(block: Uint8Array, at: number): void {
    const reader = this.#dataMap;
    if (reader === undefined) return;
    this.#stored -= BLOCK_BYTES;
    if (this.#stored < 0) this.#fail("the map of a sparse file is longer than the file");
    reader.add(block, at);
    if (reader.map.more) return;
    this.#dataMap = undefined;
    this.#emit(reader.map, this.#stored);
  }

  #checkSize(header: RawHeader): number {
    const size = resolveSize(header, this.#meta.records);
    if (!(size >= 0)) this.#fail("the entry's size is negative or not a number");
    return size;
  }

  #emit(map: SparseMap | undefined, stored: number): void {
    const header = this.#header;
    if (header === undefined) return;
    const built = buildEntry(header, this.#meta, {
      sizeBytes: map?.realSize ?? stored,
      storedBytes: stored,
      sparse: map?.extents,
      offset: this.#entryOffset,
    });
    if (typeof built === "string") this.#fail(built, "invalid_argument");
    this.#entryName = built.name;
    if (map !== undefined && !mapFits(map, stored)) this.#fail("the map of a sparse file does not fit its data");
    this.#checkLimits(built);
    this.#meta = {};
    this.#inChain = false;
    this.#map = undefined;
    this.#remaining = stored;
    this.#padding = paddingOf(stored);
    this.#state = "payload";
    this.sink.entry(built);
    if (stored === 0) this.#onPayloadEnd();
  }

  #checkLimits(entry: TarEntry): void {
    const { maxPathBytes } = this.limits;
    if (entry.name.length > maxPathBytes || entry.linkName.length > maxPathBytes) {
      this.#fail(`a name is longer than ${maxPathBytes} bytes`, "invalid_argument");
    }
  }

  #payload(chunk: Uint8Array<ArrayBuffer>, from: number): number {
    const to = Math.min(chunk.length, from + this.#remaining);
    this.#remaining -= to - from;
    this.#offset += to - from;
    this.sink.payload(chunk.subarray(from, to));
    if (this.#remaining === 0) this.#onPayloadEnd();
    return to;
  }

  #onPayloadEnd(): void {
    this.#state = this.#padding === 0 ? "header" : "padding";
    this.sink.entryEnd();
  }

  #skipPadding(chunk: Uint8Array<ArrayBuffer>, from: number): number {
    const to = Math.min(chunk.length, from + this.#padding);
    this.#padding -= to - from;
    this.#raw(chunk, from, to);
    if (this.#padding === 0) this.#state = "header";
    return to;
  }
}

function paddingOf(size: number): number {
  const rest = size % BLOCK_BYTES;
  return rest === 0 ? 0 : BLOCK_BYTES - rest;
}

/** A GNU long name ends at its first NUL. */
function cut(content: string): string {
  const nul = content.indexOf("\0");
  return nul === -1 ? content : content.slice(0, nul);
}
