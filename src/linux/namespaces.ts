import { AlreadyExistsError, atStage, InvalidArgumentError } from "../base/errors.ts";
import { checked, cString, errno, lazyLibc } from "./_libc.ts";
import { ErrnoError, isErrno } from "./errno.ts";
import { bringUpLoopback } from "./link.ts";
import { sysctlFile, sysctlOwner } from "./_sysctl.ts";

const libc = lazyLibc({
  unshare: { parameters: ["i32"], result: "i32" },
  setns: { parameters: ["i32", "i32"], result: "i32" },
  open: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
  mount: { parameters: ["buffer", "buffer", "pointer", "u64", "pointer"], result: "i32" },
  umount2: { parameters: ["buffer", "i32"], result: "i32" },
  unlink: { parameters: ["buffer"], result: "i32" },
  statfs: { parameters: ["buffer", "buffer"], result: "i32" },
  sethostname: { parameters: ["buffer", "usize"], result: "i32" },
  abort: { parameters: [], result: "void" },
});

/** Namespaces that a thread can make and leave again; user and PID namespaces need a process of their own. */
export type PinnedKind = "network" | "ipc" | "uts";
/** Everything that can be pinned from a running process. */
export type NamespaceKind = PinnedKind | "pid" | "user";

/** clone(2) flag, name under /proc/PID/ns, and directory of the pins, as CRI-O lays them out. */
const KINDS: Readonly<Record<NamespaceKind, { flag: number; file: string; directory: string }>> = {
  network: { flag: 0x40000000, file: "net", directory: "netns" },
  ipc: { flag: 0x08000000, file: "ipc", directory: "ipcns" },
  uts: { flag: 0x04000000, file: "uts", directory: "utsns" },
  pid: { flag: 0x20000000, file: "pid", directory: "pidns" },
  user: { flag: 0x10000000, file: "user", directory: "userns" },
};

const O_RDONLY = 0;
const O_WRONLY = 1;
const O_CLOEXEC = 0o2000000;
const MS_BIND = 4096n;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;
/** linux/magic.h; `f_type` is the first field of struct statfs, which is 120 bytes on both architectures. */
const NSFS_MAGIC = 0x6e736673n;
const STATFS_BYTES = 120;
/** __NEW_UTS_LEN of linux/utsname.h, in bytes. */
const HOSTNAME_MAX_BYTES = 64;

export interface PinOptions {
  /** Pins are made at `<directory>/{netns,ipcns,utsns}/<name>`; folders that are missing are made. */
  readonly directory: string;
  /** File name of the pins; unique, such as a UUID. */
  readonly name: string;
  readonly kinds: readonly PinnedKind[];
  /** Of the new UTS namespace, at most 64 bytes. Default: the node's. */
  readonly hostname?: string;
  /** Written inside the new namespaces; a sysctl of a namespace that is not among `kinds` is refused. */
  readonly sysctls?: Readonly<Record<string, string>>;
}

/** Paths of the pins that were made. */
export type PinnedNamespaces = { readonly [K in PinnedKind]?: string };

/**
 * Makes namespaces, pins each with a bind mount, and brings `lo` up in a network namespace.
 *
 * All in one synchronous stretch of the calling thread (1-2 ms): unshare(2), bind mounts of /proc/thread-self/ns/*,
 * setns(2) back. No other thread is in the new namespaces at any time. If a step fails, everything is undone. If the
 * thread cannot return to its own namespaces, the process aborts: it must not go on in the wrong ones.
 *
 * @throws InvalidArgumentError for a bad name, hostname or sysctl; AlreadyExistsError when a pin of that name exists;
 *   StageError around the ErrnoError of a step
 */
export function pinNamespaces(options: PinOptions): PinnedNamespaces {
  const { kinds, hostname, sysctls = {} } = options;
  const hostnameBytes = hostname === undefined ? undefined : encodeHostname(hostname, kinds);
  const sysctlWrites = Object.entries(sysctls).map(([name, value]) => ({ file: sysctlFile(name, kinds), value }));
  if (kinds.length === 0) return {};
  using undo = new DisposableStack();
  const pins: { [K in PinnedKind]?: string } = {};
  for (const kind of kinds) pins[kind] = undo.adopt(createPin(options, kind), unpinNamespace);
  inWindow(kinds, () => {
    stage(`unshare ${kinds.join(", ")} namespaces`, () => {
      // FFI unshare(2): allocates the namespaces; waits for nothing.
      checked(libc().unshare(kinds.reduce((flags, kind) => flags | KINDS[kind].flag, 0)), "unshare");
    });
    if (kinds.includes("network")) stage("bring up the loopback interface", bringUpLoopback);
    if (hostnameBytes !== undefined) {
      stage(`set hostname ${hostname}`, () => {
        // FFI sethostname(2): `hostnameBytes` outlives the call; cannot block.
        checked(libc().sethostname(hostnameBytes, BigInt(hostnameBytes.length)), "sethostname");
      });
    }
    for (const { file, value } of sysctlWrites) writeSysctl(file, value);
    for (const kind of kinds) {
      const path = pins[kind];
      if (path !== undefined) bindNamespace(`/proc/thread-self/ns/${KINDS[kind].file}`, path);
    }
  });
  undo.move();
  return pins;
}

/** The kind of namespace that holds a sysctl; undefined for one that no pod can set. */
export function namespaceOfSysctl(name: string): PinnedKind | undefined {
  return sysctlOwner(name);
}

/** Where {@link pinNamespaces} puts the pins of one name, whether they are there or not: what a sweep removes. */
export function pinPaths(options: { readonly directory: string; readonly name: string }): readonly string[] {
  return Object.values(KINDS).map(({ directory }) => `${options.directory}/${directory}/${options.name}`);
}

/**
 * Pins a namespace of a running process, such as a user or PID namespace that a child was started for.
 *
 * A PID namespace stays usable only while its first process lives; the pin then keeps the empty namespace.
 *
 * @returns the path of the pin
 * @throws AlreadyExistsError; StageError around an ErrnoError (ENOENT: the process is gone)
 */
export function pinNamespaceOfProcess(
  pid: number,
  options: { readonly directory: string; readonly name: string; readonly kind: NamespaceKind },
): string {
  using undo = new DisposableStack();
  const path = undo.adopt(createPin(options, options.kind), unpinNamespace);
  bindNamespace(`/proc/${pid}/ns/${KINDS[options.kind].file}`, path);
  undo.move();
  return path;
}

/**
 * Removes a pin; the namespace goes when its last process has gone. Idempotent: no pin, or a plain file that a crash
 * left in its place, is fine.
 *
 * @throws ErrnoError
 */
export function unpinNamespace(path: string): void {
  const name = cString(path);
  // FFI umount(2): lazy and of nsfs, which has nothing to write back. EINVAL: not a mount point.
  if (libc().umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) === -1) {
    const error = new ErrnoError("umount2", errno(), path);
    if (!isErrno(error, "EINVAL", "ENOENT", "ENOTDIR")) throw error;
  }
  // FFI unlink(2): a file of a local directory.
  if (libc().unlink(name) === -1) {
    const error = new ErrnoError("unlink", errno(), path);
    if (!isErrno(error, "ENOENT", "ENOTDIR")) throw error;
  }
}

/** Whether a namespace is pinned at `path`; false when there is nothing, or something else. */
export function isNamespacePinned(path: string): boolean {
  const result = new BigUint64Array(STATFS_BYTES / 8);
  // FFI statfs(2): `result` outlives the call. Pins are on local file systems, which answer from memory.
  return libc().statfs(cString(path), result) === 0 && result[0] === NSFS_MAGIC;
}

/**
 * Runs `body` with the calling thread inside the network namespace pinned at `path`, and returns what it gives.
 *
 * Only what `body` does before its first `await` is inside: make sockets, start a child. It must not call Deno's
 * asynchronous functions, which may start threads that would stay in the namespace. If the thread cannot return, the
 * process aborts.
 *
 * @throws ErrnoError when `path` is not a network namespace, and what `body` throws
 */
export function inNetworkNamespace<T>(path: string, body: () => T): T {
  using files = new DisposableStack();
  const target = files.adopt(openPath(path, O_RDONLY), closeFd);
  return inWindow(["network"], () => {
    // FFI setns(2): cannot block.
    checked(libc().setns(target, KINDS.network.flag), "setns", path);
    return body();
  });
}

/** Runs `body`, which may change these namespaces of the thread, and puts the thread back in every case. */
function inWindow<T>(kinds: readonly PinnedKind[], body: () => T): T {
  using files = new DisposableStack();
  const homes = kinds.map((kind) => {
    const { file, flag } = KINDS[kind];
    return { kind, flag, fd: files.adopt(openPath(`/proc/thread-self/ns/${file}`, O_RDONLY), closeFd) };
  });
  try {
    return body();
  } finally {
    for (const { kind, flag, fd } of homes) {
      // FFI setns(2): cannot block.
      if (libc().setns(fd, flag) === -1) die(`cannot return to the ${kind} namespace: errno ${errno()}`);
    }
  }
}

/** A daemon thread in a pod's namespace would give pods' rights and addresses to everything that it does later. */
function die(message: string): void {
  const bytes = new TextEncoder().encode(`fatal: ${message}; aborting, containers keep running\n`);
  libc().write(2, bytes, BigInt(bytes.length));
  libc().abort();
}

function createPin(options: { directory: string; name: string }, kind: NamespaceKind): string {
  const { directory, name } = options;
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) {
    throw new InvalidArgumentError(`namespace name ${JSON.stringify(name)} is not a plain file name`);
  }
  const folder = `${directory}/${KINDS[kind].directory}`;
  const path = `${folder}/${name}`;
  Deno.mkdirSync(folder, { recursive: true });
  try {
    Deno.openSync(path, { createNew: true, write: true, mode: 0o444 }).close();
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    throw new AlreadyExistsError(`cannot pin ${kind} namespace: ${path} exists; remove it if no pod uses it`);
  }
  return path;
}

function bindNamespace(source: string, path: string): void {
  stage(`pin ${source} at ${path}`, () => {
    // FFI mount(2): a bind mount reads no device; the strings outlive the call.
    checked(libc().mount(cString(source), cString(path), null, MS_BIND, null), "mount", path);
  });
}

function writeSysctl(file: string, value: string): void {
  stage(`set sysctl ${file} to ${JSON.stringify(value)}`, () => {
    const fd = openPath(file, O_WRONLY);
    try {
      const bytes = new TextEncoder().encode(value);
      // FFI write(2) to a sysctl: sets a kernel variable.
      checked(Number(libc().write(fd, bytes, BigInt(bytes.length))), "write", file);
    } finally {
      closeFd(fd);
    }
  });
}

function encodeHostname(hostname: string, kinds: readonly PinnedKind[]): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(hostname);
  if (bytes.length === 0 || bytes.length > HOSTNAME_MAX_BYTES || hostname.includes("\0")) {
    throw new InvalidArgumentError(
      `hostname ${
        JSON.stringify(hostname.slice(0, 200))
      } has ${bytes.length} bytes, must have 1 to ${HOSTNAME_MAX_BYTES}`,
    );
  }
  if (!kinds.includes("uts")) {
    throw new InvalidArgumentError(`hostname ${JSON.stringify(hostname)} needs a UTS namespace of its own`);
  }
  return bytes;
}

function stage(name: string, step: () => void): void {
  try {
    step();
  } catch (error) {
    throw atStage(name, error);
  }
}

function openPath(path: string, flags: number): number {
  // FFI open(2): of /proc files and namespace pins, which need no device; the string outlives the call.
  return checked(libc().open(cString(path), flags | O_CLOEXEC, 0), "open", path);
}

function closeFd(fd: number): void {
  libc().close(fd);
}
