import { Socket } from "node:net";
import { checked, cString, errno, lazyLibc } from "./_libc.ts";
import { ErrnoError } from "./errno.ts";

const libc = lazyLibc({
  pipe2: { parameters: ["buffer", "i32"], result: "i32" },
  socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
});

const O_WRONLY = 1;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const F_SETFL = 4;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const EAGAIN = 11;
const EPIPE = 32;

/** A file descriptor with one owner, closed with it. */
export class OwnedFd implements Disposable {
  #fd: number | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** @throws ErrnoError with EBADF once it is closed or handed on */
  get fd(): number {
    if (this.#fd === undefined) throw new ErrnoError("use descriptor", 9);
    return this.#fd;
  }

  /** Hands the descriptor to the caller, who closes it from now on. */
  release(): number {
    const { fd } = this;
    this.#fd = undefined;
    return fd;
  }

  /** Closes it; does nothing the second time. */
  close(): void {
    if (this.#fd === undefined) return;
    const fd = this.release();
    // FFI close(2) of a pipe, socket or memory file: does not block.
    libc().close(fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** The two ends of a pipe, or of a pair of sockets. */
export interface Pair extends Disposable {
  readonly read: OwnedFd;
  readonly write: OwnedFd;
}

/**
 * A pipe; both ends are closed in children that do not get them by name.
 *
 * @throws ErrnoError such as EMFILE
 */
export function openPipe(): Pair {
  const fds = new Int32Array(2);
  // FFI pipe2(2): fills the array during the call, never blocks.
  checked(libc().pipe2(fds, O_CLOEXEC), "pipe2");
  return pairOf(fds);
}

/**
 * A connected pair of unix stream sockets: both ends read and write.
 *
 * @throws ErrnoError such as EMFILE
 */
export function openSocketPair(): Pair {
  const fds = new Int32Array(2);
  // FFI socketpair(2): fills the array during the call, never blocks.
  checked(libc().socketpair(AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0, fds), "socketpair");
  return pairOf(fds);
}

/** A stream over the read end of a pipe, or over a stream socket; it owns and closes the descriptor. */
export function readableOf(end: OwnedFd): Socket {
  return adopt(end, { readable: true, writable: false });
}

/** A stream over the write end of a pipe; it owns and closes the descriptor. */
export function writableOf(end: OwnedFd): Socket {
  return adopt(end, { readable: false, writable: true });
}

/** A stream over a stream socket, for both directions; it owns and closes the descriptor. */
export function duplexOf(end: OwnedFd): Socket {
  return adopt(end, { readable: true, writable: true });
}

/**
 * Opens a named pipe for writing without waiting for a reader.
 *
 * @returns undefined when nobody has it open for reading
 * @throws ErrnoError such as ENOENT
 */
export function openFifoForWriting(path: string): OwnedFd | undefined {
  const name = cString(path);
  // FFI open(2) with O_NONBLOCK on a named pipe: fails with ENXIO instead of waiting.
  const fd = libc().open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd !== -1) return new OwnedFd(fd);
  const code = errno();
  const ENXIO = 6;
  if (code === ENXIO) return undefined;
  throw new ErrnoError("open", code, path);
}

/**
 * Writes a short message (at most 4096 bytes, so that it is whole or not at all) to a pipe without waiting.
 *
 * @returns false when the reader is gone
 * @throws ErrnoError with EAGAIN when the pipe is full
 */
export function writeNow(end: OwnedFd, bytes: Uint8Array<ArrayBuffer>): boolean {
  // FFI fcntl(2) and write(2), the latter on a non-blocking pipe: cannot wait.
  checked(libc().fcntl(end.fd, F_SETFL, O_NONBLOCK), "fcntl F_SETFL");
  const written = libc().write(end.fd, bytes, BigInt(bytes.length));
  if (Number(written) !== -1) return true;
  const code = errno();
  if (code === EPIPE) return false;
  throw new ErrnoError(code === EAGAIN ? "write to a full pipe" : "write", code);
}

/** What is in a pipe now, at most `maxBytes`, without waiting for more. */
export function readNow(end: OwnedFd, maxBytes: number): Uint8Array {
  const bytes = new Uint8Array(maxBytes);
  // FFI fcntl(2) and read(2), the latter on a non-blocking pipe: cannot wait.
  checked(libc().fcntl(end.fd, F_SETFL, O_NONBLOCK), "fcntl F_SETFL");
  const got = Number(libc().read(end.fd, bytes, BigInt(maxBytes)));
  return bytes.subarray(0, Math.max(got, 0));
}

function pairOf(fds: Int32Array): Pair {
  const [read = -1, write = -1] = fds;
  const pair = { read: new OwnedFd(read), write: new OwnedFd(write) };
  return {
    ...pair,
    [Symbol.dispose]: (): void => {
      pair.read.close();
      pair.write.close();
    },
  };
}

function adopt(end: OwnedFd, direction: { readonly readable: boolean; readonly writable: boolean }): Socket {
  const socket = new Socket({ fd: end.fd, ...direction });
  end.release();
  return socket;
}
