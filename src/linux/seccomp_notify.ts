/**
 * The other side of SCMP_ACT_NOTIFY, seccomp_unotify(2): a unix socket on which runtimes hand over the descriptor of a
 * container's filter, and the system calls that wait there for an answer. Nothing here blocks.
 *
 * @module
 */
import { checked, errno, lazyLibc } from "./_libc.ts";
import { ErrnoError } from "./errno.ts";
import { OwnedFd } from "./pipe.ts";

const libc = lazyLibc({
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  accept4: { parameters: ["i32", "pointer", "pointer", "i32"], result: "i32" },
  recvmsg: { parameters: ["i32", "buffer", "i32"], result: "isize" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
});

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** sockaddr_un of sys/un.h: family, then a path of at most 108 bytes with its NUL. */
const ADDRESS_BYTES = 110;
const PATH_OFFSET = 2;
const BACKLOG = 16;
const EAGAIN = 11;
const ENOSYS = 38;
const MSG_DONTWAIT = 0x40;
const MSG_CMSG_CLOEXEC = 0x40000000;
/** struct msghdr, struct iovec and struct cmsghdr of 64-bit Linux. */
const MSGHDR_BYTES = 56;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
const CMSG_DATA = 16;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** A runtime's state is a few hundred bytes; descriptors come with it, one or two of them. */
const STATE_BYTES = 16 * 1024;
const CONTROL_BYTES = 64;
const FD_BYTES = 4;
/** x86_64 and aarch64. */
const LITTLE_ENDIAN = true;
/** linux/seccomp.h: struct seccomp_notif (id, pid, flags, data.nr, data.arch …) and struct seccomp_notif_resp. */
const NOTIF_BYTES = 80;
const NOTIF_NR = 16;
const NOTIF_ARCH = 20;
const RESP_BYTES = 24;
const RESP_ERROR = 16;
const SECCOMP_IOCTL_NOTIF_RECV = 0xc0502100n;
const SECCOMP_IOCTL_NOTIF_SEND = 0xc0182101n;
const POLLIN = 1;
const POLLERR = 8;
const POLLHUP = 16;
/** The name that runtimes give the filter among the descriptors that they send (runtime-spec, containerProcessState). */
const FILTER_NAME = "seccompFd";

/** A system call that waits for an answer. */
export interface WaitingCall {
  readonly id: bigint;
  /** Its number for this architecture (AUDIT_ARCH_* of linux/audit.h). */
  readonly number: number;
  readonly arch: number;
}

/**
 * Makes a listening socket; runtimes connect to it and go on at once.
 *
 * @param path of at most 107 bytes; nothing may be there
 * @throws ErrnoError
 */
export function listenForFilters(path: string): OwnedFd {
  const name = new TextEncoder().encode(path);
  if (name.length >= ADDRESS_BYTES - PATH_OFFSET) throw new ErrnoError("bind", ENAMETOOLONG, path);
  const address = new Uint8Array(ADDRESS_BYTES);
  address.set(new Uint8Array(Uint16Array.of(AF_UNIX).buffer));
  address.set(name, PATH_OFFSET);
  const flags = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const fd = new OwnedFd(checked(libc().socket(AF_UNIX, flags, 0), "socket"));
  try {
    // FFI bind(2), listen(2) of a unix socket: a file of a local directory; `address` outlives the call.
    checked(libc().bind(fd.fd, address, ADDRESS_BYTES), "bind", path);
    checked(libc().listen(fd.fd, BACKLOG), "listen", path);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

const ENAMETOOLONG = 36;

/** The next connection; undefined when none waits. */
export function acceptFilter(listener: OwnedFd): OwnedFd | undefined {
  // FFI accept4(2) of a non-blocking socket.
  const fd = libc().accept4(listener.fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd !== -1) return new OwnedFd(fd);
  const code = errno();
  if (code === EAGAIN) return undefined;
  throw new ErrnoError("accept4", code);
}

/**
 * The filter's descriptor out of a runtime's message; undefined when it has not come yet. Others that come with it are closed.
 *
 * @throws ErrnoError; Error for a message that is none of a runtime
 */
export function receiveFilter(connection: OwnedFd): OwnedFd | undefined {
  const state = new Uint8Array(STATE_BYTES);
  const control = new Uint8Array(CONTROL_BYTES);
  const iovec = BigUint64Array.of(addressOf(state), BigInt(state.length));
  const header = new DataView(new ArrayBuffer(MSGHDR_BYTES));
  header.setBigUint64(MSG_IOV, addressOf(iovec), LITTLE_ENDIAN);
  header.setBigUint64(MSG_IOVLEN, 1n, LITTLE_ENDIAN);
  header.setBigUint64(MSG_CONTROL, addressOf(control), LITTLE_ENDIAN);
  header.setBigUint64(MSG_CONTROLLEN, BigInt(control.length), LITTLE_ENDIAN);
  const bytes = new Uint8Array(header.buffer);
  // FFI recvmsg(2), not waiting; header, iovec and both buffers are locals of this call.
  const length = Number(libc().recvmsg(connection.fd, bytes, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
  if (length === -1) {
    const code = errno();
    if (code === EAGAIN) return undefined;
    throw new ErrnoError("recvmsg", code);
  }
  const fds = descriptors(control, Number(header.getBigUint64(MSG_CONTROLLEN, LITTLE_ENDIAN)));
  // The engine must not free what the call has written through plain addresses.
  iovec.fill(0n);
  return pick(fds, new TextDecoder().decode(state.subarray(0, length)));
}

function addressOf(buffer: Uint8Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>): bigint {
  return Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer));
}

function descriptors(control: Uint8Array<ArrayBuffer>, length: number): OwnedFd[] {
  if (length < CMSG_DATA) return [];
  const view = new DataView(control.buffer);
  const end = Number(view.getBigUint64(0, LITTLE_ENDIAN));
  if (view.getInt32(8, LITTLE_ENDIAN) !== SOL_SOCKET || view.getInt32(12, LITTLE_ENDIAN) !== SCM_RIGHTS) return [];
  const fds: OwnedFd[] = [];
  for (let at = CMSG_DATA; at + FD_BYTES <= Math.min(end, length); at += FD_BYTES) {
    fds.push(new OwnedFd(view.getInt32(at, LITTLE_ENDIAN)));
  }
  return fds;
}

function pick(fds: readonly OwnedFd[], state: string): OwnedFd {
  let chosen: OwnedFd | undefined;
  try {
    const names = (JSON.parse(state) as { fds?: unknown }).fds;
    chosen = Array.isArray(names) ? fds[names.indexOf(FILTER_NAME)] : undefined;
    if (chosen === undefined) throw new Error("a runtime's message names no seccomp filter");
    return chosen;
  } finally {
    for (const fd of fds) if (fd !== chosen) fd.close();
  }
}

/** Whether calls wait at a filter, or nobody is left who could make one. */
export function filterState(filter: OwnedFd): "waiting" | "idle" | "over" {
  const request = new DataView(new ArrayBuffer(8));
  request.setInt32(0, filter.fd, LITTLE_ENDIAN);
  request.setInt16(4, POLLIN, LITTLE_ENDIAN);
  // FFI poll(2) with a limit of 0: looks, and does not wait.
  checked(libc().poll(new Uint8Array(request.buffer), 1n, 0), "poll");
  const events = request.getInt16(6, LITTLE_ENDIAN);
  if ((events & POLLIN) !== 0) return "waiting";
  return (events & (POLLHUP | POLLERR)) !== 0 ? "over" : "idle";
}

/** Takes a waiting call; undefined when its thread has been killed meanwhile. Only after {@link filterState} said `waiting`. */
export function takeCall(filter: OwnedFd): WaitingCall | undefined {
  const buffer = new Uint8Array(NOTIF_BYTES);
  // FFI ioctl(2): a call waits, so this does not; the kernel wants the buffer zeroed.
  if (libc().ioctl(filter.fd, SECCOMP_IOCTL_NOTIF_RECV, buffer) === -1) {
    const code = errno();
    if (code === ENOENT) return undefined;
    throw new ErrnoError("ioctl SECCOMP_IOCTL_NOTIF_RECV", code);
  }
  const view = new DataView(buffer.buffer);
  return {
    id: view.getBigUint64(0, LITTLE_ENDIAN),
    number: view.getInt32(NOTIF_NR, LITTLE_ENDIAN),
    arch: view.getUint32(NOTIF_ARCH, LITTLE_ENDIAN),
  };
}

const ENOENT = 2;

/** Answers a call with "function not implemented"; nothing happens when its thread is gone. */
export function refuseCall(filter: OwnedFd, call: WaitingCall): void {
  const view = new DataView(new ArrayBuffer(RESP_BYTES));
  view.setBigUint64(0, call.id, LITTLE_ENDIAN);
  view.setInt32(RESP_ERROR, -ENOSYS, LITTLE_ENDIAN);
  // FFI ioctl(2): wakes the thread that made the call. ENOENT: it is gone.
  if (libc().ioctl(filter.fd, SECCOMP_IOCTL_NOTIF_SEND, new Uint8Array(view.buffer)) !== -1) return;
  const code = errno();
  if (code !== ENOENT) throw new ErrnoError("ioctl SECCOMP_IOCTL_NOTIF_SEND", code);
}

type Resolver = (arch: number, number: number) => Deno.PointerValue;
let resolver: Resolver | undefined;
const names = new Map<string, string>();

/** The name of a system call, from libseccomp, which every OCI runtime brings; its number where that is not there. */
export function callName({ arch, number }: Pick<WaitingCall, "arch" | "number">): string {
  const key = `${arch}:${number}`;
  const known = names.get(key);
  if (known !== undefined) return known;
  resolver ??= openResolver();
  const pointer = resolver(arch, number);
  // The string is never freed: there are a few hundred at most.
  const name = pointer === null ? `syscall ${number}` : Deno.UnsafePointerView.getCString(pointer);
  names.set(key, name);
  return name;
}

function openResolver(): Resolver {
  try {
    const library = Deno.dlopen("libseccomp.so.2", {
      seccomp_syscall_resolve_num_arch: { parameters: ["u32", "i32"], result: "pointer" },
    });
    return library.symbols.seccomp_syscall_resolve_num_arch;
  } catch {
    return () => null;
  }
}
