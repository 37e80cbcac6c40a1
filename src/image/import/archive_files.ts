/** Archives in a directory: which there are, in what state, and when that changes. */
import { sleep } from "../../base/clock.ts";
import { abortable } from "../../base/keyed_mutex.ts";
import { isBeingWritten } from "../../linux/held_file.ts";
import { DirectoryWatch } from "../../linux/inotify.ts";

/** A file or OCI layout that is there. */
export interface ArchiveFile {
  readonly name: string;
  /** Another one when it was changed or replaced. */
  readonly stamp: string;
  readonly sizeBytes: number;
  readonly isLayout?: boolean;
  /** `incomplete`: somebody writes it, or its index is missing. `refused`: see `reason`. */
  readonly state: "complete" | "incomplete" | "refused";
  readonly reason?: string;
}

/** Where the file system cannot say whether a file is being written, it has to be this old, milliseconds. */
const SETTLED_MS = 2000;
/** Events that come together. */
const BURST_MS = 50;

/**
 * What is in a directory. Names that begin with a dot are left alone: tools write to those before they rename.
 *
 * @throws Deno's file errors for the directory
 */
export async function archiveFiles(directory: string): Promise<readonly ArchiveFile[]> {
  const files: ArchiveFile[] = [];
  for await (const { name } of Deno.readDir(directory)) {
    if (name.startsWith(".")) continue;
    const file = await look(`${directory}/${name}`, name);
    if (file !== undefined) files.push(file);
  }
  return files;
}

/** One of them. @returns undefined when it is gone */
export async function look(path: string, name: string): Promise<ArchiveFile | undefined> {
  try {
    const info = await Deno.lstat(path);
    const stamp = stampOf(info);
    const { size: sizeBytes } = info;
    if (info.isDirectory) return await lookAtLayout(path, { name, stamp: `${info.ino}` });
    if (!info.isFile) {
      const reason = "it is neither a file nor a directory: put the archive itself there, not a link to it";
      return { name, stamp, sizeBytes, state: "refused", reason };
    }
    return { name, stamp, sizeBytes, state: isQuiet(path, info) ? "complete" : "incomplete" };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if ((error as { readonly code?: string }).code === "ENOENT") return undefined;
    throw error;
  }
}

/** A layout is complete with its index, which is written last. */
async function lookAtLayout(
  path: string,
  { name, stamp }: { readonly name: string; readonly stamp: string },
): Promise<ArchiveFile> {
  const stats = await Promise.all(
    ["index.json", "oci-layout", "blobs/sha256"].map((file) => Deno.lstat(`${path}/${file}`).catch(() => undefined)),
  );
  const [index, version, blobs] = stats;
  const whole = `${stamp}:${[index, version, blobs].map((info) => info === undefined ? "" : stampOf(info)).join(":")}`;
  const isComplete = index?.isFile === true && version !== undefined && isQuiet(`${path}/index.json`, index);
  const state = isComplete ? "complete" : "incomplete";
  return { name, stamp: whole, sizeBytes: index?.size ?? 0, state, isLayout: true };
}

function isQuiet(path: string, { mtime }: Deno.FileInfo): boolean {
  const written = isBeingWritten(path);
  return written === "no" || (written === "unknown" && Date.now() - (mtime?.getTime() ?? 0) > SETTLED_MS);
}

/** Without the device: its number may be another after a reboot. */
function stampOf({ ino, size, mtime }: Deno.FileInfo): string {
  return `${ino}:${size}:${mtime?.getTime()}`;
}

/** Says that something in a directory, or in a layout there, came, went, or was closed by who wrote it. */
export class DirectoryEvents implements AsyncDisposable {
  readonly #watch: DirectoryWatch;
  #isDirty = false;
  #wake = Promise.withResolvers<void>();

  /** @throws ErrnoError, such as ENOSPC at the kernel's limit of watches */
  constructor(directory: string) {
    this.#watch = new DirectoryWatch(directory, () => this.touch());
  }

  /** False when there will be no more events: the directory is gone. */
  get isOpen(): boolean {
    return this.#watch.isOpen;
  }

  /** Watches a layout as well: its index is written last. */
  addLayout(path: string): void {
    this.#watch.add(path);
  }

  /** As if there had been an event. */
  touch(): void {
    this.#isDirty = true;
    this.#wake.resolve();
  }

  /** Waits for an event, or for so long. @throws the signal's reason */
  async next(options: { readonly signal: AbortSignal; readonly timeoutMs?: number }): Promise<void> {
    const { signal, timeoutMs } = options;
    if (!this.#isDirty && this.isOpen) {
      using _timer = wakeAfter(timeoutMs, () => this.#wake.resolve());
      await abortable(this.#wake.promise, signal);
    }
    if (this.isOpen) await sleep(BURST_MS, { signal });
    this.#isDirty = false;
    this.#wake = Promise.withResolvers();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watch[Symbol.asyncDispose]();
  }
}

function wakeAfter(timeoutMs: number | undefined, wake: () => void): Disposable {
  const timer = timeoutMs === undefined ? undefined : setTimeout(wake, timeoutMs);
  return { [Symbol.dispose]: (): void => clearTimeout(timer) };
}
