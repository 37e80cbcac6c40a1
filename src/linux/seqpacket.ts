import { Socket } from "node:net";
import process from "node:process";
import { checked, cString, errno, lazyLibc } from "./_libc.ts";
import { ErrnoError } from "./errno.ts";
import { OwnedFd } from "./pipe.ts";

const libc = lazyLibc({
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
});

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SHUT_WR = 1;
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;
/** sockaddr_un of sys/un.h: family, then a path of at most 108 bytes with its NUL. */
const ADDRESS_BYTES = 110;
const PATH_OFFSET = 2;

/**
 * Connects to a unix socket that keeps the boundaries of messages.
 *
 * @param path of any length: one that does not fit into an address is opened first, and dialled as `/proc/self/fd/N`
 * @throws ErrnoError: ENOENT or ECONNREFUSED when nobody listens, EAGAIN when too many wait there
 */
export function connectSeqpacket(path: string): OwnedFd {
  if (new TextEncoder().encode(path).length < ADDRESS_BYTES - PATH_OFFSET) return connectTo(path, path);
  // FFI open(2) with O_PATH: only looks the name up.
  using place = new OwnedFd(checked(libc().open(cString(path), O_PATH | O_CLOEXEC), "open", path));
  return connectTo(`/proc/self/fd/${place.fd}`, path);
}

/** @param shown what the error names */
function connectTo(name: string, shown: string): OwnedFd {
  const address = new Uint8Array(ADDRESS_BYTES);
  address.set(new Uint8Array(Uint16Array.of(AF_UNIX).buffer));
  address.set(new TextEncoder().encode(name), PATH_OFFSET);
  const flags = SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const fd = new OwnedFd(checked(libc().socket(AF_UNIX, flags, 0), "socket"));
  // FFI connect(2) of a non-blocking unix socket: connects at once or fails with EAGAIN; `address` outlives the call.
  if (libc().connect(fd.fd, address, ADDRESS_BYTES) === 0) return fd;
  const code = errno();
  fd.close();
  throw new ErrnoError("connect", code, shown);
}

/** Ends our direction of a connected socket; the other side reads an end. Does nothing once it is disconnected. */
export function shutdownWriting(fd: number): void {
  // FFI shutdown(2): marks the socket, waits for nothing. ENOTCONN: the other side has gone.
  libc().shutdown(fd, SHUT_WR);
}

/**
 * A stream over a descriptor of a kind that the event loop's own constructors refuse, such as a terminal or a socket
 * with message boundaries (each read gives one message of up to 64 KiB). It owns and closes the descriptor.
 */
export function rawStreamOf(end: OwnedFd): Socket {
  // An internal of the platform, from Node.js; the platform's version is pinned.
  const { Pipe } = (process as unknown as { binding(name: "pipe_wrap"): PipeBinding }).binding("pipe_wrap");
  const SOCKET = 0;
  const handle = new Pipe(SOCKET);
  handle.open(end.fd);
  end.release();
  return new Socket({ handle, allowHalfOpen: true } as object);
}

interface PipeBinding {
  readonly Pipe: new (type: number) => { open(fd: number): number };
}
