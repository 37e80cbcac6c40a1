import { Buffer } from "node:buffer";
import { ProtocolError } from "./errors.ts";

/** What a client sends; messages come in pieces, as they arrive. */
export type WebSocketEvent =
  | {
    readonly kind: "message";
    readonly payload: Uint8Array;
    /** Whether this piece begins, and whether it ends, a message. */
    readonly isFirst: boolean;
    readonly isLast: boolean;
  }
  | { readonly kind: "ping"; readonly payload: Uint8Array }
  | { readonly kind: "pong" }
  | { readonly kind: "close" };

/** Opcodes, RFC 6455, 5.2. */
const CONTINUATION = 0;
const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
export const OPCODE = { text: TEXT, binary: BINARY, close: CLOSE, ping: PING, pong: PONG } as const;

const MAX_CONTROL_BYTES = 125;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
const MASK_BYTES = 4;

interface Frame {
  readonly opcode: number;
  readonly fin: boolean;
  readonly mask: Uint8Array;
  left: number;
  /** Bytes of it that came before: where the mask goes on. */
  offset: number;
}

/** Takes the bytes that a client sends apart. Messages have no limit, since nothing of them is kept. */
export class WebSocketParser {
  #pending: Buffer = Buffer.alloc(0);
  #frame: Frame | undefined;
  #isInMessage = false;
  #isMessageFresh = true;

  /** @throws ProtocolError; the parser is of no use after that */
  *parse(chunk: Uint8Array): Generator<WebSocketEvent> {
    let rest = this.#pending.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#pending, chunk]);
    this.#pending = Buffer.alloc(0);
    for (;;) {
      if (this.#frame === undefined) {
        const head = parseHead(rest);
        if (head === undefined) break;
        this.#check(head.frame);
        this.#frame = head.frame;
        rest = rest.subarray(head.sizeBytes);
      }
      const frame = this.#frame;
      // Control frames are short, and are handled whole.
      if (frame.opcode >= CLOSE && rest.length < frame.left) break;
      if (rest.length === 0 && frame.left > 0) break;
      const payload = rest.subarray(0, frame.left);
      rest = rest.subarray(payload.length);
      unmask(payload, frame);
      if (frame.left === 0) this.#frame = undefined;
      yield this.#event(frame, payload);
    }
    this.#pending = rest;
  }

  #check({ opcode, fin, left }: Frame): void {
    if (opcode >= CLOSE) {
      if (opcode > PONG) throw new ProtocolError(`unknown WebSocket opcode ${opcode}`);
      if (!fin || left > MAX_CONTROL_BYTES) throw new ProtocolError("WebSocket control frame in pieces or too long");
      return;
    }
    if (opcode > BINARY) throw new ProtocolError(`unknown WebSocket opcode ${opcode}`);
    if ((opcode === CONTINUATION) !== this.#isInMessage) throw new ProtocolError("WebSocket message out of order");
    if (opcode !== CONTINUATION) this.#isMessageFresh = true;
    this.#isInMessage = !fin;
  }

  #event(frame: Frame, payload: Uint8Array): WebSocketEvent {
    if (frame.opcode === CLOSE) return { kind: "close" };
    if (frame.opcode === PING) return { kind: "ping", payload };
    if (frame.opcode === PONG) return { kind: "pong" };
    const isFirst = this.#isMessageFresh;
    this.#isMessageFresh = false;
    return { kind: "message", payload, isFirst, isLast: frame.fin && frame.left === 0 };
  }
}

/** A frame as a server sends it: whole and without a mask. */
export function encodeWebSocketFrame(opcode: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const head = Buffer.alloc(length < LENGTH_16 ? 2 : length <= 0xffff ? 4 : 10);
  head.writeUInt8(0x80 | opcode, 0);
  if (length < LENGTH_16) head.writeUInt8(length, 1);
  else if (length <= 0xffff) {
    head.writeUInt8(LENGTH_16, 1);
    head.writeUInt16BE(length, 2);
  } else {
    head.writeUInt8(LENGTH_64, 1);
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, ...parts]);
}

/** undefined when more bytes are needed. */
function parseHead(bytes: Buffer): { readonly frame: Frame; readonly sizeBytes: number } | undefined {
  if (bytes.length < 2) return undefined;
  const first = bytes.readUInt8(0);
  const second = bytes.readUInt8(1);
  if ((first & 0x70) !== 0) throw new ProtocolError("WebSocket frame uses an extension that was not agreed on");
  if ((second & 0x80) === 0) throw new ProtocolError("WebSocket frame of a client is not masked");
  const short = second & 0x7f;
  const lengthBytes = short === LENGTH_16 ? 2 : short === LENGTH_64 ? 8 : 0;
  const sizeBytes = 2 + lengthBytes + MASK_BYTES;
  if (bytes.length < sizeBytes) return undefined;
  const long = lengthBytes === 8 ? bytes.readBigUInt64BE(2) : BigInt(lengthBytes === 2 ? bytes.readUInt16BE(2) : short);
  if (long > BigInt(Number.MAX_SAFE_INTEGER)) throw new ProtocolError(`WebSocket frame of ${long} bytes`);
  const mask = Uint8Array.from(bytes.subarray(2 + lengthBytes, sizeBytes));
  const frame = { opcode: first & 0x0f, fin: (first & 0x80) !== 0, mask, left: Number(long), offset: 0 };
  return { frame, sizeBytes };
}

/** In place; the payload is a copy of ours. Words at a time: a byte loop alone takes 1 ms a MiB. */
function unmask(payload: Uint8Array, frame: Frame): void {
  const { mask } = frame;
  const shift = frame.offset & 3;
  let i = 0;
  if (payload.length >= 64) {
    while (((payload.byteOffset + i) & 3) !== 0) i = xor(payload, { i, mask, shift });
    const rotated = Uint8Array.from([0, 1, 2, 3], (k) => mask[(k + i + shift) & 3] ?? 0);
    const word = new Uint32Array(rotated.buffer)[0] ?? 0;
    const wordCount = (payload.length - i) >> 2;
    const view = new Uint32Array(payload.buffer, payload.byteOffset + i, wordCount);
    for (let w = 0; w < wordCount; w++) view[w] = (view[w] ?? 0) ^ word;
    i += wordCount * 4;
  }
  while (i < payload.length) i = xor(payload, { i, mask, shift });
  frame.left -= payload.length;
  frame.offset += payload.length;
}

function xor(payload: Uint8Array, at: { i: number; mask: Uint8Array; shift: number }): number {
  payload[at.i] = (payload[at.i] ?? 0) ^ (at.mask[(at.i + at.shift) & 3] ?? 0);
  return at.i + 1;
}
