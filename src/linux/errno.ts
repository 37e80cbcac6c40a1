import { type ErrorKind, PodError } from "../base/errors.ts";

/** Names of the error numbers of Linux (the same on x86_64 and aarch64), asm-generic/errno*.h. */
const NAMES: Readonly<Record<number, readonly [name: string, text: string]>> = {
  1: ["EPERM", "operation not permitted"],
  2: ["ENOENT", "no such file or directory"],
  3: ["ESRCH", "no such process"],
  4: ["EINTR", "interrupted system call"],
  5: ["EIO", "input/output error"],
  6: ["ENXIO", "no such device or address"],
  7: ["E2BIG", "argument list too long"],
  8: ["ENOEXEC", "exec format error"],
  9: ["EBADF", "bad file descriptor"],
  10: ["ECHILD", "no child processes"],
  11: ["EAGAIN", "resource temporarily unavailable"],
  12: ["ENOMEM", "cannot allocate memory"],
  13: ["EACCES", "permission denied"],
  14: ["EFAULT", "bad address"],
  16: ["EBUSY", "device or resource busy"],
  17: ["EEXIST", "file exists"],
  18: ["EXDEV", "invalid cross-device link"],
  19: ["ENODEV", "no such device"],
  20: ["ENOTDIR", "not a directory"],
  21: ["EISDIR", "is a directory"],
  22: ["EINVAL", "invalid argument"],
  23: ["ENFILE", "too many open files in system"],
  24: ["EMFILE", "too many open files"],
  25: ["ENOTTY", "inappropriate ioctl for device"],
  26: ["ETXTBSY", "text file busy"],
  27: ["EFBIG", "file too large"],
  28: ["ENOSPC", "no space left on device"],
  29: ["ESPIPE", "illegal seek"],
  30: ["EROFS", "read-only file system"],
  31: ["EMLINK", "too many links"],
  32: ["EPIPE", "broken pipe"],
  34: ["ERANGE", "numerical result out of range"],
  36: ["ENAMETOOLONG", "file name too long"],
  38: ["ENOSYS", "function not implemented"],
  39: ["ENOTEMPTY", "directory not empty"],
  40: ["ELOOP", "too many levels of symbolic links"],
  61: ["ENODATA", "no data available"],
  75: ["EOVERFLOW", "value too large for defined data type"],
  95: ["EOPNOTSUPP", "operation not supported"],
  97: ["EAFNOSUPPORT", "address family not supported by protocol"],
  98: ["EADDRINUSE", "address already in use"],
  99: ["EADDRNOTAVAIL", "cannot assign requested address"],
  101: ["ENETUNREACH", "network is unreachable"],
  106: ["EISCONN", "transport endpoint is already connected"],
  107: ["ENOTCONN", "transport endpoint is not connected"],
  110: ["ETIMEDOUT", "connection timed out"],
  111: ["ECONNREFUSED", "connection refused"],
  114: ["EALREADY", "operation already in progress"],
  115: ["EINPROGRESS", "operation now in progress"],
  116: ["ESTALE", "stale file handle"],
  122: ["EDQUOT", "disk quota exceeded"],
};

/** The number of an error by its name; undefined for one that is not known here. */
export function errnoByName(name: string): number | undefined {
  const entry = Object.entries(NAMES).find(([, [known]]) => known === name);
  return entry === undefined ? undefined : Number(entry[0]);
}

const KINDS: Readonly<Record<string, ErrorKind>> = {
  EPERM: "permission_denied",
  EACCES: "permission_denied",
  ENOSPC: "resource_exhausted",
  EDQUOT: "resource_exhausted",
  ENOMEM: "resource_exhausted",
  EMFILE: "resource_exhausted",
  ENFILE: "resource_exhausted",
};

/** A failed system call: which, with what error, on which path. */
export class ErrnoError extends PodError {
  override readonly kind: ErrorKind;
  /** Symbolic name, such as `ENOENT`. */
  readonly code: string;

  constructor(readonly call: string, readonly errno: number, readonly path?: string, options?: ErrorOptions) {
    const [name, text] = NAMES[errno] ?? [`errno ${errno}`, "unknown error"];
    super(`${call}${path === undefined ? "" : ` ${path}`}: ${text} (${name})`, options);
    this.code = name;
    this.kind = KINDS[name] ?? "internal";
  }
}

/** Whether `thrown` is a failed system call with one of these names. */
export function isErrno(thrown: unknown, ...codes: readonly string[]): thrown is ErrnoError {
  return thrown instanceof ErrnoError && codes.includes(thrown.code);
}
