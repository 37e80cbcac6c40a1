/** PAX extended headers: records `length key=value\n` (POSIX.1-2001 pax, "pax Extended Header"). */
import { binaryString } from "./_header.ts";
import { bytesOfName } from "./layer_error.ts";
import type { FileTime } from "./entry.ts";

/** The keys of one extended header, bytes in strings. An empty value deletes the key: the header block's field counts. */
export type PaxRecords = Map<string, string>;

const LARGE_CHARS = 4096;
const LENGTH = /^[0-9]{1,10}$/;
const INTEGER = /^[+-]?[0-9]{1,19}$/;
const TIME = /^(-?)([0-9]{1,16})(?:\.([0-9]*))?$/;
const NANO_DIGITS = 9;
const NANOS = 1_000_000_000;
/** Values of these keys are names: a NUL would cut them silently. Of all others only the key may not hold one. */
const NAME_KEYS: ReadonlySet<string> = new Set(["path", "linkpath", "uname", "gname", "GNU.sparse.name"]);
const SPARSE_OFFSET = "GNU.sparse.offset";
const SPARSE_LENGTH = "GNU.sparse.numbytes";
const SPARSE_MAP = "GNU.sparse.map";

/**
 * Parses the content of an extended header. The repeated keys of sparse format 0.0 come out as one map, as in 0.1.
 *
 * @returns undefined when it is malformed
 */
export function parsePax(content: string): PaxRecords | undefined {
  const records: PaxRecords = new Map();
  const sparse: string[] = [];
  for (let at = 0; at < content.length;) {
    const record = recordAt(content, at);
    if (record === undefined) return undefined;
    at = record.end;
    if (record.key === SPARSE_OFFSET || record.key === SPARSE_LENGTH) {
      const expected = sparse.length % 2 === 0 ? SPARSE_OFFSET : SPARSE_LENGTH;
      if (record.key !== expected || record.value.includes(",")) return undefined;
      sparse.push(record.value);
    } else {
      // A part of a string keeps the whole alive; names outlive the header.
      const isLarge = content.length > LARGE_CHARS;
      records.set(record.key, isLarge ? detached(record.value) : record.value);
    }
  }
  if (sparse.length > 0) records.set(SPARSE_MAP, sparse.join(","));
  return records;
}

function recordAt(content: string, at: number): { key: string; value: string; end: number } | undefined {
  const space = content.indexOf(" ", at);
  if (space === -1 || space - at > 10) return undefined;
  const lengthText = content.slice(at, space);
  const end = at + Number(lengthText);
  if (!LENGTH.test(lengthText) || end > content.length || end - 2 < space || content[end - 1] !== "\n") {
    return undefined;
  }
  const equals = content.indexOf("=", space);
  if (equals === -1 || equals >= end || equals === space + 1) return undefined;
  const key = content.slice(space + 1, equals);
  const value = content.slice(equals + 1, end - 1);
  if ((NAME_KEYS.has(key) ? value : key).includes("\0")) return undefined;
  return { key, value, end };
}

/** A decimal integer; NaN when it is not one, or is beyond 2^53. */
export function paxInteger(text: string): number {
  const value = INTEGER.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(value) ? value : NaN;
}

/** A time in decimal seconds; digits beyond nanoseconds are cut. Undefined when it is not one. */
export function paxTime(text: string): FileTime | undefined {
  const match = TIME.exec(text);
  if (match === null) return undefined;
  const [, sign, whole = "", fraction = ""] = match;
  const seconds = Number(whole);
  const nanos = Number(fraction.slice(0, NANO_DIGITS).padEnd(NANO_DIGITS, "0"));
  if (!Number.isSafeInteger(seconds)) return undefined;
  if (sign !== "-") return { seconds, nanos };
  return nanos === 0 ? { seconds: -seconds, nanos: 0 } : { seconds: -seconds - 1, nanos: NANOS - nanos };
}

function detached(text: string): string {
  const bytes = bytesOfName(text);
  return binaryString(bytes, 0, bytes.length);
}
