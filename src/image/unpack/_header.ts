/** The 512-byte header block of POSIX ustar, GNU and old tar (tar(5), "struct posix_header"). Numbers not understood are NaN. */

/** Size of every block of an archive, bytes. */
export const BLOCK_BYTES = 512;

/** Offsets and lengths of the fields. */
const NAME = [0, 100] as const;
const MODE = [100, 8] as const;
const UID = [108, 8] as const;
const GID = [116, 8] as const;
const SIZE = [124, 12] as const;
const MTIME = [136, 12] as const;
const CHECKSUM = [148, 8] as const;
const TYPE = 156;
const LINK_NAME = [157, 100] as const;
const MAGIC = 257;
const DEVICE_MAJOR = [329, 8] as const;
const DEVICE_MINOR = [337, 8] as const;
const PREFIX = [345, 155] as const;
const STAR_PREFIX_LENGTH = 131;
const STAR_TRAILER = 508;

const SPACE = 0x20;
const ZERO = 0x30;
const SEVEN = 0x37;
const BASE_256 = 0x80;

export type HeaderFormat = "old" | "ustar" | "star" | "gnu";

/** Fields of a header block as they stand there; a number that does not parse is NaN. */
export interface RawHeader {
  readonly format: HeaderFormat;
  readonly name: string;
  readonly linkName: string;
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

/** Whether the block at `at` holds zeros only. */
export function isZeroBlock(bytes: Uint8Array, at: number): boolean {
  for (let i = at; i < at + BLOCK_BYTES; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** Reads the header block at `at`; undefined when its checksum is wrong. */
export function parseHeader(bytes: Uint8Array, at: number): RawHeader | undefined {
  if (!checksumIsRight(bytes, at)) return undefined;
  const format = formatOf(bytes, at);
  let name = text(bytes, at, NAME);
  if (format === "ustar" || format === "star") {
    const prefix = text(bytes, at, [PREFIX[0], format === "star" ? STAR_PREFIX_LENGTH : PREFIX[1]]);
    if (prefix !== "") name = `${prefix}/${name}`;
  }
  const hasDevice = format !== "old";
  return {
    format,
    name,
    linkName: bytes[at + LINK_NAME[0]] === 0 ? "" : text(bytes, at, LINK_NAME),
    type: String.fromCharCode(bytes[at + TYPE] ?? 0),
    mode: number(bytes, at, MODE),
    uid: number(bytes, at, UID),
    gid: number(bytes, at, GID),
    size: number(bytes, at, SIZE),
    mtime: number(bytes, at, MTIME),
    deviceMajor: hasDevice ? number(bytes, at, DEVICE_MAJOR) : 0,
    deviceMinor: hasDevice ? number(bytes, at, DEVICE_MINOR) : 0,
  };
}

function formatOf(bytes: Uint8Array, at: number): HeaderFormat {
  const magic = binaryString(bytes, at + MAGIC, at + MAGIC + 8);
  if (magic === "ustar  \0") return "gnu";
  if (!magic.startsWith("ustar\0")) return "old";
  const trailer = binaryString(bytes, at + STAR_TRAILER, at + STAR_TRAILER + 4);
  return trailer === "tar\0" ? "star" : "ustar";
}

/** The sum over the block, its own field taken as spaces; old writers summed signed characters. */
function checksumIsRight(bytes: Uint8Array, at: number): boolean {
  const expected = octal(bytes, at + CHECKSUM[0], at + CHECKSUM[0] + CHECKSUM[1]);
  let sum = 0;
  for (let i = at; i < at + BLOCK_BYTES; i++) sum += bytes[i] ?? 0;
  for (let i = 0; i < CHECKSUM[1]; i++) sum += SPACE - (bytes[at + CHECKSUM[0] + i] ?? 0);
  if (sum === expected) return true;
  for (let i = at; i < at + BLOCK_BYTES; i++) {
    const inField = i >= at + CHECKSUM[0] && i < at + CHECKSUM[0] + CHECKSUM[1];
    if (!inField && (bytes[i] ?? 0) > 127) sum -= 256;
  }
  return sum === expected;
}

type Field = readonly [offset: number, length: number];

function text(bytes: Uint8Array, at: number, [offset, length]: Field): string {
  const start = at + offset;
  let end = start;
  while (end < start + length && bytes[end] !== 0) end++;
  return binaryString(bytes, start, end);
}

/** The bytes as a string of as many characters. */
export function binaryString(bytes: Uint8Array, start: number, end: number): string {
  const CHUNK = 8192;
  if (end - start <= CHUNK) return String.fromCharCode.apply(null, bytes.subarray(start, end) as unknown as number[]);
  let all = "";
  for (let i = start; i < end; i += CHUNK) all += binaryString(bytes, i, Math.min(end, i + CHUNK));
  return all;
}

/** A numeric field: octal text, or base 256 with the high bit of the first byte set (GNU, star). */
export function numberAt(bytes: Uint8Array, start: number, length: number): number {
  const first = bytes[start] ?? 0;
  return (first & BASE_256) === 0 ? octal(bytes, start, start + length) : base256(bytes, start, start + length);
}

function number(bytes: Uint8Array, at: number, [offset, length]: Field): number {
  return numberAt(bytes, at + offset, length);
}

/** Octal digits, padded by spaces and NULs; an empty field is 0. */
function octal(bytes: Uint8Array, from: number, to: number): number {
  let start = from;
  let end = to;
  while (start < end && isPadding(bytes[start])) start++;
  while (end > start && isPadding(bytes[end - 1])) end--;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = bytes[i] ?? 0;
    if (digit === 0) break;
    if (digit < ZERO || digit > SEVEN) return NaN;
    value = value * 8 + digit - ZERO;
  }
  return value;
}

function isPadding(byte: number | undefined): boolean {
  return byte === 0 || byte === SPACE;
}

/** Two's complement, big-endian, without the marker bit. Beyond 2^53 the result is NaN. */
function base256(bytes: Uint8Array, from: number, to: number): number {
  const invert = ((bytes[from] ?? 0) & 0x40) === 0 ? 0 : 0xff;
  let value = 0;
  for (let i = from; i < to; i++) {
    let byte = (bytes[i] ?? 0) ^ invert;
    if (i === from) byte &= 0x7f;
    value = value * 256 + byte;
    if (value > Number.MAX_SAFE_INTEGER) return NaN;
  }
  return invert === 0 ? value : -value - 1;
}
