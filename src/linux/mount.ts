import { Semaphore } from "../base/semaphore.ts";
import { checked, cString, errno, lazyLibc } from "./_libc.ts";
import { ErrnoError } from "./errno.ts";

const libc = lazyLibc({
  mount: { parameters: ["buffer", "buffer", "buffer", "u64", "buffer"], result: "i32" },
  umount2: { parameters: ["buffer", "i32"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  chdir: { parameters: ["buffer"], result: "i32" },
  fchdir: { parameters: ["i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  syscall: { parameters: ["i64", "i32", "buffer", "u32"], result: "i64" },
  statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32" },
});
/** The same function, called on a pool thread: its errno cannot be read. */
const pooled = lazyLibc({ umount2: { parameters: ["buffer", "i32"], result: "i32", nonblocking: true } });

/** Flags of mount(2), linux/mount.h; values of one mount are or-ed. */
export const MOUNT_FLAG = {
  readonly: 1n,
  nosuid: 2n,
  nodev: 4n,
  noexec: 8n,
  remount: 32n,
  noatime: 1024n,
  bind: 4096n,
  recursive: 16384n,
  unbindable: 1n << 17n,
  private: 1n << 18n,
  slave: 1n << 19n,
  shared: 1n << 20n,
  relatime: 1n << 21n,
} as const;

/** Words of mount(8) that are flags of the call and no options of a file system; 0: what is so anyway. */
const FLAG_WORDS: ReadonlyMap<string, bigint> = new Map([
  ["ro", MOUNT_FLAG.readonly],
  ["nosuid", MOUNT_FLAG.nosuid],
  ["nodev", MOUNT_FLAG.nodev],
  ["noexec", MOUNT_FLAG.noexec],
  ["sync", 16n],
  ["dirsync", 128n],
  ["noatime", MOUNT_FLAG.noatime],
  ["nodiratime", 2048n],
  ["relatime", MOUNT_FLAG.relatime],
  ["strictatime", 1n << 24n],
  ["lazytime", 1n << 25n],
  ...["defaults", "rw", "suid", "dev", "exec", "async", "atime", "diratime"].map((word) => [word, 0n] as const),
]);

const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;
/** open_tree(2): the same number on every architecture, since Linux 5.2. */
const SYS_OPEN_TREE = 428n;
const AT_FDCWD = -100;
const OPEN_TREE_CLONE = 1;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_NO_AUTOMOUNT = 0x800;
/** struct statx (linux/stat.h), in words of 8 bytes: attributes and the mask of those that the kernel knows. */
const STATX_WORDS = 32;
const STATX_ATTRIBUTES = 1;
const STATX_ATTRIBUTES_MASK = 7;
const STATX_ATTR_MOUNT_ROOT = 0x2000n;
const EINVAL = 22;
const ENOENT = 2;
/** The kernel copies one page of options; pages are at least this large. */
const PAGE_BYTES = 4096;
/** Pool threads that may wait in umount at a time; the pool (32) also serves file operations. */
const UNMOUNTS_AT_ONCE = 4;
const unmounts = new Semaphore(UNMOUNTS_AT_ONCE);

export interface MountRequest {
  /** Device, directory to bind, or a free name. */
  readonly source: string;
  readonly target: string;
  /** Absent for binds, remounts and changes of propagation. */
  readonly filesystem?: string;
  readonly flags?: bigint;
  /** Options of the file system, comma-separated. */
  readonly data?: string;
}

/**
 * mount(2).
 *
 * @throws ErrnoError with the target as path
 */
export function mount(request: MountRequest): void {
  const { source, target, filesystem, flags = 0n, data } = request;
  const type = filesystem === undefined ? null : cString(filesystem);
  const options = data === undefined ? null : cString(data);
  // FFI mount(2): strings live over the call. 0.3 ms for tmpfs and overlay; callers do not pass network file systems.
  checked(libc().mount(cString(source), cString(target), type, flags, options), "mount", target);
}

/** Binds `source` (a file or directory) on `target`; `recursive` takes the mounts below it along. */
export function bindMount(
  source: string,
  target: string,
  options: { readonly recursive?: boolean; readonly readonly?: boolean } = {},
): void {
  const recursive = options.recursive === true ? MOUNT_FLAG.recursive : 0n;
  mount({ source, target, flags: MOUNT_FLAG.bind | recursive });
  if (options.readonly !== true) return;
  const flags = MOUNT_FLAG.bind | MOUNT_FLAG.remount | MOUNT_FLAG.readonly;
  try {
    mount({ source: "none", target, flags });
  } catch (error) {
    libc().umount2(cString(target), MNT_DETACH);
    throw error;
  }
}

/** Changes how mounts propagate at `target`, and below it when `recursive`. */
export function setPropagation(
  target: string,
  kind: "private" | "slave" | "shared" | "unbindable",
  options: { readonly recursive?: boolean } = {},
): void {
  const recursive = options.recursive === true ? MOUNT_FLAG.recursive : 0n;
  mount({ source: "none", target, flags: MOUNT_FLAG[kind] | recursive });
}

/** What one overlay is made of; paths hold no `:`, `,` or backslash. */
export interface OverlayRequest {
  readonly target: string;
  /** Topmost first; at least one, at least two without `upper`. */
  readonly lower: readonly string[];
  readonly upper?: string;
  readonly work?: string;
  /** Further options, such as `volatile` or `nodev`. */
  readonly options?: readonly string[];
  /**
   * Directory that most paths are in. When the options would not fit in a page, paths below it are given relative to
   * it, with the working directory changed for the time of the call.
   */
  readonly base: string;
}

/**
 * Mounts an overlay.
 *
 * @throws ErrnoError, with E2BIG when even the shortened options do not fit in a page
 */
export function mountOverlay(request: OverlayRequest): void {
  const { target, base, options = [] } = request;
  const flags = options.reduce((sum, word) => sum | (FLAG_WORDS.get(word) ?? 0n), 0n);
  const data = overlayData(request, (path) => path);
  if (cString(data).length <= PAGE_BYTES) {
    mount({ source: "overlay", target, filesystem: "overlay", flags, data });
    return;
  }
  const relative = overlayData(request, (path) => path.startsWith(`${base}/`) ? path.slice(base.length + 1) : path);
  if (cString(relative).length > PAGE_BYTES) throw new ErrnoError("mount overlay", 7, target);
  mountFrom(base, { source: "overlay", target, filesystem: "overlay", flags, data: relative });
}

/**
 * Ends the mount at `target`. Unmounting may sync a whole file system, so it runs on a pool thread, a few at a time.
 *
 * @param options.detach takes it out of the tree at once even when it is busy (MNT_DETACH)
 * @returns false when nothing was mounted there
 * @throws ErrnoError, with EBUSY when it is in use and `detach` is not set
 */
export async function unmount(
  target: string,
  options: { readonly detach?: boolean; readonly signal?: AbortSignal } = {},
): Promise<boolean> {
  const flags = UMOUNT_NOFOLLOW | (options.detach === true ? MNT_DETACH : 0);
  const path = cString(target);
  {
    using _place = await unmounts.acquire(options.signal === undefined ? {} : { signal: options.signal });
    // FFI umount2(2) on a pool thread: `path` is held by this frame until it is done.
    if (await pooled().umount2(path, flags) === 0) return true;
  }
  // What failed there fails here at once, and only here can the reason be read.
  if (libc().umount2(path, flags) === 0) return true;
  const code = errno();
  if (code === EINVAL || code === ENOENT) return false;
  throw new ErrnoError("umount", code, target);
}

/**
 * Whether something is mounted on `path`, a bind mount on itself included.
 *
 * @returns undefined when the kernel (before 5.8) cannot tell
 * @throws ErrnoError when the path does not exist
 */
export function isMountPoint(path: string): boolean | undefined {
  const words = new BigUint64Array(STATX_WORDS);
  // FFI statx(2): both buffers live over the call; a local path, no automount, answers from memory as a rule.
  const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
  checked(libc().statx(AT_FDCWD, cString(path), flags, 0, words), "statx", path);
  if (((words[STATX_ATTRIBUTES_MASK] ?? 0n) & STATX_ATTR_MOUNT_ROOT) === 0n) return undefined;
  return ((words[STATX_ATTRIBUTES] ?? 0n) & STATX_ATTR_MOUNT_ROOT) !== 0n;
}

/** A view of a directory that no other process sees. */
export interface DetachedMount extends Disposable {
  /** Valid in this process until disposed. */
  readonly path: string;
}

/**
 * A private view of `directory` without the mounts below it: what lies under a mount point can be reached there, and
 * renames cross what looks like two mounts from outside.
 *
 * @throws ErrnoError, with ENOSYS before Linux 5.2
 */
export function cloneMount(directory: string): DetachedMount {
  const path = cString(directory);
  // FFI open_tree(2): copies one mount structure, never waits; `path` lives over the call. The clone is in no
  // namespace and goes away with its descriptor.
  const fd = checked(
    Number(libc().syscall(SYS_OPEN_TREE, AT_FDCWD, path, OPEN_TREE_CLONE | O_CLOEXEC)),
    "open_tree",
    directory,
  );
  let open = true;
  return {
    path: `/proc/self/fd/${fd}`,
    [Symbol.dispose]: (): void => {
      if (open) libc().close(fd);
      open = false;
    },
  };
}

function overlayData(request: OverlayRequest, shorten: (path: string) => string): string {
  const { lower, upper, work, options = [] } = request;
  const parts = [`lowerdir=${lower.map(shorten).join(":")}`];
  if (upper !== undefined && work !== undefined) parts.push(`upperdir=${shorten(upper)}`, `workdir=${shorten(work)}`);
  return [...parts, ...options.filter((word) => !FLAG_WORDS.has(word))].join(",");
}

function mountFrom(directory: string, request: MountRequest): void {
  // FFI open(2), chdir(2), fchdir(2): one synchronous window; no other code of this thread runs in it, and pool
  // threads use absolute paths only.
  const c = libc();
  const home = checked(c.open(cString("."), O_PATH | O_CLOEXEC), "open", ".");
  try {
    checked(c.chdir(cString(directory)), "chdir", directory);
    mount(request);
  } finally {
    c.fchdir(home);
    c.close(home);
  }
}
