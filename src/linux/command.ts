import { type ErrorKind, PodError } from "../base/errors.ts";
import { checked, cString, lazyLibc } from "./_libc.ts";
import { type ExitStatus, spawnProcess } from "./spawn.ts";

const libc = lazyLibc({
  memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  pread: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  close: { parameters: ["i32"], result: "i32" },
});

const MFD_CLOEXEC = 1;
const SEEK_SET = 0;
const SEEK_END = 2;
const SIGKILL = 9;
const DEFAULT_OUTPUT_BYTES = 4 * 1024 * 1024;
const STDERR_TAIL_BYTES = 4096;

export interface CommandOptions {
  /** Aborting kills the command's process group; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  readonly stdin?: Uint8Array | string;
  /** Bytes kept of each of stdout and stderr, from the start; the rest is dropped. Default 4 MiB. */
  readonly maxOutputBytes?: number;
  readonly cwd?: string;
  /** The whole environment. Default: PATH only. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What a command left behind. */
export interface CommandResult extends ExitStatus {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

/** The search path that children get when nothing else is said. */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** A command that ended with something other than 0. */
export class CommandError extends PodError {
  override readonly kind: ErrorKind = "internal";
  /** The end of what it wrote to stderr, trimmed. */
  readonly stderrTail: string;

  constructor(readonly argv: readonly string[], readonly result: CommandResult) {
    const tail = new TextDecoder().decode(result.stderr.subarray(-STDERR_TAIL_BYTES)).trim();
    const end = result.signal === undefined ? `exit code ${result.exitCode}` : `signal ${result.signal}`;
    super(`${argv[0] ?? ""} ended with ${end}${tail === "" ? "" : `: ${tail}`}`);
    this.stderrTail = tail;
  }
}

/**
 * Runs a trusted program to its end and gives its output.
 *
 * stdin, stdout and stderr are memory files: the event loop sees nothing but the exit, and a grandchild that keeps an
 * output open does not hold the caller. Not for programs whose output an outsider controls (exec in a container): a
 * memory file has no limit while it is written.
 *
 * @throws CommandError when it does not end with 0; ErrnoError when it cannot be started
 */
export async function runCommand(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const result = await commandResult(argv, options);
  if (result.exitCode !== 0) throw new CommandError(argv, result);
  return result;
}

/** Like {@link runCommand}, but any exit code is an answer. */
export async function commandResult(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const { signal, stdin, maxOutputBytes = DEFAULT_OUTPUT_BYTES, cwd, env = { PATH: DEFAULT_PATH } } = options;
  signal?.throwIfAborted();
  using files = new DisposableStack();
  const fds = new Map<number, number>();
  if (stdin !== undefined) fds.set(0, files.adopt(memoryFile(stdin), close));
  const out = files.adopt(memoryFile(), close);
  const err = files.adopt(memoryFile(), close);
  fds.set(1, out).set(2, err);
  const child = spawnProcess(argv, { env, fds, ...(cwd === undefined ? {} : { cwd }) });
  const kill = (): void => child.kill(SIGKILL);
  signal?.addEventListener("abort", kill, { once: true });
  try {
    const status = await child.exited;
    signal?.throwIfAborted();
    return { ...status, stdout: contents(out, maxOutputBytes), stderr: contents(err, maxOutputBytes) };
  } finally {
    signal?.removeEventListener("abort", kill);
  }
}

function memoryFile(text?: Uint8Array | string): number {
  // FFI memfd_create(2), write(2), lseek(2): memory only, cannot block.
  const fd = checked(libc().memfd_create(cString("command"), MFD_CLOEXEC), "memfd_create");
  if (text === undefined) return fd;
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : new Uint8Array(text);
  for (let done = 0; done < bytes.length;) {
    done += checked(Number(libc().write(fd, bytes.subarray(done), BigInt(bytes.length - done))), "write");
  }
  libc().lseek(fd, 0n, SEEK_SET);
  return fd;
}

function contents(fd: number, maxBytes: number): Uint8Array {
  const sizeBytes = Math.min(Number(libc().lseek(fd, 0n, SEEK_END)), maxBytes);
  const bytes = new Uint8Array(sizeBytes);
  for (let done = 0; done < sizeBytes;) {
    // FFI pread(2) of a memory file: cannot block.
    const got = checked(
      Number(libc().pread(fd, bytes.subarray(done), BigInt(sizeBytes - done), BigInt(done))),
      "pread",
    );
    if (got === 0) return bytes.subarray(0, done);
    done += got;
  }
  return bytes;
}

function close(fd: number): void {
  libc().close(fd);
}
