import { checked, cString, errno, lazyLibc } from "./_libc.ts";
import { ErrnoError } from "./errno.ts";

const libc = lazyLibc({
  open: { parameters: ["buffer", "i32"], result: "i32" },
  syscall: { parameters: ["i64", "i32", "buffer", "buffer", "usize"], result: "i64" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
});

const O_RDONLY = 0;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const O_PATH = 0o10000000;
const O_DIRECTORY = Deno.build.arch === "aarch64" ? 0o40000 : 0o200000;
/** openat2(2): the same number on every architecture since Linux 5.6. */
const SYS_OPENAT2 = 437n;
const RESOLVE_NO_MAGICLINKS = 0x02n;
const RESOLVE_IN_ROOT = 0x10n;
const FIRST_READ_BYTES = 16 * 1024;

/**
 * Reads a small file below a directory that an image or a container controls: `..`, absolute paths and symbolic links
 * stay inside `root`, device files do not hang.
 *
 * @param options.maxBytes longer files are cut there
 * @returns undefined when there is no such file
 * @throws ErrnoError for everything else, such as ELOOP
 */
export function readFileInRoot(root: string, path: string, options: { maxBytes: number }): Uint8Array | undefined {
  // FFI open(2), openat2(2), read(2): local files, opened non-blocking; the buffers live over the calls.
  const c = libc();
  const rootFd = checked(c.open(cString(root), O_PATH | O_DIRECTORY | O_CLOEXEC), "open", root);
  try {
    // struct open_how (linux/openat2.h): flags, mode, resolve
    const how = new BigUint64Array([
      BigInt(O_RDONLY | O_NONBLOCK | O_CLOEXEC),
      0n,
      RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    ]);
    const fd = Number(c.syscall(SYS_OPENAT2, rootFd, cString(path), how, BigInt(how.byteLength)));
    if (fd === -1) {
      const code = errno();
      const ENOENT = 2;
      const ENOTDIR = 20;
      if (code === ENOENT || code === ENOTDIR) return undefined;
      throw new ErrnoError("openat2", code, `${root} ${path}`);
    }
    try {
      return readUpTo(fd, options.maxBytes);
    } finally {
      c.close(fd);
    }
  } finally {
    c.close(rootFd);
  }
}

function readUpTo(fd: number, maxBytes: number): Uint8Array {
  let bytes = new Uint8Array(Math.min(maxBytes, FIRST_READ_BYTES));
  let length = 0;
  while (length < maxBytes) {
    if (length === bytes.length) {
      const longer = new Uint8Array(Math.min(maxBytes, length * 4));
      longer.set(bytes);
      bytes = longer;
    }
    const got = checked(Number(libc().read(fd, bytes.subarray(length), BigInt(bytes.length - length))), "read");
    if (got === 0) break;
    length += got;
  }
  return bytes.subarray(0, length);
}
