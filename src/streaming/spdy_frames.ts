import { Buffer } from "node:buffer";
import { ProtocolError } from "./errors.ts";
import { HeaderDecoder, HeaderEncoder } from "./spdy_headers.ts";

/** Frames of SPDY/3.1 (draft 3.1, 2.6). The payload of a data frame comes in pieces, as it arrives. */
export type SpdyFrame =
  | { readonly kind: "synStream"; readonly id: number; readonly fin: boolean; readonly headers: Map<string, string> }
  | { readonly kind: "synReply"; readonly id: number; readonly fin: boolean; readonly headers: Map<string, string> }
  | { readonly kind: "headers"; readonly id: number; readonly fin: boolean; readonly headers: Map<string, string> }
  | { readonly kind: "rstStream"; readonly id: number; readonly status: number }
  | { readonly kind: "ping"; readonly id: number }
  | { readonly kind: "goAway" }
  | { readonly kind: "windowUpdate"; readonly id: number; readonly delta: number }
  | { readonly kind: "settings" }
  /** `fin` only on the last piece. */
  | { readonly kind: "data"; readonly id: number; readonly fin: boolean; readonly payload: Uint8Array };

const VERSION = 3;
const FRAME_HEADER_BYTES = 8;
const SYN_STREAM = 1;
const SYN_REPLY = 2;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const GOAWAY = 7;
const HEADERS = 8;
const WINDOW_UPDATE = 9;
const FLAG_FIN = 1;
const ID_MASK = 0x7fffffff;
const MAX_DATA_BYTES = 0xffffff;
/** Control frames are held until they are whole; those of real clients have some hundred bytes. */
const MAX_CONTROL_BYTES = 32 * 1024;

/** Status codes of RST_STREAM, 2.6.3. */
export const RST = { protocolError: 1, invalidStream: 2, refusedStream: 3, cancel: 5 } as const;

/** Takes the bytes of one connection apart. */
export class SpdyParser {
  readonly #headers = new HeaderDecoder();
  #pending: Buffer = Buffer.alloc(0);
  /** The data frame that we are in. */
  #data: { readonly id: number; readonly fin: boolean; left: number } | undefined;

  /** @throws ProtocolError; the parser is of no use after that */
  *parse(chunk: Uint8Array): Generator<SpdyFrame> {
    let rest = this.#pending.length === 0 ? asBuffer(chunk) : Buffer.concat([this.#pending, chunk]);
    this.#pending = Buffer.alloc(0);
    while (rest.length > 0) {
      if (this.#data !== undefined) {
        const payload = rest.subarray(0, this.#data.left);
        rest = rest.subarray(payload.length);
        yield this.#takeData(this.#data, payload);
        continue;
      }
      const needed = neededBytes(rest);
      if (rest.length < needed) {
        this.#pending = Buffer.from(rest);
        return;
      }
      const frame = this.#takeFrame(rest.subarray(0, needed));
      rest = rest.subarray(needed);
      if (frame !== undefined) yield frame;
    }
  }

  #takeData(data: { readonly id: number; readonly fin: boolean; left: number }, payload: Uint8Array): SpdyFrame {
    data.left -= payload.length;
    const isLast = data.left === 0;
    if (isLast) this.#data = undefined;
    return { kind: "data", id: data.id, fin: data.fin && isLast, payload };
  }

  #takeFrame(frame: Buffer): SpdyFrame | undefined {
    const first = frame.readUInt32BE(0);
    const flags = frame.readUInt8(4);
    const fin = (flags & FLAG_FIN) !== 0;
    if (!isControl(frame)) {
      const id = first & ID_MASK;
      if (id === 0) throw new ProtocolError("data frame of stream 0");
      const left = frame.readUIntBE(5, 3);
      if (left === 0) return { kind: "data", id, fin, payload: new Uint8Array() };
      this.#data = { id, fin, left };
      return undefined;
    }
    const version = (first >>> 16) & 0x7fff;
    if (version !== VERSION) throw new ProtocolError(`frame of SPDY version ${version}, not ${VERSION}`);
    return this.#control(first & 0xffff, { body: frame.subarray(FRAME_HEADER_BYTES), fin });
  }

  #control(type: number, { body, fin }: { body: Buffer; fin: boolean }): SpdyFrame | undefined {
    const word = (index: number): number => {
      if (body.length < 4 * (index + 1)) throw new ProtocolError(`control frame of type ${type} is cut short`);
      return body.readUInt32BE(4 * index);
    };
    const id = (): number => word(0) & ID_MASK;
    switch (type) {
      case SYN_STREAM: {
        if (body.length < 10) throw new ProtocolError("SYN_STREAM is cut short");
        return { kind: "synStream", id: id(), fin, headers: this.#headers.decode(body.subarray(10)) };
      }
      case SYN_REPLY:
        return { kind: "synReply", id: id(), fin, headers: this.#headers.decode(body.subarray(4)) };
      case HEADERS:
        return { kind: "headers", id: id(), fin, headers: this.#headers.decode(body.subarray(4)) };
      case RST_STREAM:
        return { kind: "rstStream", id: id(), status: word(1) };
      case PING:
        return { kind: "ping", id: word(0) };
      case GOAWAY:
        return { kind: "goAway" };
      case WINDOW_UPDATE:
        return { kind: "windowUpdate", id: id(), delta: word(1) & ID_MASK };
      case SETTINGS:
        return { kind: "settings" };
      default:
        // 2.2.1: unknown control frames are ignored.
        return undefined;
    }
  }
}

/** Writes the frames of one connection. */
export class SpdyEncoder {
  readonly #headers = new HeaderEncoder();

  synStream(id: number, headers: ReadonlyMap<string, string>): Uint8Array {
    return control(SYN_STREAM, { body: [words(id, 0), Buffer.alloc(2), this.#headers.encode(headers)] });
  }

  synReply(id: number): Uint8Array {
    return control(SYN_REPLY, { body: [words(id), this.#headers.encode(new Map())] });
  }

  rstStream(id: number, status: number): Uint8Array {
    return control(RST_STREAM, { body: [words(id, status)] });
  }

  ping(id: number): Uint8Array {
    return control(PING, { body: [words(id)] });
  }

  goAway(lastId: number, status: 0 | 1): Uint8Array {
    return control(GOAWAY, { body: [words(lastId, status)] });
  }

  /** @param payload at most 2^24 - 1 bytes */
  data(id: number, payload: Uint8Array, options: { fin?: boolean } = {}): Uint8Array {
    if (payload.length > MAX_DATA_BYTES) throw new RangeError(`data frame of ${payload.length} bytes`);
    const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.length);
    frame.writeUInt32BE(id, 0);
    frame.writeUInt8(options.fin === true ? FLAG_FIN : 0, 4);
    frame.writeUIntBE(payload.length, 5, 3);
    frame.set(payload, FRAME_HEADER_BYTES);
    return frame;
  }
}

/** Bytes of the next frame that have to be there before it is looked at: the head, of control frames all. */
function neededBytes(bytes: Buffer): number {
  if (bytes.length < FRAME_HEADER_BYTES || !isControl(bytes)) return FRAME_HEADER_BYTES;
  const length = bytes.readUIntBE(5, 3);
  if (length > MAX_CONTROL_BYTES) throw new ProtocolError(`control frame of ${length} bytes`);
  return FRAME_HEADER_BYTES + length;
}

function isControl(frame: Uint8Array): boolean {
  return ((frame[0] ?? 0) & 0x80) !== 0;
}

function control(type: number, { body }: { body: readonly Uint8Array[] }): Uint8Array {
  const length = body.reduce((sum, part) => sum + part.length, 0);
  const head = Buffer.alloc(FRAME_HEADER_BYTES);
  head.writeUInt16BE(0x8000 | VERSION, 0);
  head.writeUInt16BE(type, 2);
  head.writeUIntBE(length, 5, 3);
  return Buffer.concat([head, ...body]);
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => bytes.writeUInt32BE(value, 4 * i));
  return bytes;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
