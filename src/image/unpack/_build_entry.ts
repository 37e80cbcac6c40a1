import type { EntryType, Extent, FileTime, TarEntry } from "./entry.ts";
import type { RawHeader } from "./_header.ts";
import { paxInteger, type PaxRecords, paxTime } from "./_pax.ts";

/** What extended headers say about the next entry. */
export interface MetaHeaders {
  records?: PaxRecords;
  longName?: string;
  longLink?: string;
}

const TYPES: Readonly<Record<string, EntryType>> = {
  "\0": "file",
  "0": "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "character",
  "4": "block",
  "5": "directory",
  "6": "fifo",
  "7": "file",
  "S": "file",
};

const XATTR_KEY = "SCHILY.xattr.";
const MODE_BITS = 0o7777;
const MAX_ID = 0xffff_fffe;
const MAX_MAJOR = 0xfff;
const MAX_MINOR = 0xf_ffff;
const NO_RECORDS: PaxRecords = new Map();

/** Whether entries of this type have payload, whatever their size field says (as in Go's archive/tar). */
export function hasPayload(header: RawHeader): boolean {
  return header.type < "1" || header.type > "6";
}

/** Bytes of payload that follow the entry's headers; NaN when that cannot be told. */
export function resolveSize(header: RawHeader, records: PaxRecords | undefined): number {
  const text = records?.get("size") ?? "";
  const size = text === "" ? header.size : paxInteger(text);
  return hasPayload(header) || !(size >= 0) ? size : 0;
}

export interface EntryDetails {
  readonly sizeBytes: number;
  readonly storedBytes: number;
  readonly sparse: readonly Extent[] | undefined;
  readonly offset: number;
}

/** Joins a header block and the extended headers before it. The text that comes back instead is the reason why not. */
export function buildEntry(header: RawHeader, meta: MetaHeaders, details: EntryDetails): TarEntry | string {
  const records = meta.records ?? NO_RECORDS;
  const sparseName = details.sparse === undefined ? "" : records.get("GNU.sparse.name");
  const name = sparseName || meta.longName || records.get("path") || header.name;
  const type = header.type === "\0" && name.endsWith("/") ? "directory" : TYPES[header.type];
  if (type === undefined) return `entries of type ${JSON.stringify(header.type)} are not supported`;
  const linkName = meta.longLink || records.get("linkpath") || header.linkName;
  const uid = integer(records, "uid", header.uid);
  const gid = integer(records, "gid", header.gid);
  if (!isId(uid) || !isId(gid)) return `owner ${uid}:${gid} is out of range`;
  const mtime = time(records, "mtime") ?? { seconds: header.mtime, nanos: 0 };
  const atime = time(records, "atime");
  if (mtime === "bad" || atime === "bad") return "a time in the extended header is not a number";
  const isDevice = type === "character" || type === "block";
  if (isDevice && !isDeviceNumber(header)) return "the device number is out of range";
  return {
    name,
    linkName,
    type,
    mode: header.mode & MODE_BITS,
    uid,
    gid,
    ...details,
    mtime,
    atime,
    deviceMajor: header.deviceMajor,
    deviceMinor: header.deviceMinor,
    xattrs: records.size === 0 ? undefined : xattrsOf(records),
  };
}

function integer(records: PaxRecords, key: string, otherwise: number): number {
  const text = records.get(key) ?? "";
  return text === "" ? otherwise : paxInteger(text);
}

function time(records: PaxRecords, key: string): FileTime | "bad" | undefined {
  const text = records.get(key) ?? "";
  return text === "" ? undefined : paxTime(text) ?? "bad";
}

function isId(id: number): boolean {
  return id >= 0 && id <= MAX_ID;
}

function isDeviceNumber(header: RawHeader): boolean {
  const { deviceMajor: major, deviceMinor: minor } = header;
  return major >= 0 && major <= MAX_MAJOR && minor >= 0 && minor <= MAX_MINOR;
}

function xattrsOf(records: PaxRecords): ReadonlyMap<string, string> | undefined {
  let found: Map<string, string> | undefined;
  for (const [key, value] of records) {
    if (!key.startsWith(XATTR_KEY) || key.length === XATTR_KEY.length) continue;
    found ??= new Map();
    found.set(key.slice(XATTR_KEY.length), value);
  }
  return found;
}
