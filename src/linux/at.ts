/**
 * System calls on directory descriptors, for code that creates many files below a directory that somebody else fills.
 *
 * They keep the argument order of their manual pages, take names as NUL-terminated bytes (archives hold names that are
 * not text), and give a negated errno instead of throwing: "exists already" is an ordinary answer in a hot loop.
 * {@link must} turns a failure into an ErrnoError.
 *
 * All work on local file systems, synchronously; the buffers are read or written during the call only.
 */
import { errno, lazyLibc } from "./_libc.ts";
import { ErrnoError } from "./errno.ts";

const libc = lazyLibc({
  syscall: { parameters: ["i64", "i32", "buffer", "buffer", "usize"], result: "i32" },
  openat: { parameters: ["i32", "buffer", "i32", "u32"], result: "i32" },
  mkdirat: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  mknodat: { parameters: ["i32", "buffer", "u32", "u64"], result: "i32" },
  symlinkat: { parameters: ["buffer", "i32", "buffer"], result: "i32" },
  readlinkat: { parameters: ["i32", "buffer", "buffer", "usize"], result: "i32" },
  linkat: { parameters: ["i32", "buffer", "i32", "buffer", "i32"], result: "i32" },
  unlinkat: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  fchownat: { parameters: ["i32", "buffer", "u32", "u32", "i32"], result: "i32" },
  fchmodat: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  utimensat: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
  fchown: { parameters: ["i32", "u32", "u32"], result: "i32" },
  fchmod: { parameters: ["i32", "u32"], result: "i32" },
  futimens: { parameters: ["i32", "buffer"], result: "i32" },
  ftruncate: { parameters: ["i32", "i64"], result: "i32" },
  statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32" },
  getdents64: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  // Lengths stay below 2 GiB here: the low half of the ssize_t is the whole answer, and no BigInt is made per call.
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  pwrite: { parameters: ["i32", "buffer", "usize", "i64"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
});

const ON_ARM = Deno.build.arch === "aarch64";

/** Open flags (asm-generic/fcntl.h; aarch64 swaps some). */
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
export const O_DIRECTORY = ON_ARM ? 0o40000 : 0o200000;
export const O_NOFOLLOW = ON_ARM ? 0o100000 : 0o400000;

/** Flags of the `…at` calls (linux/fcntl.h). */
export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;

/** File types within a mode (linux/stat.h). */
export const S_IFMT = 0o170000;
export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFDIR = 0o040000;
export const S_IFBLK = 0o060000;
export const S_IFLNK = 0o120000;

/** Error numbers that callers compare with, negated as the functions here give them. */
export const ENOENT = 2;
export const EEXIST = 17;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const ENAMETOOLONG = 36;
const EINTR = 4;

/** openat2(2): the same number on every architecture. */
const SYS_OPENAT2 = 437n;
const RESOLVE_NO_XDEV = 0x01n;
const RESOLVE_NO_MAGICLINKS = 0x02n;
const RESOLVE_IN_ROOT = 0x10n;

/** @returns `result`, or throws what a negated errno stands for */
export function must(result: number, call: string, path?: string): number {
  if (result >= 0) return result;
  throw new ErrnoError(call, -result, path);
}

function answer(result: number): number {
  return result === -1 ? -errno() : result;
}

const EAGAIN = 11;
/** Each try costs microseconds, and each failure needs a rename or mount somewhere on the node in just these. */
const OPEN_TRIES = 1000;

// struct open_how (linux/openat2.h): flags, mode, resolve
const how = new BigUint64Array(3);

/**
 * Opens `path` with `root` as the root directory: `..`, absolute names and symbolic links stay inside; magic links and
 * other mounts are refused. openat2(2), which gives EAGAIN for a path with `..` whenever anything on the node is renamed or
 * mounted meanwhile, and asks to be called again then.
 */
export function openInRoot(root: number, path: Uint8Array<ArrayBuffer>, flags: number): number {
  how[0] = BigInt(flags);
  how[2] = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  for (let tries = 1;; tries++) {
    const fd = answer(libc().syscall(SYS_OPENAT2, root, path, how, BigInt(how.byteLength)));
    if (fd !== -EAGAIN || tries === OPEN_TRIES) return fd;
  }
}

/** openat(2). A fifo or device is opened only if the caller asks for it by flags that allow it. */
export function openat(dir: number, name: Uint8Array<ArrayBuffer>, flags: number, mode: number): number {
  return answer(libc().openat(dir, name, flags, mode));
}

/** mkdirat(2). */
export function mkdirat(dir: number, name: Uint8Array<ArrayBuffer>, mode: number): number {
  return answer(libc().mkdirat(dir, name, mode));
}

/** mknodat(2); `device` is made by {@link deviceNumber}. */
export function mknodat(dir: number, name: Uint8Array<ArrayBuffer>, mode: number, device: bigint): number {
  return answer(libc().mknodat(dir, name, mode, device));
}

/** The kernel's encoding of a device number (sys/sysmacros.h, makedev). */
export function deviceNumber(major: number, minor: number): bigint {
  const hi = BigInt(major >>> 0);
  const lo = BigInt(minor >>> 0);
  return ((hi & 0xfffff000n) << 32n) | ((hi & 0xfffn) << 8n) | ((lo & 0xffffff00n) << 12n) | (lo & 0xffn);
}

/** symlinkat(2): `name` in `dir` becomes a link to `target`. */
export function symlinkat(target: Uint8Array<ArrayBuffer>, dir: number, name: Uint8Array<ArrayBuffer>): number {
  return answer(libc().symlinkat(target, dir, name));
}

/** Takes what a link leads to, of which only the length counts here; whoever needs more bytes gives its own buffer. */
const linkBuffer = new Uint8Array(4096);

/** Fills `target` with what a symbolic link holds; gives its length. readlinkat(2). */
export function readlinkat(dir: number, name: Uint8Array<ArrayBuffer>, target = linkBuffer): number {
  return answer(libc().readlinkat(dir, name, target, BigInt(target.length)));
}

/** linkat(2) without following: a link to a symbolic link links that link. */
export function linkat(
  fromDir: number,
  from: Uint8Array<ArrayBuffer>,
  dir: number,
  name: Uint8Array<ArrayBuffer>,
): number {
  return answer(libc().linkat(fromDir, from, dir, name, 0));
}

/** unlinkat(2); flags 0 or AT_REMOVEDIR. */
export function unlinkat(dir: number, name: Uint8Array<ArrayBuffer>, flags: number): number {
  return answer(libc().unlinkat(dir, name, flags));
}

/** fchownat(2), never following a symbolic link. */
export function lchownat(dir: number, name: Uint8Array<ArrayBuffer>, uid: number, gid: number): number {
  return answer(libc().fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW));
}

/** fchmodat(2). It follows symbolic links: only for names that the caller knows to be something else. */
export function fchmodat(dir: number, name: Uint8Array<ArrayBuffer>, mode: number): number {
  return answer(libc().fchmodat(dir, name, mode, 0));
}

/** utimensat(2), never following a symbolic link. `times` as {@link setTimes} fills it. */
export function lutimensat(dir: number, name: Uint8Array<ArrayBuffer>, times: Int32Array<ArrayBuffer>): number {
  return answer(libc().utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW));
}

/** futimens(3). */
export function futimens(fd: number, times: Int32Array<ArrayBuffer>): number {
  return answer(libc().futimens(fd, times));
}

/** Room for two struct timespec with 64-bit members. */
export const TIMES_WORDS = 8;
const TWO_32 = 0x1_0000_0000;

/** Fills the access (0) or modification (1) time of a buffer of {@link TIMES_WORDS} words. */
export function setTimes(times: Int32Array, which: 0 | 1, seconds: number, nanos: number): void {
  times[which * 4] = seconds | 0;
  times[which * 4 + 1] = Math.floor(seconds / TWO_32);
  times[which * 4 + 2] = nanos;
}

/** fchown(2). */
export function fchown(fd: number, uid: number, gid: number): number {
  return answer(libc().fchown(fd, uid, gid));
}

/** fchmod(2). */
export function fchmod(fd: number, mode: number): number {
  return answer(libc().fchmod(fd, mode));
}

/** ftruncate(2). */
export function ftruncate(fd: number, sizeBytes: number): number {
  return answer(libc().ftruncate(fd, BigInt(sizeBytes)));
}

/** write(2) of all bytes to a regular file: repeated after short writes and EINTR. 0, or a negated errno. */
export function writeAll(fd: number, bytes: Uint8Array<ArrayBuffer>): number {
  const c = libc();
  for (let rest = bytes; rest.length > 0;) {
    const got = answer(c.write(fd, rest, BigInt(rest.length)));
    if (got === rest.length) return 0;
    if (got >= 0) rest = rest.subarray(got);
    else if (got !== -EINTR) return got;
  }
  return 0;
}

/** Like {@link writeAll}, at a position. pwrite(2). */
export function pwriteAll(fd: number, bytes: Uint8Array<ArrayBuffer>, position: number): number {
  const c = libc();
  for (let done = 0; done < bytes.length;) {
    const rest = bytes.subarray(done);
    const got = answer(c.pwrite(fd, rest, BigInt(rest.length), BigInt(position + done)));
    if (got >= 0) done += got;
    else if (got !== -EINTR) return got;
  }
  return 0;
}

/** close(2). Errors are of no use to anybody here: nothing was written back yet. */
export function close(fd: number): void {
  libc().close(fd);
}

/** What {@link statAt} tells of a file. */
export interface FileStat {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly linkCount: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

/** So are x86_64 and aarch64. */
const LITTLE_ENDIAN = true;

/** struct statx (linux/stat.h): the same on all architectures. */
const STATX_BYTES = 256;
const STATX_BASIC = 0x7ff;
const statBuffer = new DataView(new ArrayBuffer(STATX_BYTES));

/** statx(2) of `name` in `dir`, not following a symbolic link; undefined when there is no such file. */
export function statAt(dir: number, name: Uint8Array<ArrayBuffer>): FileStat | undefined {
  const result = answer(libc().statx(dir, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC, statBuffer));
  if (result === -ENOENT) return undefined;
  must(result, "statx");
  const at = (offset: number): number => statBuffer.getUint32(offset, LITTLE_ENDIAN);
  return {
    linkCount: at(16),
    uid: at(20),
    gid: at(24),
    mode: statBuffer.getUint16(28, LITTLE_ENDIAN),
    deviceMajor: at(128),
    deviceMinor: at(132),
  };
}

/** struct linux_dirent64: inode 8, offset 8, record length 2, type 1, name. */
const DIRENT_LENGTH = 16;
const DIRENT_NAME = 19;
const DIRENTS_BYTES = 32 * 1024;

/**
 * Some names of an open directory, each NUL-terminated, without `.` and `..`; empty at the end. getdents64(2).
 *
 * @throws ErrnoError
 */
export function readNames(fd: number): Uint8Array<ArrayBuffer>[] {
  const buffer = new Uint8Array(DIRENTS_BYTES);
  const view = new DataView(buffer.buffer);
  const names: Uint8Array<ArrayBuffer>[] = [];
  for (;;) {
    const length = must(answer(libc().getdents64(fd, buffer, BigInt(buffer.length))), "getdents64");
    for (let offset = 0; offset < length; offset += view.getUint16(offset + DIRENT_LENGTH, LITTLE_ENDIAN)) {
      const start = offset + DIRENT_NAME;
      const end = buffer.indexOf(0, start);
      const isDots = buffer[start] === 0x2e && (end === start + 1 || (end === start + 2 && buffer[start + 1] === 0x2e));
      if (!isDots) names.push(buffer.slice(start, end + 1));
    }
    if (length === 0 || names.length > 0) return names;
  }
}

/**
 * Removes a file, or a directory with all that is in it, below `dir`; never follows a symbolic link.
 *
 * @throws ErrnoError
 */
export function removeTreeAt(dir: number, name: Uint8Array<ArrayBuffer>): void {
  const first = unlinkat(dir, name, 0);
  if (first >= 0 || first === -ENOENT) return;
  if (first !== -EISDIR) must(first, "unlinkat");
  const fd = must(openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0), "openat");
  try {
    for (let names = readNames(fd); names.length > 0; names = readNames(fd)) {
      for (const child of names) removeTreeAt(fd, child);
    }
  } finally {
    close(fd);
  }
  must(unlinkat(dir, name, AT_REMOVEDIR), "unlinkat");
}
