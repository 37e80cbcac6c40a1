import { AlreadyExistsError, InvalidArgumentError } from "../base/errors.ts";
import { checked, cString, errno, lazyLibc } from "./_libc.ts";
import { ErrnoError, isErrno } from "./errno.ts";
import { namespaceSetup } from "./_namespace_setup.ts";
import { sysctlOwner } from "./_sysctl.ts";
import { enterNamespace, inWindow, KINDS, stage } from "./_window.ts";

const libc = lazyLibc({
  unshare: { parameters: ["i32"], result: "i32" },
  mount: { parameters: ["buffer", "buffer", "pointer", "u64", "pointer"], result: "i32" },
  umount2: { parameters: ["buffer", "i32"], result: "i32" },
  unlink: { parameters: ["buffer"], result: "i32" },
  statfs: { parameters: ["buffer", "buffer"], result: "i32" },
});

/** Namespaces that a thread can make and leave again; user and PID namespaces need a process of their own. */
export type PinnedKind = "network" | "ipc" | "uts";
/** Everything that can be pinned from a running process. */
export type NamespaceKind = PinnedKind | "pid" | "user";

const MS_BIND = 4096n;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;
/** linux/magic.h; `f_type` is the first field of struct statfs, which is 120 bytes on both architectures. */
const NSFS_MAGIC = 0x6e736673n;
const STATFS_BYTES = 120;

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
  const { kinds } = options;
  const setup = namespaceSetup(options);
  if (kinds.length === 0) return {};
  using undo = new DisposableStack();
  const pins: { [K in PinnedKind]?: string } = {};
  for (const kind of kinds) pins[kind] = undo.adopt(createPin(options, kind), unpinNamespace);
  inWindow(kinds, () => {
    stage(`unshare ${kinds.join(", ")} namespaces`, () => {
      // FFI unshare(2): allocates the namespaces; waits for nothing.
      checked(libc().unshare(kinds.reduce((flags, kind) => flags | KINDS[kind].flag, 0)), "unshare");
    });
    setup.run();
    setup.runAsOwner();
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
  return inWindow(["network"], () => {
    enterNamespace(path, "network");
    return body();
  });
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
