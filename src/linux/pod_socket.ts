import { Socket } from "node:net";
import { sleep } from "../base/clock.ts";
import { checked, errno, lazyLibc } from "./_libc.ts";
import { ErrnoError, isErrno } from "./errno.ts";
import { inNetworkNamespace } from "./namespaces.ts";
import { OwnedFd } from "./pipe.ts";

const libc = lazyLibc({
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
});

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const EISCONN = 106;
const EALREADY = 114;
const EINPROGRESS = 115;
/** Longest wait between two looks at a connection that is being made. */
const LONGEST_WAIT_MS = 100;

/** sockaddr_in and sockaddr_in6 of netinet/in.h, with the loopback address. */
const LOOPBACK = [
  { family: AF_INET, sizeBytes: 16, addressAt: 4, address: [127, 0, 0, 1] },
  { family: AF_INET6, sizeBytes: 28, addressAt: 8, address: [...new Array<number>(15).fill(0), 1] },
] as const;

/**
 * Connects to a TCP port on the loopback of a network namespace, IPv4 first, then IPv6. The thread is in the namespace
 * only while it makes the socket, which stays there.
 *
 * @param namespace path of a pinned network namespace; absent: our own
 * @throws ErrnoError (of IPv4) when nobody listens; the signal's reason
 */
export async function connectLoopback(
  port: number,
  options: { readonly namespace?: string; readonly signal: AbortSignal },
): Promise<Socket> {
  let first: unknown;
  for (const loopback of LOOPBACK) {
    try {
      return await connect(loopback, { port, ...options });
    } catch (error) {
      options.signal.throwIfAborted();
      if (!isErrno(error, "ECONNREFUSED", "EAFNOSUPPORT", "EADDRNOTAVAIL", "ENETUNREACH")) throw error;
      first ??= error;
    }
  }
  throw first;
}

async function connect(
  { family, sizeBytes, addressAt, address }: (typeof LOOPBACK)[number],
  { port, namespace, signal }: { readonly port: number; readonly namespace?: string; readonly signal: AbortSignal },
): Promise<Socket> {
  const make = (): number => {
    // FFI socket(2): allocates; waits for nothing.
    return checked(libc().socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  };
  using fd = new OwnedFd(namespace === undefined ? make() : inNetworkNamespace(namespace, make));
  const name = new Uint8Array(sizeBytes);
  name.set(new Uint8Array(Uint16Array.of(family).buffer));
  new DataView(name.buffer).setUint16(2, port);
  name.set(address, addressAt);
  // On the loopback the second call already tells the outcome. Only a listener whose queue is full lets us wait.
  for (let waitMs = 0;; waitMs = Math.min(waitMs * 2 + 1, LONGEST_WAIT_MS)) {
    signal.throwIfAborted();
    // FFI connect(2), non-blocking; called again it gives the state. `name` outlives the call.
    const result = libc().connect(fd.fd, name, sizeBytes);
    const code = result === 0 ? 0 : errno();
    if (code === 0 || code === EISCONN) break;
    if (code !== EINPROGRESS && code !== EALREADY) {
      throw new ErrnoError("connect", code, family === AF_INET ? `127.0.0.1:${port}` : `[::1]:${port}`);
    }
    if (waitMs > 0) await sleep(waitMs, { signal });
  }
  const socket = new Socket({ fd: fd.fd, readable: true, writable: true, allowHalfOpen: true } as object);
  fd.release();
  return socket;
}
