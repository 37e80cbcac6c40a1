import { DeadlineError, FailedPreconditionError } from "../../base/errors.ts";
import { openFifoForWriting, writeNow } from "../../linux/pipe.ts";

/** conmon's messages on its `ctl` pipe: type, then two numbers. */
const RESIZE = 1;
const REOPEN_LOGS = 2;
/** Between two looks at a log whose container writes. */
const LOOK_MS = 10;
const REOPEN_MS = 10_000;
/** sockaddr_un.sun_path with its NUL, unix(7). */
const SOCKET_PATH_BYTES = 108;
const ATTACH = "/attach";

export interface ReopenOptions {
  /** The directory that holds the `ctl` pipe. */
  readonly bundle: string;
  readonly logPath: string;
  readonly signal?: AbortSignal;
  /** Default 10 s. */
  readonly timeoutMs?: number;
}

/**
 * Has the monitor open the log file anew, after the kubelet has moved it away, and waits until the new file is there.
 *
 * @throws FailedPreconditionError when there is no monitor; DeadlineError; the signal's reason
 */
export async function reopenLog(options: ReopenOptions): Promise<void> {
  const { bundle, logPath, signal, timeoutMs = REOPEN_MS } = options;
  signal?.throwIfAborted();
  const startedMs = performance.now();
  const before = await inodeOf(logPath);
  const time = AbortSignal.timeout(timeoutMs);
  const stop = signal === undefined ? time : AbortSignal.any([signal, time]);
  // conmon writes a new file beside the old one and renames it: the folder tells.
  using watcher = Deno.watchFs(logPath.slice(0, logPath.lastIndexOf("/")) || "/", { recursive: false });
  const onAbort = (): void => close(watcher);
  stop.addEventListener("abort", onAbort, { once: true });
  try {
    send(bundle, [REOPEN_LOGS, 0, 0]);
    let lookedMs = 0;
    for await (const { kind } of watcher) {
      // Of a busy container each write is an event; so many that the rename's own can be lost among them.
      const isWrite = kind === "modify" || kind === "access";
      if (isWrite && performance.now() - lookedMs < LOOK_MS) continue;
      lookedMs = performance.now();
      const now = await inodeOf(logPath);
      if (now !== undefined && now !== before) return;
    }
  } finally {
    stop.removeEventListener("abort", onAbort);
  }
  signal?.throwIfAborted();
  throw new DeadlineError(`reopen log ${logPath}`, "the monitor opens it", performance.now() - startedMs);
}

/**
 * Sets the size of a container's terminal.
 *
 * @throws FailedPreconditionError when there is no monitor
 */
export function resizeTerminal(bundle: string, size: { readonly width: number; readonly height: number }): void {
  send(bundle, [RESIZE, size.height, size.width]);
}

/**
 * Where a container's attach socket is. conmon binds it in the bundle and links `<socketDir>/<id>` to the bundle.
 */
export function attachSocketPath(socketDir: string, id: string): string {
  return `${attachLink(socketDir, id)}${ATTACH}`;
}

/** Removes the link that conmon leaves in `socketDir` when the container has ended; absent is fine. */
export async function removeAttachLink(socketDir: string, id: string): Promise<void> {
  const link = attachLink(socketDir, id);
  try {
    if ((await Deno.readLink(link)).split("/").includes(id)) await Deno.remove(link);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** conmon 2.1 makes a link whose path is exactly as long as a socket address one byte shorter (socket_parent_dir). */
function attachLink(socketDir: string, id: string): string {
  const link = `${socketDir}/${id}`;
  return link.length === SOCKET_PATH_BYTES - 1 ? link.slice(0, -1) : link;
}

function send(bundle: string, numbers: readonly number[]): void {
  using pipe = openFifoForWriting(`${bundle}/ctl`);
  const message = new TextEncoder().encode(`${numbers.join(" ")}\n`);
  if (pipe !== undefined && writeNow(pipe, message)) return;
  throw new FailedPreconditionError(`no monitor listens on ${bundle}/ctl: the container has ended or its monitor died`);
}

async function inodeOf(path: string): Promise<number | null | undefined> {
  try {
    return (await Deno.stat(path)).ino;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Closing twice, after the loop and by a late abort, is harmless. */
function close(watcher: Deno.FsWatcher): void {
  try {
    watcher.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}
