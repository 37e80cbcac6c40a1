import { checked, cString, errno, lazyLibc } from "./_libc.ts";
import { ErrnoError } from "./errno.ts";

const libc = lazyLibc({
  posix_spawn: { parameters: ["buffer", "buffer", "buffer", "buffer", "buffer", "buffer"], result: "i32" },
  posix_spawn_file_actions_init: { parameters: ["buffer"], result: "i32" },
  posix_spawn_file_actions_destroy: { parameters: ["buffer"], result: "i32" },
  posix_spawn_file_actions_adddup2: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  posix_spawn_file_actions_addopen: { parameters: ["buffer", "i32", "buffer", "i32", "u32"], result: "i32" },
  posix_spawn_file_actions_addclose: { parameters: ["buffer", "i32"], result: "i32" },
  posix_spawn_file_actions_addclosefrom_np: { parameters: ["buffer", "i32"], result: "i32" },
  posix_spawn_file_actions_addchdir_np: { parameters: ["buffer", "buffer"], result: "i32" },
  posix_spawnattr_init: { parameters: ["buffer"], result: "i32" },
  posix_spawnattr_destroy: { parameters: ["buffer"], result: "i32" },
  posix_spawnattr_setflags: { parameters: ["buffer", "i16"], result: "i32" },
  posix_spawnattr_setpgroup: { parameters: ["buffer", "i32"], result: "i32" },
  posix_spawnattr_setsigdefault: { parameters: ["buffer", "buffer"], result: "i32" },
  posix_spawnattr_setsigmask: { parameters: ["buffer", "buffer"], result: "i32" },
  waitpid: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  waitid: { parameters: ["i32", "u32", "buffer", "i32"], result: "i32" },
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  kill: { parameters: ["i32", "i32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
});

/** Sizes of opaque glibc structures (spawn.h), the same on x86_64 and aarch64. */
const FILE_ACTIONS_BYTES = 80;
const ATTRIBUTES_BYTES = 336;
const SIGNAL_SET_BYTES = 128;
const POSIX_SPAWN_SETPGROUP = 0x02;
const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSIGMASK = 0x08;
const POSIX_SPAWN_SETSID = 0x80;
const F_DUPFD_CLOEXEC = 1030;
const WNOHANG = 1;
const WEXITED = 4;
const WNOWAIT = 0x01000000;
const P_ALL = 0;
/** sizeof(siginfo_t) and the offset of si_pid in it, bits/types/siginfo_t.h of 64-bit Linux. */
const SIGNAL_INFO_BYTES = 128;
const SIGNAL_INFO_PID = 16;
const PR_SET_CHILD_SUBREAPER = 36;
/** Orphans reaped in one go; more wait for the next signal or child. */
const MAX_ORPHANS = 1000;
const O_RDWR = 2;
/** Sources of dup2 are first moved above this, so that no target number of the child overwrites one. */
const FD_FLOOR = 64;
const KEEP_ALIVE_MS = 60_000;

/** How a child ended: by `exitCode`, or by `signal` (then the exit code is 128 + signal, as shells say it). */
export interface ExitStatus {
  readonly exitCode: number;
  readonly signal: number | undefined;
}

export interface SpawnOptions {
  /** The child's whole environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Child fd number -> our fd. 0, 1 and 2 are /dev/null where they are not named. Our fds stay open here. */
  readonly fds?: ReadonlyMap<number, number>;
  /**
   * A terminal that the child opens as 0, 1 and 2. The child leads a session of its own, whose controlling terminal it
   * becomes.
   */
  readonly terminal?: string;
  /** `session`: the leader of its own session; `group` (default): of its own process group. */
  readonly lead?: "session" | "group";
}

/** A running or ended child. */
export interface Child {
  readonly pid: number;
  /** Settles when the child has ended and is reaped; never rejects. */
  readonly exited: Promise<ExitStatus>;
  /** Sends a signal to the child's process group; does nothing once it is reaped. */
  kill(signal: number): void;
}

/**
 * Starts a program with exactly the given descriptors and environment.
 *
 * Takes about 0.7 ms of the calling thread, whatever the daemon's size (vfork inside), where Deno.Command takes 1.6
 * and node:child_process 8 and more.
 *
 * @param argv `argv[0]` is the absolute path of the program
 * @throws ErrnoError when the program cannot be executed
 */
export function spawnProcess(argv: readonly string[], options: SpawnOptions): Child {
  const program = argv[0] ?? "";
  const { fds = new Map(), cwd, terminal, lead = terminal === undefined ? "group" : "session" } = options;
  const moved: number[] = [];
  const actions = new Uint8Array(FILE_ACTIONS_BYTES);
  const attributes = new Uint8Array(ATTRIBUTES_BYTES);
  // FFI posix_spawn(3): all buffers are read during the call only; it returns when the child has executed the program
  // or failed to, which does not wait for anything outside this machine's disks.
  const c = libc();
  c.posix_spawn_file_actions_init(actions);
  c.posix_spawnattr_init(attributes);
  try {
    const standard = cString(terminal ?? "/dev/null");
    for (const fd of [0, 1, 2]) {
      if (!fds.has(fd)) c.posix_spawn_file_actions_addopen(actions, fd, standard, O_RDWR, 0);
    }
    for (const [childFd, ourFd] of fds) {
      const high = checked(c.fcntl(ourFd, F_DUPFD_CLOEXEC, FD_FLOOR), "fcntl F_DUPFD_CLOEXEC");
      moved.push(high);
      c.posix_spawn_file_actions_adddup2(actions, high, childFd);
    }
    closeOthers(actions, fds);
    const directory = cwd === undefined ? undefined : cString(cwd);
    if (directory !== undefined) c.posix_spawn_file_actions_addchdir_np(actions, directory);
    const leadFlag = lead === "session" ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
    c.posix_spawnattr_setflags(attributes, leadFlag | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    c.posix_spawnattr_setpgroup(attributes, 0);
    // Ignored signals (SIGPIPE in this runtime) would stay ignored over exec: put all of them back.
    c.posix_spawnattr_setsigdefault(attributes, new Uint8Array(SIGNAL_SET_BYTES).fill(0xff));
    c.posix_spawnattr_setsigmask(attributes, new Uint8Array(SIGNAL_SET_BYTES));

    const args = pointerArray(argv);
    const environment = pointerArray(Object.entries(options.env).map(([name, value]) => `${name}=${value}`));
    const pid = new Int32Array(1);
    reaper.prepare();
    const error = c.posix_spawn(pid, cString(program), actions, attributes, args.table, environment.table);
    if (error !== 0) {
      reaper.settle();
      throw new ErrnoError("execute", error, program);
    }
    return reaper.adopt(pid[0] ?? -1);
  } finally {
    for (const fd of moved) c.close(fd);
    c.posix_spawn_file_actions_destroy(actions);
    c.posix_spawnattr_destroy(attributes);
  }
}

/**
 * Sends `signal` to a process, or to a process group when `pid` is negative.
 *
 * @returns false when there is no such process
 */
export function sendSignal(pid: number, signal: number): boolean {
  // FFI kill(2): never blocks.
  if (libc().kill(pid, signal) === 0) return true;
  const code = errno();
  const ESRCH = 3;
  if (code === ESRCH) return false;
  throw new ErrnoError("kill", code, String(pid));
}

/**
 * Makes this process the parent of what its children leave behind (prctl(2) PR_SET_CHILD_SUBREAPER), and reaps those
 * orphans at once. A zombie that waits for a slow PID 1 keeps its whole PID namespace from ending: with one process
 * left by an exec, a container took up to 2 s to die where PID 1 reaps once a second.
 *
 * Any unknown child is reaped, so nothing else in this process may start children (`Deno.Command`) meanwhile.
 *
 * @returns ends it
 * @throws ErrnoError
 */
export function adoptOrphans(): Disposable {
  reaper.adoptOrphans(1);
  return { [Symbol.dispose]: (): void => reaper.adoptOrphans(0) };
}

/**
 * Closes everything in the child that was not asked for. The runtime's own sockets are not all close-on-exec: a monitor
 * that inherits the listening socket would keep it open after the daemon's end.
 */
function closeOthers(actions: Uint8Array<ArrayBuffer>, fds: ReadonlyMap<number, number>): void {
  const last = Math.max(2, ...fds.keys());
  for (let fd = 3; fd < last; fd++) if (!fds.has(fd)) libc().posix_spawn_file_actions_addclose(actions, fd);
  libc().posix_spawn_file_actions_addclosefrom_np(actions, last + 1);
}

/** A NULL-terminated `char *[]`; `strings` keeps what it points to alive. */
function pointerArray(texts: readonly string[]): { table: BigUint64Array<ArrayBuffer>; strings: Uint8Array[] } {
  const strings = texts.map(cString);
  const table = new BigUint64Array(strings.length + 1);
  strings.forEach((bytes, i) => {
    table[i] = Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes));
  });
  return { table, strings };
}

/** Waits for our children on SIGCHLD, by pid: children of other parts of the process are not touched. */
class Reaper {
  readonly #children = new Map<number, (status: ExitStatus) => void>();
  readonly #status = new Int32Array(1);
  #listening = false;
  #orphans = false;
  /** A signal listener alone does not keep the event loop alive: a program that only waits for a child would end. */
  #keepAlive: ReturnType<typeof setInterval> | undefined;
  readonly #onChild = (): void => this.settle();

  /** Listens before the child exists, so that no exit can be missed. */
  prepare(): void {
    if (this.#listening) return;
    Deno.addSignalListener("SIGCHLD", this.#onChild);
    this.#keepAlive = setInterval(this.#onChild, KEEP_ALIVE_MS);
    this.#listening = true;
  }

  adoptOrphans(flag: 0 | 1): void {
    // FFI prctl(2): sets a flag of this process.
    checked(libc().prctl(PR_SET_CHILD_SUBREAPER, BigInt(flag), 0n, 0n, 0n), "prctl PR_SET_CHILD_SUBREAPER");
    this.#orphans = flag === 1;
    if (this.#orphans) this.prepare();
    this.settle();
  }

  adopt(pid: number): Child {
    const { promise, resolve } = Promise.withResolvers<ExitStatus>();
    this.#children.set(pid, resolve);
    return {
      pid,
      exited: promise,
      kill: (signal): void => {
        if (this.#children.has(pid)) sendSignal(-pid, signal) || sendSignal(pid, signal);
      },
    };
  }

  settle(): void {
    for (const [pid, resolve] of this.#children) {
      // FFI waitpid(2) with WNOHANG: never blocks; #status outlives the call.
      const reaped = libc().waitpid(pid, this.#status, WNOHANG);
      if (reaped === 0) continue;
      this.#children.delete(pid);
      resolve(reaped === pid ? decode(this.#status[0] ?? 0) : { exitCode: 255, signal: undefined });
    }
    if (this.#orphans) this.#reapOrphans();
    if (this.#children.size > 0 || this.#orphans || !this.#listening) return;
    Deno.removeSignalListener("SIGCHLD", this.#onChild);
    clearInterval(this.#keepAlive);
    this.#listening = false;
  }

  #reapOrphans(): void {
    const info = new Int32Array(SIGNAL_INFO_BYTES / 4);
    for (let i = 0; i < MAX_ORPHANS; i++) {
      info.fill(0);
      // FFI waitid(2) with WNOHANG and WNOWAIT: only tells which child has ended; `info` outlives the call.
      if (libc().waitid(P_ALL, 0, info, WEXITED | WNOHANG | WNOWAIT) !== 0) return;
      const pid = info[SIGNAL_INFO_PID / 4] ?? 0;
      if (pid === 0 || this.#children.has(pid)) return;
      libc().waitpid(pid, this.#status, WNOHANG);
    }
  }
}

const reaper = new Reaper();

function decode(status: number): ExitStatus {
  const signal = status & 0x7f;
  if (signal === 0) return { exitCode: (status >> 8) & 0xff, signal: undefined };
  return { exitCode: 128 + signal, signal };
}
