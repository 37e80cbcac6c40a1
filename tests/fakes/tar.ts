/** One entry of {@link buildTar}. Nothing is checked: names may escape, sizes may lie. */
export interface TarEntry {
  readonly name: string;
  /** Type flag: `0` file, `1` hard link, `2` symlink, `3` and `4` devices, `5` directory, `6` fifo, `x` PAX … Default `0`. */
  readonly type?: string;
  readonly body?: Uint8Array | string;
  /** Permission bits with setuid, setgid and sticky. Default 0o755 for directories, else 0o644. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Seconds since the epoch. Default 2026-01-02. */
  readonly mtime?: number;
  readonly linkName?: string;
  readonly major?: number;
  readonly minor?: number;
  /** PAX records that a header before this entry carries (long names get theirs without being asked). */
  readonly pax?: Readonly<Record<string, string>>;
  /** The size that the header claims. Default: the body's. */
  readonly claimedSize?: number;
}

const BLOCK_BYTES = 512;
const NAME_BYTES = 100;
const DEFAULT_MTIME = 1_767_322_800;
const encoder = new TextEncoder();

/** A ustar archive with PAX headers where they are needed, ended by two empty blocks. */
export function buildTar(entries: readonly TarEntry[]): Uint8Array<ArrayBuffer> {
  return joinBlocks([...entries.flatMap(tarBlocks), new Uint8Array(2 * BLOCK_BYTES)]);
}

/** The blocks of one entry, PAX header included: for archives that are built piece by piece. */
export function tarBlocks(entry: TarEntry): Uint8Array[] {
  const body = typeof entry.body === "string" ? encoder.encode(entry.body) : entry.body ?? new Uint8Array();
  const pax: Record<string, string> = { ...entry.pax };
  if (encoder.encode(entry.name).length > NAME_BYTES) pax["path"] ??= entry.name;
  if (encoder.encode(entry.linkName ?? "").length > NAME_BYTES) pax["linkpath"] ??= entry.linkName ?? "";
  const blocks: Uint8Array[] = [];
  if (Object.keys(pax).length > 0) {
    const records = encoder.encode(Object.entries(pax).map(([key, value]) => paxRecord(key, value)).join(""));
    blocks.push(header({ name: "PaxHeaders/entry", type: "x" }, records.length), ...padded(records));
  }
  blocks.push(header(entry, entry.claimedSize ?? body.length), ...padded(body));
  return blocks;
}

function header(entry: TarEntry, sizeBytes: number): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  const type = entry.type ?? "0";
  const put = (offset: number, text: string, limit = NAME_BYTES): void => {
    block.set(encoder.encode(text).subarray(0, limit), offset);
  };
  put(0, entry.name);
  put(100, octal(entry.mode ?? (type === "5" ? 0o755 : 0o644), 7));
  put(108, octal(entry.uid ?? 0, 7));
  put(116, octal(entry.gid ?? 0, 7));
  put(124, octal(sizeBytes, 11));
  put(136, octal(entry.mtime ?? DEFAULT_MTIME, 11));
  put(148, "        ");
  put(156, type, 1);
  put(157, entry.linkName ?? "");
  put(257, "ustar\u000000");
  put(329, octal(entry.major ?? 0, 7));
  put(337, octal(entry.minor ?? 0, 7));
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(148, `${octal(sum, 6)}\0 `);
  return block;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, "0");
}

/** `<length> key=value\n`, where the length counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = encoder.encode(` ${key}=${value}\n`).length;
  let total = rest + 1;
  while (String(total).length + rest !== total) total = String(total).length + rest;
  return `${total} ${key}=${value}\n`;
}

function padded(body: Uint8Array): Uint8Array[] {
  const over = body.length % BLOCK_BYTES;
  return over === 0 ? [body] : [body, new Uint8Array(BLOCK_BYTES - over)];
}

function joinBlocks(blocks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(blocks.reduce((total, block) => total + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    joined.set(block, at);
    at += block.length;
  }
  return joined;
}
