import { Duplex } from "node:stream";
import { ProtocolError } from "./errors.ts";
import { RST, SpdyEncoder, type SpdyFrame, SpdyParser } from "./spdy_frames.ts";

/** What one stream may hold unread before the whole connection is no longer read. */
const STREAM_BUFFER_BYTES = 256 * 1024;
/** Streams that are open at a time; a forwarded connection has two. */
const MAX_STREAMS = 2000;
/** Answers (pings, resets) that a client does not read. */
const MAX_UNREAD_BYTES = 256 * 1024;
const MAX_WRITE_BYTES = 1024 * 1024;

/** The connection, as a stream needs it. */
interface StreamOwner {
  sendData(id: number, payload: Uint8Array, options: { fin: boolean; done: (error?: Error | null) => void }): void;
  wantsMore(stream: SpdyStream): void;
  forget(stream: SpdyStream, options: { isWhole: boolean }): void;
}

/** One stream that the client opened: an ordinary Duplex, each side ends by itself. */
export class SpdyStream extends Duplex {
  #hasEnded = false;
  #hasFinished = false;

  constructor(readonly id: number, readonly headers: ReadonlyMap<string, string>, private readonly owner: StreamOwner) {
    super({ allowHalfOpen: true, readableHighWaterMark: STREAM_BUFFER_BYTES, autoDestroy: true });
    // A client that goes away is an ordinary end; whoever uses the stream hears of it by "close".
    this.on("error", () => {});
  }

  /** @returns false when the reader is behind */
  receive(payload: Uint8Array): boolean {
    return this.#hasEnded || this.destroyed || payload.length === 0 || this.push(payload);
  }

  receiveEnd(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.push(null);
    if (this.#hasFinished) this.owner.forget(this, { isWhole: true });
  }

  override _read(): void {
    this.owner.wantsMore(this);
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    this.#writeFrom(chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#hasFinished = true;
    this.owner.sendData(this.id, new Uint8Array(), {
      fin: true,
      done: (error) => {
        if (this.#hasEnded) this.owner.forget(this, { isWhole: true });
        done(error);
      },
    });
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.owner.forget(this, { isWhole: this.#hasEnded && this.#hasFinished });
    done(error);
  }

  #writeFrom(chunk: Uint8Array, done: (error?: Error | null) => void): void {
    const rest = chunk.subarray(MAX_WRITE_BYTES);
    this.owner.sendData(this.id, chunk.subarray(0, MAX_WRITE_BYTES), {
      fin: false,
      done: (error) => rest.length === 0 || error ? done(error) : this.#writeFrom(rest, done),
    });
  }
}

/**
 * The server's side of a SPDY/3.1 connection, as Kubernetes' clients speak it: they open the streams, and none of them
 * keeps flow-control windows, so we do not either (one that waits for WINDOW_UPDATE from them would wait for ever). A
 * reader that is behind holds the connection back, through TCP.
 */
export class SpdySession {
  readonly #parser = new SpdyParser();
  readonly #encoder = new SpdyEncoder();
  readonly #streams = new Map<number, SpdyStream>();
  readonly #full = new Set<SpdyStream>();
  #lastId = 0;
  #unreadBytes = 0;
  #isClosing = false;

  /**
   * @param transport the upgraded connection; the session reads and writes it, and destroys it on an error
   * @param onStream gets each new stream; false refuses it
   */
  constructor(
    private readonly transport: Duplex,
    private readonly onStream: (stream: SpdyStream) => boolean,
  ) {
    transport.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    transport.on("end", () => this.#lose());
    transport.on("close", () => this.#lose());
    transport.on("error", () => this.#lose());
  }

  /** Says good-bye; what has been written before arrives. Streams that are open count as cancelled. */
  close(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#send(this.#encoder.goAway(this.#lastId, 0));
    this.#lose();
    this.transport.end();
    // What the client still sends is read and dropped: unread data would turn our end into a reset.
    this.transport.resume();
  }

  sendData(id: number, payload: Uint8Array, options: { fin: boolean; done: (error?: Error | null) => void }): void {
    if (this.transport.destroyed || this.#isClosing) return options.done(new ProtocolError("the connection is closed"));
    this.transport.write(this.#encoder.data(id, payload, options), options.done);
  }

  wantsMore(stream: SpdyStream): void {
    if (this.#full.delete(stream) && this.#full.size === 0) this.transport.resume();
  }

  forget(stream: SpdyStream, { isWhole }: { isWhole: boolean }): void {
    if (this.#streams.delete(stream.id) && !isWhole) this.#send(this.#encoder.rstStream(stream.id, RST.cancel));
    this.wantsMore(stream);
  }

  #receive(chunk: Uint8Array): void {
    if (this.#isClosing) return;
    try {
      for (const frame of this.#parser.parse(chunk)) this.#handle(frame);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#send(this.#encoder.goAway(this.#lastId, 1));
      this.transport.destroy(error);
    }
  }

  #handle(frame: SpdyFrame): void {
    switch (frame.kind) {
      case "synStream":
        return this.#open(frame);
      case "data":
        return this.#data(frame);
      case "headers":
        if (frame.fin) this.#streams.get(frame.id)?.receiveEnd();
        return;
      case "rstStream":
        return this.#reset(frame.id);
      case "ping":
        // Clients number theirs odd; an even one would be an answer to one of ours.
        if (frame.id % 2 === 1) this.#send(this.#encoder.ping(frame.id));
        return;
      case "synReply":
      case "goAway":
      case "windowUpdate":
      case "settings":
        return;
    }
  }

  #open({ id, fin, headers }: Extract<SpdyFrame, { kind: "synStream" }>): void {
    if (id % 2 === 0 || id <= this.#lastId) throw new ProtocolError(`stream ${id} cannot follow ${this.#lastId}`);
    this.#lastId = id;
    if (this.#streams.size >= MAX_STREAMS) return this.#send(this.#encoder.rstStream(id, RST.refusedStream));
    const stream = new SpdyStream(id, headers, this);
    this.#streams.set(id, stream);
    this.#send(this.#encoder.synReply(id));
    if (!this.onStream(stream)) return void stream.destroy();
    if (fin) stream.receiveEnd();
  }

  #data({ id, fin, payload }: Extract<SpdyFrame, { kind: "data" }>): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      // Of a stream that has ended something may still be under way.
      if (id > this.#lastId) this.#send(this.#encoder.rstStream(id, RST.invalidStream));
      return;
    }
    if (!stream.receive(payload)) {
      this.#full.add(stream);
      this.transport.pause();
    }
    if (fin) stream.receiveEnd();
  }

  #reset(id: number): void {
    const stream = this.#streams.get(id);
    this.#streams.delete(id);
    stream?.destroy();
  }

  #send(frame: Uint8Array): void {
    if (this.transport.destroyed || this.transport.writableEnded) return;
    this.#unreadBytes += frame.length;
    this.transport.write(frame, () => this.#unreadBytes -= frame.length);
    if (this.#unreadBytes > MAX_UNREAD_BYTES) {
      this.transport.destroy(new ProtocolError("the client reads nothing and asks for more"));
    }
  }

  #lose(): void {
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const stream of streams) stream.destroy();
  }
}
