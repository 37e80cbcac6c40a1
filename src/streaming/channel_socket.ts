import { Buffer } from "node:buffer";
import { Duplex } from "node:stream";
import { WebSocketConnection } from "./websocket.ts";
import { OPCODE, type WebSocketEvent } from "./websocket_frames.ts";

/** What one channel may hold unread before the whole connection is no longer read. */
const CHANNEL_BUFFER_BYTES = 256 * 1024;
/** `v5.channel.k8s.io`: a message of this channel names a channel that the client closes. */
const CLOSE_CHANNEL = 255;
const DIGIT_0 = 0x30;
/** A reader of ours never gives a client more in one message. */
const MAX_MESSAGE_BYTES = 64 * 1024;

/** How a subprotocol puts channels into messages. */
export interface ChannelFormat {
  /** Text messages: the channel as a digit, then base64. Else binary ones: the channel as a byte, then the data. */
  readonly base64: boolean;
  /** Whether the client can close a channel (v5). */
  readonly closeSignal: boolean;
}

/** One channel of a connection. */
export class Channel extends Duplex {
  #hasEnded = false;

  constructor(
    readonly number: number,
    private readonly owner: {
      send(channel: number, chunk: Uint8Array, done: (error?: Error | null) => void): void;
      wantsMore(channel: Channel): void;
    },
  ) {
    super({ allowHalfOpen: true, readableHighWaterMark: CHANNEL_BUFFER_BYTES });
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
  }

  override _read(): void {
    this.owner.wantsMore(this);
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    const rest = chunk.subarray(MAX_MESSAGE_BYTES);
    this.owner.send(this.number, chunk.subarray(0, MAX_MESSAGE_BYTES), (error) => {
      if (rest.length === 0 || error) done(error);
      else this._write(rest, _encoding, done);
    });
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.owner.wantsMore(this);
    done(error);
  }
}

/** A WebSocket that carries numbered channels, as the `*.channel.k8s.io` subprotocols do. */
export class ChannelSocket {
  readonly channels: readonly Channel[];
  readonly #connection: WebSocketConnection;
  readonly #full = new Set<Channel>();
  /** Where the message that is being received goes. */
  #target: Channel | "close" | "nobody" | undefined;
  #base64Rest = "";

  /** @param options.channels how many there are, from 0 */
  constructor(
    transport: Duplex,
    private readonly options: { readonly channels: number; readonly format: ChannelFormat },
  ) {
    this.channels = Array.from({ length: options.channels }, (_, number) => new Channel(number, this));
    this.#connection = new WebSocketConnection(transport, () => ({
      receive: (event): void => this.#receive(event),
      lost: (): void => {
        for (const channel of this.channels) channel.destroy();
      },
    }));
  }

  close(): void {
    this.#connection.close();
  }

  /** Tells the client with an empty message that the connection is set up. */
  greet(channel: number): void {
    this.send(channel, new Uint8Array(), () => {});
  }

  send(channel: number, chunk: Uint8Array, done: (error?: Error | null) => void): void {
    if (this.options.format.base64) {
      const text = Buffer.from(asBuffer(chunk).toString("base64"));
      return this.#connection.send({ opcode: OPCODE.text, parts: [Uint8Array.of(DIGIT_0 + channel), text] }, done);
    }
    this.#connection.send({ opcode: OPCODE.binary, parts: [Uint8Array.of(channel), chunk] }, done);
  }

  wantsMore(channel: Channel): void {
    if (this.#full.delete(channel) && this.#full.size === 0) this.#connection.resume();
  }

  #receive({ payload, isFirst, isLast }: Extract<WebSocketEvent, { kind: "message" }>): void {
    let data = payload;
    if (isFirst) this.#target = undefined;
    if (this.#target === undefined && payload.length > 0) {
      this.#target = this.#targetOf(payload[0] ?? 0);
      this.#base64Rest = "";
      data = payload.subarray(1);
    }
    const { base64 } = this.options.format;
    this.#deliver(base64 ? this.#decode(data, { isLast }) : data);
  }

  #targetOf(first: number): Channel | "close" | "nobody" {
    const { base64, closeSignal } = this.options.format;
    if (closeSignal && first === CLOSE_CHANNEL) return "close";
    return this.channels[base64 ? first - DIGIT_0 : first] ?? "nobody";
  }

  #deliver(data: Uint8Array): void {
    const target = this.#target;
    if (target === undefined || target === "nobody") return;
    if (target === "close") return this.channels[data[0] ?? -1]?.receiveEnd();
    if (target.receive(data)) return;
    this.#full.add(target);
    this.#connection.pause();
  }

  /** Groups of four characters may be cut anywhere between two pieces. */
  #decode(piece: Uint8Array, { isLast }: { isLast: boolean }): Uint8Array {
    const text = this.#base64Rest + asBuffer(piece).toString("latin1");
    const whole = isLast ? text.length : text.length - text.length % 4;
    this.#base64Rest = text.slice(whole);
    return Buffer.from(text.slice(0, whole), "base64");
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
