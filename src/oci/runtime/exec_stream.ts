import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { openPipe, readableOf, writableOf } from "../../linux/pipe.ts";
import { rawStreamOf } from "../../linux/seqpacket.ts";
import { type Child, type ExitStatus, spawnProcess } from "../../linux/spawn.ts";
import { openTerminal, resizeTerminalsOf, setTerminalSize } from "../../linux/terminal.ts";
import { execFailure, killExec, type Program, readPid, writeFiles } from "./_exec_process.ts";
import { Pump } from "./pump.ts";
import { within } from "./waits.ts";

/** How long output is waited for after the process has ended, when something that it left behind holds a pipe. */
const DRAIN_MS = 250;
/** How long a runtime may take to go once its process is killed. */
const KILL_MS = 2000;
/** Kept of what the runtime says when it cannot start the process. */
const COMPLAINT_BYTES = 4096;

/** Where the process's streams go. Outputs are not ended here. */
export interface ExecStreams {
  readonly stdin?: Readable;
  readonly stdout?: Writable;
  readonly stderr?: Writable;
  /** Sizes of the terminal, for a process that has one. */
  onResize(listener: (size: { readonly width: number; readonly height: number }) => void): void;
}

export interface ExecStreamOptions {
  /** OCI runtime-spec "process" object; its `terminal` says whether there is one. */
  readonly processSpec: { readonly terminal?: boolean };
  /** A directory of ours, best on tmpfs, for two short-lived files. */
  readonly directory: string;
  readonly streams: ExecStreams;
  /** Aborting kills the process with all below it. */
  readonly signal: AbortSignal;
}

/**
 * One `<runtime> exec` whose streams are connected to somebody, to its end: pipes, or a terminal of ours in raw mode
 * that the runtime connects with the one that it makes inside the container.
 *
 * @returns the exit code, 128 + n for signal n
 * @throws RuntimeError when it cannot be started; the signal's reason when aborted
 */
export async function runExecStream(program: Program, id: string, options: ExecStreamOptions): Promise<number> {
  const { signal } = options;
  signal.throwIfAborted();
  using files = writeFiles(options);
  const complaint = new Complaint();
  using wires = connect(program.argumentsFor(files), { ...options, env: program.env, complaint });
  const { child, pumps } = wires;
  const kill = (): void => killExec(child, files);
  signal.addEventListener("abort", kill, { once: true });
  let ended: ExitStatus;
  try {
    ended = await endOf(child, signal);
  } finally {
    signal.removeEventListener("abort", kill);
  }
  signal.throwIfAborted();
  await Promise.all(pumps.map((pump) => pump.drain(DRAIN_MS)));
  if (ended.exitCode !== 0 && readPid(files.pidFile) === undefined) {
    throw execFailure(program, id, { ended, stderr: complaint.bytes() });
  }
  return ended.exitCode;
}

/** The child's end; a child that does not go after it was killed is not waited for. */
async function endOf(child: Child, signal: AbortSignal): Promise<ExitStatus> {
  const { promise: aborted, resolve } = Promise.withResolvers<undefined>();
  const onAbort = (): void => resolve(undefined);
  signal.addEventListener("abort", onAbort, { once: true });
  const first = await Promise.race([child.exited, aborted]);
  signal.removeEventListener("abort", onAbort);
  if (first !== undefined) return first;
  await within(child.exited, KILL_MS);
  throw signal.reason;
}

interface Wires extends Disposable {
  readonly child: Child;
  readonly pumps: readonly Pump[];
}

interface ConnectOptions extends ExecStreamOptions {
  readonly env: Readonly<Record<string, string>>;
  readonly complaint: Complaint;
}

function connect(argv: readonly string[], options: ConnectOptions): Wires {
  return options.processSpec.terminal === true ? connectTerminal(argv, options) : connectPipes(argv, options);
}

function connectPipes(argv: readonly string[], { streams, env, complaint }: ConnectOptions): Wires {
  using undo = new DisposableStack();
  const out = undo.use(openPipe());
  const err = undo.use(openPipe());
  const input = streams.stdin === undefined ? undefined : undo.use(openPipe());
  const fds = new Map([[1, out.write.fd], [2, err.write.fd]]);
  if (input !== undefined) fds.set(0, input.read.fd);
  const child = spawnProcess(argv, { env, fds });
  for (const end of [out.write, err.write, input?.read]) end?.close();
  const stdout = undo.adopt(readableOf(out.read), destroy);
  const stderr = undo.adopt(readableOf(err.read), destroy);
  complaint.listen(stderr);
  const pumps = [new Pump(stdout, streams.stdout), new Pump(stderr, streams.stderr)];
  if (input !== undefined) feed(undo.adopt(writableOf(input.write), destroy), streams.stdin);
  const open = undo.move();
  return { child, pumps, [Symbol.dispose]: () => open.dispose() };
}

function connectTerminal(argv: readonly string[], { streams, env, complaint }: ConnectOptions): Wires {
  using undo = new DisposableStack();
  const terminal = openTerminal();
  undo.use(terminal.master);
  using slave = terminal.slave;
  const masterFd = terminal.master.fd;
  const socket = undo.adopt(rawStreamOf(terminal.master), destroy);
  // Not the terminal: what the runtime itself has to say would stand between the lines of the program. crun 1.8 writes an
  // empty error, in colours, when a new size comes at the moment at which the program ends.
  const err = undo.use(openPipe());
  let runtimePid: number | undefined;
  streams.onResize((size) => {
    // Its descriptor is not ours to use after that.
    if (socket.destroyed) return;
    // A runtime takes over the size that it finds at its start. runc passes later ones on, crun 1.8 does not.
    setTerminalSize(masterFd, size);
    if (runtimePid !== undefined) resizeTerminalsOf(runtimePid, size);
  });
  const child = spawnProcess(argv, { env, terminal: terminal.path, fds: new Map([[2, err.write.fd]]) });
  runtimePid = child.pid;
  child.exited.then(() => runtimePid = undefined);
  slave.close();
  err.write.close();
  const stderr = undo.adopt(readableOf(err.read), destroy);
  complaint.listen(stderr);
  const pumps = [new Pump(socket, streams.stdout), new Pump(stderr, undefined)];
  feed(socket, streams.stdin, { end: false });
  const open = undo.move();
  return { child, pumps, [Symbol.dispose]: () => open.dispose() };
}

/** Input for as long as the process takes it; after that the client's is read and dropped. */
function feed(target: Socket, source: Readable | undefined, options: { end?: boolean } = {}): void {
  target.on("error", () => {});
  if (source === undefined) return;
  source.pipe(target, options);
  target.once("close", () => {
    source.unpipe(target);
    source.resume();
  });
}

function destroy(socket: Socket): void {
  socket.on("error", () => {});
  socket.destroy();
}

/** The first bytes of what may turn out to be the runtime's own error message. */
class Complaint {
  readonly #kept: Uint8Array[] = [];
  #sizeBytes = 0;

  listen(source: Socket): void {
    source.on("data", (chunk: Uint8Array) => {
      if (this.#sizeBytes >= COMPLAINT_BYTES) return;
      this.#kept.push(chunk.slice(0, COMPLAINT_BYTES - this.#sizeBytes));
      this.#sizeBytes += chunk.length;
    });
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#kept);
  }
}
