/** Writes tar archives, right ones and wrong ones, for tests of what reads them. */

const BLOCK = 512;
const encoder = new TextEncoder();

/** A field as bytes, text, or a number that is written in octal (in base 256 where octal has no room). */
export type Field = string | number | Uint8Array;

export interface Entry {
  readonly name: string | Uint8Array;
  /** One character; default: "0", or "5" when the name ends with a slash. */
  readonly type?: string;
  readonly mode?: Field;
  readonly uid?: Field;
  readonly gid?: Field;
  readonly mtime?: Field;
  readonly link?: string | Uint8Array;
  readonly content?: string | Uint8Array;
  /** The header's size field where it shall not be the content's length. */
  readonly size?: Field;
  readonly major?: Field;
  readonly minor?: Field;
  /** Default "ustar". */
  readonly format?: "ustar" | "gnu" | "old";
  /** The prefix field of ustar. */
  readonly prefix?: string;
  /** Bytes that replace those of the header at an offset, before the checksum is made. */
  readonly patch?: Readonly<Record<number, Uint8Array>>;
  readonly checksum?: "right" | "signed" | "wrong";
  /** Records of an extended header that is put before. Keys may repeat. */
  readonly pax?: readonly (readonly [key: string, value: string | Uint8Array])[];
}

/** The bytes of text, one to one. */
export function bytesOf(text: string | Uint8Array): Uint8Array<ArrayBuffer> {
  return typeof text === "string" ? encoder.encode(text) : new Uint8Array(text);
}

/** All pieces one after the other. */
export function joined(...pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Filled up with zeros to whole blocks. */
export function padded(content: Uint8Array): Uint8Array<ArrayBuffer> {
  return joined(content, new Uint8Array((BLOCK - content.length % BLOCK) % BLOCK));
}

/** The two zero blocks at the end of an archive. */
export const END = new Uint8Array(2 * BLOCK);

/** An archive of these entries with the end marker. */
export function tarOf(...entries: readonly Entry[]): Uint8Array<ArrayBuffer> {
  return joined(...entries.map(entryBytes), END);
}

/** One entry: extended header if asked for, header block, content with padding. */
export function entryBytes(entry: Entry): Uint8Array<ArrayBuffer> {
  const content = bytesOf(entry.content ?? "");
  const own = joined(headerBlock(entry, content.length), padded(content));
  if (entry.pax === undefined) return own;
  return joined(paxHeader(entry.pax), own);
}

/** An extended header (type x) or a global one (type g). */
export function paxHeader(records: NonNullable<Entry["pax"]>, type = "x"): Uint8Array<ArrayBuffer> {
  const content = joined(...records.map(([key, value]) => paxRecord(key, value)));
  return entryBytes({ name: type === "g" ? "pax_global_header" : "PaxHeaders/x", type, content });
}

/** `length key=value\n`. */
export function paxRecord(key: string, value: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const rest = joined(encoder.encode(` ${key}=`), bytesOf(value), encoder.encode("\n"));
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return joined(encoder.encode(String(length)), rest);
}

/** A GNU long name (L) or long link (K) header. */
export function gnuLong(type: "L" | "K", text: string): Uint8Array<ArrayBuffer> {
  return entryBytes({ name: "././@LongLink", type, content: `${text}\0`, format: "gnu" });
}

/** A number in base 256. */
export function base256(value: number, length: number): Uint8Array<ArrayBuffer> {
  const field = new Uint8Array(length);
  let rest = BigInt(value);
  for (let i = length - 1; i >= 0; i--) {
    field[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  field[0] = (field[0] ?? 0) | 0x80;
  return field;
}

function headerBlock(entry: Entry, contentLength: number): Uint8Array<ArrayBuffer> {
  const { format = "ustar" } = entry;
  const name = bytesOf(entry.name);
  const block = new Uint8Array(BLOCK);
  const isDirectory = name.at(-1) === 0x2f;
  const put = (offset: number, length: number, field: Field): void => block.set(fieldBytes(field, length), offset);
  put(0, 100, name);
  put(100, 8, entry.mode ?? (isDirectory ? 0o755 : 0o644));
  put(108, 8, entry.uid ?? 0);
  put(116, 8, entry.gid ?? 0);
  put(124, 12, entry.size ?? contentLength);
  put(136, 12, entry.mtime ?? 1_600_000_000);
  put(156, 1, entry.type ?? (isDirectory ? "5" : "0"));
  put(157, 100, bytesOf(entry.link ?? ""));
  if (format === "ustar") put(257, 8, "ustar\x0000");
  if (format === "gnu") put(257, 8, "ustar  \0");
  if (format !== "old") {
    put(329, 8, entry.major ?? 0);
    put(337, 8, entry.minor ?? 0);
  }
  if (entry.prefix !== undefined) put(345, 155, entry.prefix);
  for (const [offset, bytes] of Object.entries(entry.patch ?? {})) block.set(bytes, Number(offset));
  sign(block, entry.checksum ?? "right");
  return block;
}

function fieldBytes(field: Field, length: number): Uint8Array {
  if (typeof field !== "number") return bytesOf(field).subarray(0, length);
  const octal = field >= 0 ? field.toString(8) : "";
  if (octal === "" || octal.length > length - 1) return base256(field, length);
  return encoder.encode(octal.padStart(length - 1, "0") + "\0");
}

function sign(block: Uint8Array, how: "right" | "signed" | "wrong"): void {
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of block) sum += how === "signed" && byte > 127 ? byte - 256 : byte;
  if (how === "wrong") sum += 1;
  block.set(encoder.encode(sum.toString(8).padStart(6, "0") + "\0 "), 148);
}
