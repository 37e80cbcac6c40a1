import { createHash } from "node:crypto";
import { messageOf } from "../../base/errors.ts";
import { AT_FDCWD, close, must, O_CLOEXEC, O_DIRECTORY, O_PATH, openat, openInRoot } from "../../linux/at.ts";
import { ExpectedTree } from "./_expected_tree.ts";
import { cBytes, cleanPath } from "./_names.ts";
import { textOfName } from "./layer_error.ts";
import { TarReader } from "./tar_reader.ts";

/** An unpacked layer and what it was made from. */
export interface LayerContent {
  /** The layer's `diff`. */
  readonly directory: string;
  /** Its `tar-split.gz`. */
  readonly tarSplitPath: string;
  /** Digest of the archive, `sha256:…`. */
  readonly diffId: string;
  /** Length of the archive in bytes, when it is known. */
  readonly sizeBytes?: number;
  /** Whether files have the owners that the archive gives. Default true. */
  readonly owners?: boolean;
}

/** `unverifiable`: it cannot be told, which is no sign of damage. */
export type LayerVerdict =
  | { readonly kind: "sound" }
  | { readonly kind: "unverifiable" | "damaged"; readonly reason: string };

const MAX_PATH_BYTES = 4096;
const PIECE_BYTES = 256 * 1024;
const ALGORITHMS: Readonly<Record<string, string>> = { sha256: "sha256", sha384: "sha384", sha512: "sha512" };

/**
 * Makes a layer's archive again from its files and its tar-split record, and compares digest and length; then compares
 * the tree with what the archive's entries say: what is missing, what is there in addition, types, modes, owners.
 *
 * Reads every byte of the layer; system calls are synchronous, so this is for a process of its own.
 *
 * @throws the signal's reason
 */
export async function verifyLayer(
  content: LayerContent,
  options: { readonly signal?: AbortSignal } = {},
): Promise<LayerVerdict> {
  const [algorithm = "", expectedHex = ""] = content.diffId.split(":", 2);
  const name = ALGORITHMS[algorithm];
  if (name === undefined) return { kind: "unverifiable", reason: `its digest has the unknown algorithm ${algorithm}` };
  const tree = new ExpectedTree();
  const digest = createHash(name);
  const sink = { raw(): void {}, globalHeader(): void {}, payload(): void {}, entryEnd(): void {} };
  const reader = new TarReader({ ...sink, entry: (entry) => tree.add(entry) }, { maxPathBytes: MAX_PATH_BYTES });
  let sizeBytes = 0;
  const feed = (bytes: Uint8Array<ArrayBuffer>): void => {
    digest.update(bytes);
    sizeBytes += bytes.length;
    for (let at = 0; at < bytes.length;) at = reader.step(bytes, at);
  };
  try {
    const files = await assemble(content, { feed, ...options });
    reader.end();
    if (digest.digest("hex") === expectedHex) return verdictOf(tree, content, sizeBytes);
    const lost = files.lost.find(({ path }) => !tree.isReplaced(path));
    if (lost !== undefined) return { kind: "damaged", reason: lost.reason };
    const replaced = files.withContent.find((path) => tree.isReplaced(path));
    if (replaced !== undefined) {
      const shown = JSON.stringify(textOfName(replaced));
      return {
        kind: "unverifiable",
        reason: `its archive has ${shown} more than once, and only the last content is kept`,
      };
    }
    return { kind: "damaged", reason: "the content of its files is not what was unpacked (digest)" };
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof Deno.errors.NotFound) return { kind: "unverifiable", reason: "it has no tar-split record" };
    return { kind: "damaged", reason: messageOf(error) };
  }
}

function verdictOf(tree: ExpectedTree, content: LayerContent, sizeBytes: number): LayerVerdict {
  const { directory, owners = true } = content;
  if (content.sizeBytes !== undefined && content.sizeBytes >= 0 && content.sizeBytes !== sizeBytes) {
    return { kind: "damaged", reason: `its archive has ${sizeBytes} bytes, and ${content.sizeBytes} are recorded` };
  }
  const reason = tree.differenceFrom(directory, { owners });
  return reason === undefined ? { kind: "sound" } : { kind: "damaged", reason };
}

interface Line {
  readonly type: number;
  readonly name?: string;
  readonly name_raw?: string;
  readonly size?: number;
  readonly payload?: string | null;
}

const TYPE_FILE = 1;

interface Files {
  /** Paths whose content was taken from a file. */
  readonly withContent: string[];
  /** Those that could not be, with the reason; zeros were taken for their content. */
  readonly lost: { readonly path: string; readonly reason: string }[];
}

/** Feeds the archive's bytes. */
async function assemble(
  content: LayerContent,
  options: { readonly feed: (bytes: Uint8Array<ArrayBuffer>) => void; readonly signal?: AbortSignal },
): Promise<Files> {
  const { feed, signal } = options;
  using root = openDirectory(content.directory);
  const files: Files = { withContent: [], lost: [] };
  for await (const text of linesOf(content.tarSplitPath)) {
    signal?.throwIfAborted();
    const line = JSON.parse(text) as Line;
    if (line.type !== TYPE_FILE) {
      feed(Uint8Array.fromBase64(line.payload ?? ""));
      continue;
    }
    const sizeBytes = line.size ?? 0;
    if (sizeBytes === 0) continue;
    const path = cleanPath(nameOf(line));
    files.withContent.push(path);
    const reason = feedFile(root.fd, path, { sizeBytes, feed });
    if (reason !== undefined) files.lost.push({ path, reason: `file ${JSON.stringify(textOfName(path))} ${reason}` });
  }
  return files;
}

/** Names are bytes in strings here. */
function nameOf(line: Line): string {
  const bytes = line.name_raw === undefined
    ? new TextEncoder().encode(line.name ?? "")
    : Uint8Array.fromBase64(line.name_raw);
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

async function* linesOf(path: string): AsyncGenerator<string> {
  const file = await Deno.open(path, { read: true });
  const texts = file.readable.pipeThrough(new DecompressionStream("gzip")).pipeThrough(new TextDecoderStream());
  let rest = "";
  for await (const text of texts) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
}

function openDirectory(path: string): { readonly fd: number } & Disposable {
  const fd = must(openat(AT_FDCWD, cBytes(path), O_PATH | O_DIRECTORY | O_CLOEXEC, 0), "open", path);
  return { fd, [Symbol.dispose]: (): void => close(fd) };
}

/** Feeds a file's content, or as many zeros, so that the archive can be read on. @returns why it was zeros */
function feedFile(
  root: number,
  path: string,
  options: { readonly sizeBytes: number; readonly feed: (bytes: Uint8Array<ArrayBuffer>) => void },
): string | undefined {
  const { sizeBytes, feed } = options;
  // O_PATH opens nothing: a device or fifo in the way does nothing and does not hang.
  const fd = openInRoot(root, cBytes(path), O_PATH | O_CLOEXEC);
  try {
    const reason = fd < 0 ? "is missing" : problemOf(fd, sizeBytes);
    using file = reason === undefined ? Deno.openSync(`/proc/self/fd/${fd}`, { read: true }) : undefined;
    for (let left = sizeBytes; left > 0;) {
      const buffer = new Uint8Array(Math.min(left, PIECE_BYTES));
      const got = file === undefined ? buffer.length : file.readSync(buffer) ?? 0;
      if (got === 0) return "became shorter meanwhile";
      feed(buffer.subarray(0, got));
      left -= got;
    }
    return reason;
  } finally {
    if (fd >= 0) close(fd);
  }
}

function problemOf(fd: number, sizeBytes: number): string | undefined {
  const info = Deno.statSync(`/proc/self/fd/${fd}`);
  if (!info.isFile) return "is no file";
  return info.size === sizeBytes ? undefined : `has ${info.size} bytes, and should have ${sizeBytes}`;
}
