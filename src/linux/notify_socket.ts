import { InvalidArgumentError } from "../base/errors.ts";
import { checked, errno, lazyLibc } from "./_libc.ts";
import { ErrnoError } from "./errno.ts";
import { OwnedFd } from "./pipe.ts";

const libc = lazyLibc({
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  sendto: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"], result: "isize" },
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
});

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const CLOCK_MONOTONIC = 1;
/** sockaddr_un of sys/un.h: family, then a name of at most 108 bytes. */
const PATH_OFFSET = 2;
const MAX_NAME_BYTES = 108;

/** The datagram socket of a service manager, sd_notify(3): a path, or `@` and an abstract name. */
export class NotifySocket implements Disposable {
  private constructor(readonly name: string, private readonly fd: OwnedFd, private readonly address: Uint8Array) {}

  /** @throws InvalidArgumentError for a name that is neither, or too long for an address; ErrnoError */
  static open(name: string): NotifySocket {
    const bytes = new TextEncoder().encode(name);
    if (!/^[/@][^\0]+$/.test(name) || bytes.length > MAX_NAME_BYTES - (name.startsWith("/") ? 1 : 0)) {
      const wanted = `an absolute path or @ and a name, of at most ${MAX_NAME_BYTES} bytes`;
      throw new InvalidArgumentError(`NOTIFY_SOCKET ${JSON.stringify(name)} is not ${wanted}`);
    }
    // A path ends with a NUL; an abstract name begins with one and ends with the address.
    const address = new Uint8Array(PATH_OFFSET + bytes.length + (name.startsWith("/") ? 1 : 0));
    address.set(new Uint8Array(Uint16Array.of(AF_UNIX).buffer));
    address.set(bytes, PATH_OFFSET);
    if (name.startsWith("@")) address[PATH_OFFSET] = 0;
    // FFI socket(2): makes a descriptor, waits for nothing.
    const fd = new OwnedFd(checked(libc().socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
    return new NotifySocket(name, fd, address);
  }

  /** Sends one message at once. @throws ErrnoError: EAGAIN when the manager's queue is full; ENOENT, ECONNREFUSED */
  send(text: string): void {
    const message = new TextEncoder().encode(text);
    // FFI sendto(2) with MSG_DONTWAIT: cannot block; both buffers outlive the call.
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const { address } = this;
    const sent = libc().sendto(this.fd.fd, message, BigInt(message.length), flags, address, address.length);
    if (sent === -1n) throw new ErrnoError("sendto", errno(), this.name);
  }

  [Symbol.dispose](): void {
    this.fd.close();
  }
}

/** Microseconds of CLOCK_MONOTONIC, which all processes of the machine share. */
export function monotonicMicros(): bigint {
  const time = new BigInt64Array(2);
  // FFI clock_gettime(2) of a clock that is always there.
  libc().clock_gettime(CLOCK_MONOTONIC, time);
  return (time[0] ?? 0n) * 1_000_000n + (time[1] ?? 0n) / 1000n;
}
