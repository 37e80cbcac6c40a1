/** Extended attributes. Values are bytes; a path's last component is never followed when it is a symbolic link. */
import { checked, cString, errno, lazyLibc } from "./_libc.ts";
import { ErrnoError } from "./errno.ts";

const libc = lazyLibc({
  lsetxattr: { parameters: ["buffer", "buffer", "buffer", "usize", "i32"], result: "i32" },
  fsetxattr: { parameters: ["i32", "buffer", "buffer", "usize", "i32"], result: "i32" },
  lgetxattr: { parameters: ["buffer", "buffer", "buffer", "usize"], result: "i32" },
  llistxattr: { parameters: ["buffer", "buffer", "usize"], result: "i32" },
  lremovexattr: { parameters: ["buffer", "buffer"], result: "i32" },
});

/** Largest value and largest list of names that Linux has (limits.h, XATTR_SIZE_MAX and XATTR_LIST_MAX). */
const XATTR_MAX_BYTES = 64 * 1024;
const ENODATA = 61;

/** A C string, made from text or given as NUL-terminated bytes. */
export type CName = string | Uint8Array<ArrayBuffer>;

function bytesOf(name: CName): Uint8Array<ArrayBuffer> {
  return typeof name === "string" ? cString(name) : name;
}

function textOf(name: CName): string {
  return typeof name === "string" ? name : new TextDecoder().decode(name.subarray(0, -1));
}

/**
 * Sets an attribute of a file, or replaces it. lsetxattr(2).
 *
 * @throws ErrnoError, such as EOPNOTSUPP when the file system has no such attributes
 */
export function setXattr(path: CName, name: CName, value: Uint8Array<ArrayBuffer>): void {
  // FFI lsetxattr(2): local file; the buffers are locals of this call.
  const result = libc().lsetxattr(bytesOf(path), bytesOf(name), value, BigInt(value.length), 0);
  checked(result, `lsetxattr ${textOf(name)}`, textOf(path));
}

/** Like {@link setXattr}, on an open file. fsetxattr(2). */
export function setXattrOfFd(fd: number, name: CName, value: Uint8Array<ArrayBuffer>): void {
  // FFI fsetxattr(2): local file; the buffers are locals of this call.
  checked(libc().fsetxattr(fd, bytesOf(name), value, BigInt(value.length), 0), `fsetxattr ${textOf(name)}`);
}

/**
 * The value of an attribute, undefined when the file does not have it. lgetxattr(2).
 *
 * @throws ErrnoError
 */
export function getXattr(path: CName, name: CName): Uint8Array<ArrayBuffer> | undefined {
  const value = new Uint8Array(XATTR_MAX_BYTES);
  // FFI lgetxattr(2): local file; errno is read in the statement after the call.
  const length = libc().lgetxattr(bytesOf(path), bytesOf(name), value, BigInt(value.length));
  if (length >= 0) return value.slice(0, length);
  const code = errno();
  if (code === ENODATA) return undefined;
  throw new ErrnoError(`lgetxattr ${textOf(name)}`, code, textOf(path));
}

/**
 * The names of all attributes of a file, sorted. llistxattr(2).
 *
 * @throws ErrnoError
 */
export function listXattrs(path: CName): string[] {
  const list = new Uint8Array(XATTR_MAX_BYTES);
  // FFI llistxattr(2): local file; the buffers are locals of this call.
  const length = checked(libc().llistxattr(bytesOf(path), list, BigInt(list.length)), "llistxattr", textOf(path));
  return new TextDecoder().decode(list.subarray(0, length)).split("\0").filter((name) => name !== "").sort();
}

/**
 * Removes an attribute; nothing happens when the file does not have it. lremovexattr(2).
 *
 * @throws ErrnoError
 */
export function removeXattr(path: CName, name: CName): void {
  // FFI lremovexattr(2): local file; errno is read in the statement after the call.
  if (libc().lremovexattr(bytesOf(path), bytesOf(name)) === 0) return;
  const code = errno();
  if (code !== ENODATA) throw new ErrnoError(`lremovexattr ${textOf(name)}`, code, textOf(path));
}
