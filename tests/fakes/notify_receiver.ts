/**
 * A service manager's end of sd_notify(3): a real datagram socket, bound to a path or to an abstract name.
 *
 * @module
 */
import type { Socket } from "node:net";
import { OwnedFd } from "../../src/linux/pipe.ts";
import { rawStreamOf } from "../../src/linux/seqpacket.ts";

const libc = Deno.dlopen("libc.so.6", {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
}).symbols;

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const PATH_OFFSET = 2;

/** What a service told, message by message. */
export class ServiceManager implements Disposable {
  readonly #messages: string[] = [];
  #wake = Promise.withResolvers<void>();

  private constructor(readonly socketName: string, private readonly stream: Socket) {
    stream.on("data", (bytes: Uint8Array) => {
      this.#messages.push(new TextDecoder().decode(bytes));
      this.#wake.resolve();
      this.#wake = Promise.withResolvers();
    });
  }

  /** @param socketName an absolute path, or `@` and an abstract name */
  static listen(socketName: string): ServiceManager {
    const name = new TextEncoder().encode(socketName);
    if (socketName.startsWith("@")) name[0] = 0;
    const address = new Uint8Array(PATH_OFFSET + name.length);
    address.set([AF_UNIX, 0]);
    address.set(name, PATH_OFFSET);
    const fd = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || libc.bind(fd, address, address.length) !== 0) throw new Error(`cannot bind ${socketName}`);
    return new ServiceManager(socketName, rawStreamOf(new OwnedFd(fd)));
  }

  /** All messages so far. */
  get messages(): readonly string[] {
    return this.#messages;
  }

  /** The first message from `from` on that fits. @throws Error when none comes in time */
  async next(pattern: RegExp, options: { from?: number; limitMs?: number } = {}): Promise<string> {
    const { from = 0, limitMs = 20_000 } = options;
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      late.reject(new Error(`no message like ${pattern}; there were ${JSON.stringify(this.#messages)}`));
    }, limitMs);
    try {
      for (;;) {
        const found = this.#messages.slice(from).find((message) => pattern.test(message));
        if (found !== undefined) return found;
        await Promise.race([this.#wake.promise, late.promise]);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    this.stream.destroy();
  }
}
