import type { Socket } from "node:net";
import { openPipe, type OwnedFd, readableOf } from "../../linux/pipe.ts";
import { type Child, type ExitStatus, spawnProcess } from "../../linux/spawn.ts";
import { Capture, OutputBudget } from "./_capture.ts";
import { execFailure, killExec, type Program, readPid, writeFiles } from "./_exec_process.ts";
import { within } from "./waits.ts";
import type { ExecFiles } from "./runtime.ts";

/** CRI-O's limit for stdout and stderr together. */
const DEFAULT_OUTPUT_BYTES = 16 * 1024 * 1024;
/** How long output is still read after the process has ended, when something that it left behind holds a pipe. */
const DEFAULT_DRAIN_MS = 250;
/** How long a runtime may take to go once its process is killed. */
const KILL_MS = 2000;

export interface ExecRequest {
  /** OCI runtime-spec "process" object; `terminal` is false. */
  readonly processSpec: object;
  /** A directory of ours, best on tmpfs, for two short-lived files. */
  readonly directory: string;
  /** Absent or 0: no limit. */
  readonly timeoutMs?: number;
  /** Bytes kept of stdout and stderr together; the rest is read and dropped. Default 16 MiB. */
  readonly maxOutputBytes?: number;
  readonly drainMs?: number;
  readonly signal?: AbortSignal;
}

export interface ExecOutcome {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** 128 + n for signal n; -1 when time ran out. */
  readonly exitCode: number;
  readonly timedOut: boolean;
  /** Output was dropped. */
  readonly truncated: boolean;
}

/**
 * One `<runtime> exec` with two pipes and no terminal. Pipes, not sockets: a process in the container can then open
 * `/dev/stderr` again. It ends when the runtime does (it has passed on the exit code) and the pipes are at their end,
 * or the drain time is over.
 */
export async function runExec(
  program: Program,
  id: string,
  { request }: { readonly request: ExecRequest },
): Promise<ExecOutcome> {
  const { signal, timeoutMs = 0, drainMs = DEFAULT_DRAIN_MS, maxOutputBytes = DEFAULT_OUTPUT_BYTES } = request;
  signal?.throwIfAborted();
  using files = writeFiles(request);
  using streams = new DisposableStack();
  const out = streams.use(openPipe());
  const err = streams.use(openPipe());
  const fds = new Map([[1, out.write.fd], [2, err.write.fd]]);
  const child = spawnProcess(program.argumentsFor(files), { env: program.env, fds });
  out.write.close();
  err.write.close();
  const budget = new OutputBudget(maxOutputBytes);
  const stdout = streams.adopt(collect(out.read, budget), destroy);
  const stderr = streams.adopt(collect(err.read, budget), destroy);
  const ended = await exitOf(child, { files, signal, timeoutMs });
  await within(Promise.all([stdout.ended, stderr.ended]), ended === "timeout" ? 0 : drainMs);
  const output = { stdout: stdout.capture.bytes(), stderr: stderr.capture.bytes(), truncated: budget.exceeded };
  if (ended === "timeout") return { ...output, exitCode: -1, timedOut: true };
  if (ended.exitCode !== 0 && readPid(files.pidFile) === undefined) {
    throw execFailure(program, id, { ended, ...output });
  }
  return { ...output, exitCode: ended.exitCode, timedOut: false };
}

interface Stream {
  readonly socket: Socket;
  readonly capture: Capture;
  readonly ended: Promise<void>;
}

function collect(end: OwnedFd, budget: OutputBudget): Stream {
  const socket = readableOf(end);
  const capture = new Capture(budget);
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on("data", (chunk: Uint8Array) => capture.append(chunk));
  socket.on("error", () => resolve());
  socket.on("close", () => resolve());
  socket.on("end", () => resolve());
  return { socket, capture, ended: promise };
}

function destroy(stream: Stream): void {
  stream.socket.destroy();
}

/** The child's end, or "timeout" after it has been killed. @throws the signal's reason after the same */
async function exitOf(
  child: Child,
  { files, signal, timeoutMs }: {
    readonly files: ExecFiles;
    readonly signal: AbortSignal | undefined;
    readonly timeoutMs: number;
  },
): Promise<ExitStatus | "timeout"> {
  const { promise: stopped, resolve } = Promise.withResolvers<"timeout" | "abort">();
  const timer = timeoutMs > 0 ? setTimeout(() => resolve("timeout"), timeoutMs) : undefined;
  const onAbort = (): void => resolve("abort");
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const first = await Promise.race([child.exited, stopped]);
    if (typeof first === "object") return first;
    killExec(child, files);
    await within(child.exited, KILL_MS);
    if (first === "abort") signal?.throwIfAborted();
    return "timeout";
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}
