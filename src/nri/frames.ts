import { ProtocolError } from "./errors.ts";

/** Longest message of ttrpc, without its header (containerd/ttrpc, PROTOCOL.md). */
export const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
/** Length, stream, type, flags. */
export const MESSAGE_HEADER_BYTES = 10;
/** Connection, length (containerd/nri, pkg/net/multiplex). */
const FRAME_HEADER_BYTES = 8;
/** One frame carries at most one message. */
const MAX_FRAME_BYTES = MAX_MESSAGE_BYTES + MESSAGE_HEADER_BYTES;
/**
 * The first piece of a message. The other side's readers have a buffer of 4096 bytes for headers and refuse a frame that does not fit
 * into it; after the header they read straight into a buffer of the message's size.
 */
const FIRST_PIECE_BYTES = 4096;

export const MESSAGE = { request: 1, response: 2, data: 3 } as const;

/** A ttrpc message. */
export interface Message {
  readonly stream: number;
  /** One of {@link MESSAGE}; others are to be passed over. */
  readonly type: number;
  readonly payload: Uint8Array;
}

/** A piece of the bytes of one of the connections that share a socket. */
export interface Frame {
  readonly connection: number;
  readonly payload: Uint8Array;
}

/** Cuts a stream of bytes into units that begin with a header of fixed size, which tells how much follows. */
class UnitReader<Unit> {
  /** The beginning of a unit that came in several chunks. It grows with what has come, not with what a header promises. */
  #held = new Uint8Array();
  #heldBytes = 0;

  constructor(
    private readonly format: {
      readonly headerBytes: number;
      /** @throws ProtocolError for a length that no unit has */
      payloadBytes(header: DataView): number;
      unit(header: DataView, payload: Uint8Array): Unit;
    },
  ) {}

  /** @throws ProtocolError; the reader is of no use after that */
  *push(chunk: Uint8Array): Generator<Unit> {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#heldBytes === 0) {
        const neededBytes = this.#neededBytes(rest);
        if (rest.length >= neededBytes) {
          yield this.#unit(rest.subarray(0, neededBytes));
          rest = rest.subarray(neededBytes);
          continue;
        }
      }
      rest = rest.subarray(this.#hold(rest));
      const held = this.#held.subarray(0, this.#heldBytes);
      if (held.length < this.#neededBytes(held)) continue;
      this.#held = new Uint8Array();
      this.#heldBytes = 0;
      yield this.#unit(held);
    }
  }

  #neededBytes(bytes: Uint8Array): number {
    const { headerBytes } = this.format;
    return bytes.length < headerBytes ? headerBytes : headerBytes + this.format.payloadBytes(viewOf(bytes));
  }

  /** @returns how much of `bytes` belongs to the unit */
  #hold(bytes: Uint8Array): number {
    const missing = this.#neededBytes(this.#held.subarray(0, this.#heldBytes)) - this.#heldBytes;
    const piece = bytes.subarray(0, missing);
    const sizeBytes = this.#heldBytes + piece.length;
    if (sizeBytes > this.#held.length) {
      const larger = new Uint8Array(Math.max(sizeBytes, this.#held.length * 2));
      larger.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = larger;
    }
    this.#held.set(piece, this.#heldBytes);
    this.#heldBytes = sizeBytes;
    return piece.length;
  }

  #unit(bytes: Uint8Array): Unit {
    return this.format.unit(viewOf(bytes), bytes.subarray(this.format.headerBytes));
  }
}

/** Takes the shared socket apart. */
export class FrameReader extends UnitReader<Frame> {
  constructor() {
    super({
      headerBytes: FRAME_HEADER_BYTES,
      payloadBytes: (header) => limited(header.getUint32(4), { maxBytes: MAX_FRAME_BYTES, what: "frame" }),
      unit: (header, payload) => ({ connection: header.getUint32(0), payload }),
    });
  }
}

/** Takes one connection apart. */
export class MessageReader extends UnitReader<Message> {
  constructor() {
    super({
      headerBytes: MESSAGE_HEADER_BYTES,
      payloadBytes: (header) => limited(header.getUint32(0), { maxBytes: MAX_MESSAGE_BYTES, what: "message" }),
      unit: (header, payload) => ({ stream: header.getUint32(4), type: header.getUint8(8), payload }),
    });
  }
}

/**
 * The bytes of one message on the shared socket.
 *
 * @param message.payload at most {@link MAX_MESSAGE_BYTES}
 */
export function encodeMessage(connection: number, { stream, type, payload }: Message): Uint8Array[] {
  const header = new DataView(new ArrayBuffer(MESSAGE_HEADER_BYTES));
  header.setUint32(0, payload.length);
  header.setUint32(4, stream);
  header.setUint8(8, type);
  const first = payload.subarray(0, FIRST_PIECE_BYTES - MESSAGE_HEADER_BYTES);
  const rest = payload.subarray(first.length);
  const parts = [frameHeader(connection, MESSAGE_HEADER_BYTES + first.length), new Uint8Array(header.buffer), first];
  if (rest.length > 0) parts.push(frameHeader(connection, rest.length), rest);
  return parts;
}

function frameHeader(connection: number, payloadBytes: number): Uint8Array {
  const header = new DataView(new ArrayBuffer(FRAME_HEADER_BYTES));
  header.setUint32(0, connection);
  header.setUint32(4, payloadBytes);
  return new Uint8Array(header.buffer);
}

function limited(bytes: number, { maxBytes, what }: { maxBytes: number; what: string }): number {
  if (bytes <= maxBytes) return bytes;
  throw new ProtocolError(`${what} of ${bytes} bytes, at most ${maxBytes} are allowed`);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
