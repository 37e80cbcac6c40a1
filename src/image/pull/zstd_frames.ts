/**
 * Finds the frames of a zstd stream (RFC 8878, section 3.1) by walking block headers; nothing is decompressed here.
 *
 * @module
 */
import { DataLossError } from "../../base/errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A frame: whole, when it is small and says how much it holds; else as a stream that must be read to its end. */
export type ZstdFrame =
  | { readonly whole: { readonly bytes: Bytes; readonly contentBytes: number }; readonly read?: never }
  | { readonly whole?: never; readonly read: () => Promise<Bytes | undefined> };

const MAGIC = 0xfd2fb528;
const SKIPPABLE_MASK = 0xfffffff0;
const SKIPPABLE = 0x184d2a50;
/** Frames up to this size that lie in one piece are expanded in one call. */
const MAX_WHOLE_CONTENT_BYTES = 8 * 1024 * 1024;
const RLE_BLOCK = 1;
const RESERVED_BLOCK = 3;

/** The frames of a stream, one after the other; skippable frames are passed over. */
export class ZstdFrames {
  #piece: Bytes = new Uint8Array(0);
  #at = 0;

  constructor(private readonly source: () => Promise<Bytes | undefined>) {}

  /** The next frame, or undefined at the end. @throws DataLossError for what is no frame */
  async next(): Promise<ZstdFrame | undefined> {
    for (;;) {
      if (this.#at >= this.#piece.length && !(await this.#fill())) return undefined;
      const magic = readUint32(await this.#peek(4));
      if (((magic & SKIPPABLE_MASK) >>> 0) === SKIPPABLE) {
        const head = await this.#peek(8);
        await this.#skip(8 + readUint32(head.subarray(4)));
        continue;
      }
      if (magic !== MAGIC) throw bad("something that is no frame follows a frame");
      const header = frameHeader(await this.#peek(6), (count) => this.#piece.subarray(this.#at, this.#at + count));
      return this.#whole(header) ?? { read: this.#stream(header) };
    }
  }

  /** The frame, if all of it lies in the piece at hand. */
  #whole(header: FrameHeader): ZstdFrame | undefined {
    if (header.contentBytes === undefined || header.contentBytes > MAX_WHOLE_CONTENT_BYTES) return undefined;
    let end = this.#at + header.sizeBytes;
    for (let last = false; !last;) {
      if (end + 3 > this.#piece.length) return undefined;
      const block = blockHeader(this.#piece.subarray(end, end + 3));
      last = block.last;
      end += 3 + block.storedBytes;
    }
    end += header.checksumBytes;
    if (end > this.#piece.length) return undefined;
    const bytes = this.#piece.subarray(this.#at, end);
    this.#at = end;
    return { whole: { bytes, contentBytes: header.contentBytes } };
  }

  #stream(header: FrameHeader): () => Promise<Bytes | undefined> {
    let missing = header.sizeBytes;
    let phase: "blocks" | "tail" | "end" = "blocks";
    return async (): Promise<Bytes | undefined> => {
      while (missing === 0) {
        if (phase === "end") return undefined;
        if (phase === "tail") {
          missing = header.checksumBytes;
          phase = "end";
          continue;
        }
        const block = blockHeader(await this.#peek(3));
        missing = 3 + block.storedBytes;
        if (block.last) phase = "tail";
      }
      if (this.#at >= this.#piece.length && !(await this.#fill())) throw bad("a frame is cut");
      const piece = this.#piece.subarray(this.#at, this.#at + missing);
      this.#at += piece.length;
      missing -= piece.length;
      return piece;
    };
  }

  /** At least `count` bytes from here on, without taking them. */
  async #peek(count: number): Promise<Bytes> {
    while (this.#piece.length - this.#at < count) {
      const rest = this.#piece.slice(this.#at);
      const more = await this.source();
      if (more === undefined) throw bad("a frame is cut");
      const joined = new Uint8Array(rest.length + more.length);
      joined.set(rest);
      joined.set(more, rest.length);
      this.#piece = joined;
      this.#at = 0;
    }
    return this.#piece.subarray(this.#at);
  }

  async #skip(count: number): Promise<void> {
    for (let missing = count; missing > 0;) {
      if (this.#at >= this.#piece.length && !(await this.#fill())) throw bad("a frame is cut");
      const step = Math.min(missing, this.#piece.length - this.#at);
      this.#at += step;
      missing -= step;
    }
  }

  async #fill(): Promise<boolean> {
    const piece = await this.source();
    this.#piece = piece ?? new Uint8Array(0);
    this.#at = 0;
    return piece !== undefined && (piece.length > 0 || await this.#fill());
  }
}

interface FrameHeader {
  /** Magic number included. */
  readonly sizeBytes: number;
  /** Undefined when the frame does not say, or says more than fits a number. */
  readonly contentBytes: number | undefined;
  readonly checksumBytes: 0 | 4;
}

/** RFC 8878, section 3.1.1.1. */
function frameHeader(head: Bytes, peeked: (count: number) => Bytes): FrameHeader {
  const descriptor = head[4] ?? 0;
  if ((descriptor & 0x08) !== 0) throw bad("a frame header has the reserved bit set");
  const single = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const windowBytes = single ? 0 : 1;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 0x03] ?? 0;
  const contentSizeBytes = sizeFlag === 0 ? (single ? 1 : 0) : 1 << sizeFlag;
  const at = 5 + windowBytes + dictionaryBytes;
  const sizeBytes = at + contentSizeBytes;
  const bytes = peeked(sizeBytes);
  return {
    sizeBytes,
    contentBytes: bytes.length < sizeBytes ? undefined : contentSize(bytes.subarray(at, sizeBytes)),
    checksumBytes: (descriptor & 0x04) !== 0 ? 4 : 0,
  };
}

function contentSize(field: Bytes): number | undefined {
  if (field.length === 0) return undefined;
  let value = 0;
  for (let i = field.length - 1; i >= 0; i--) value = value * 256 + (field[i] ?? 0);
  const size = field.length === 2 ? value + 256 : value;
  return Number.isSafeInteger(size) ? size : undefined;
}

/** RFC 8878, section 3.1.1.2. */
function blockHeader(bytes: Bytes): { readonly last: boolean; readonly storedBytes: number } {
  const word = (bytes[0] ?? 0) | (bytes[1] ?? 0) << 8 | (bytes[2] ?? 0) << 16;
  const type = (word >> 1) & 3;
  if (type === RESERVED_BLOCK) throw bad("a block has the reserved type");
  return { last: (word & 1) === 1, storedBytes: type === RLE_BLOCK ? 1 : word >> 3 };
}

function readUint32(bytes: Bytes): number {
  return ((bytes[0] ?? 0) | (bytes[1] ?? 0) << 8 | (bytes[2] ?? 0) << 16 | (bytes[3] ?? 0) << 24) >>> 0;
}

function bad(reason: string): DataLossError {
  return new DataLossError(`layer has bad zstd data: ${reason}`);
}
