import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { MAX_LINE_BYTES } from "./protocol.ts";

const NEWLINE = 0x0a;

/** JSON lines over a stream socket, which it owns. */
export class LineChannel<In, Out> implements Disposable {
  #parts: Buffer[] = [];
  #pendingBytes = 0;

  /**
   * @param handlers.message each document that came; what it throws ends the channel
   * @param handlers.closed once, when the other side is gone or broke the protocol
   */
  constructor(
    private readonly socket: Socket,
    handlers: { readonly message: (message: In) => void; readonly closed: (reason: string) => void },
  ) {
    let reason = "the connection was closed";
    socket.on("data", (data: Buffer) => {
      try {
        this.#take(data, handlers.message);
      } catch (error) {
        reason = error instanceof Error ? error.message : String(error);
        socket.destroy();
      }
    });
    socket.once("error", (error: Error) => reason = error.message);
    socket.once("end", () => socket.destroy());
    socket.once("close", () => handlers.closed(reason));
  }

  /** Queues a document; dropped when the other side is gone, which `closed` reports. */
  send(message: Out): void {
    if (!this.socket.destroyed) this.socket.write(`${JSON.stringify(message)}\n`);
  }

  /** Whether an idle channel keeps this process alive. */
  keepAlive(how: "yes" | "no"): void {
    if (how === "yes") this.socket.ref();
    else this.socket.unref();
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #take(data: Buffer, message: (message: In) => void): void {
    let from = 0;
    for (let end = data.indexOf(NEWLINE); end >= 0; end = data.indexOf(NEWLINE, from)) {
      this.#parts.push(data.subarray(from, end));
      const line = Buffer.concat(this.#parts).toString("utf8");
      this.#parts = [];
      this.#pendingBytes = 0;
      from = end + 1;
      message(JSON.parse(line) as In);
    }
    if (from === data.length) return;
    this.#parts.push(Buffer.from(data.subarray(from)));
    this.#pendingBytes += data.length - from;
    if (this.#pendingBytes > MAX_LINE_BYTES) throw new RangeError(`a line is longer than ${MAX_LINE_BYTES} bytes`);
  }
}
