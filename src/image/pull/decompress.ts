/** Compressed bytes to plain ones, recognised by what they begin with, never by what a manifest calls them. */
import type { Transform } from "node:stream";
import * as zlib from "node:zlib";
import { DataLossError, messageOf, UnimplementedError } from "../../base/errors.ts";
import type { ByteReader } from "../distribution/transport.ts";
import { type DecodeStep, IsalDecoder, type StreamDecoder, ZstdDecoder } from "../../linux/decoders.ts";
import { ZstdFrames } from "./zstd_frames.ts";

export type Compression = "none" | "gzip" | "zstd";
export type Bytes = Uint8Array<ArrayBuffer>;

/** Size of the pieces that come out; larger ones cost less per byte. */
const CHUNK_BYTES = 128 * 1024;
const DECODED_BYTES = 512 * 1024;
const SNIFFED_BYTES = 6;
const MAGIC = {
  gzip: [0x1f, 0x8b],
  zstd: [0x28, 0xb5, 0x2f, 0xfd],
  bzip2: [0x42, 0x5a, 0x68],
  xz: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
} as const;

export interface Decompressed {
  readonly compression: Compression;
  /** A piece is valid until the next is asked for. Ends when the source has ended, so that its digest is checked. */
  readonly bytes: AsyncGenerator<Bytes, void, void>;
}

/** How the host's own libraries are opened; undefined where there is none, and Node's zlib does it. */
export interface DecoderOpeners {
  readonly openGzip: () => StreamDecoder | undefined;
  readonly openZstd: () => StreamDecoder | undefined;
}

const HOST_DECODERS: DecoderOpeners = { openGzip: IsalDecoder.open, openZstd: ZstdDecoder.open };

/**
 * Starts to read and decides how the bytes are compressed.
 *
 * @throws UnimplementedError for bzip2 and xz; what the source throws. The stream throws DataLossError for bad data
 */
export async function decompress(source: ByteReader, openers = HOST_DECODERS): Promise<Decompressed> {
  const input = await Peeked.of(source);
  const starts = (magic: readonly number[]): boolean => magic.every((byte, i) => input.head[i] === byte);
  if (starts(MAGIC.gzip)) return { compression: "gzip", bytes: gunzip(input, openers) };
  if (starts(MAGIC.zstd) || isSkippableFrame(input.head)) return { compression: "zstd", bytes: unzstd(input, openers) };
  for (const name of ["bzip2", "xz"] as const) {
    if (starts(MAGIC[name])) throw new UnimplementedError(`layer is compressed with ${name}, which is not supported`);
  }
  return { compression: "none", bytes: plain(input) };
}

async function* plain(input: Peeked): AsyncGenerator<Bytes, void, void> {
  for (let piece = await input.read(); piece !== undefined; piece = await input.read()) yield piece;
}

async function* gunzip(input: Peeked, { openGzip }: DecoderOpeners): AsyncGenerator<Bytes, void, void> {
  using decoder = openGzip();
  if (decoder !== undefined) yield* decoded(decoder, () => input.read());
  else yield* through(zlib.createGunzip({ chunkSize: CHUNK_BYTES }), () => input.read());
}

/**
 * Node's library stops at the end of the first frame and says nothing, so frames are taken apart here. An archive of
 * thousands of small frames (zstd:chunked) is the reason for the short way of {@link ZstdFrames}.
 */
async function* unzstd(input: Peeked, { openZstd }: DecoderOpeners): AsyncGenerator<Bytes, void, void> {
  using decoder = openZstd();
  if (decoder !== undefined) return yield* decoded(decoder, () => input.read());
  const frames = new ZstdFrames(() => input.read());
  for (;;) {
    const frame = await frames.next();
    if (frame === undefined) return;
    if (frame.whole !== undefined) yield expand(frame.whole);
    else yield* through(zlib.createZstdDecompress({ chunkSize: CHUNK_BYTES }), frame.read);
  }
}

/** Frames one after the other, in pieces that fill their buffers. */
async function* decoded(
  decoder: StreamDecoder,
  read: () => Promise<Bytes | undefined>,
): AsyncGenerator<Bytes, void, void> {
  let output = new Uint8Array(DECODED_BYTES);
  let filled = 0;
  for (let piece = await read(); piece !== undefined; piece = await read()) {
    for (let rest = piece; rest.length > 0 || (filled === output.length && !decoder.isEnded);) {
      if (filled === output.length) {
        yield output;
        [output, filled] = [new Uint8Array(DECODED_BYTES), 0];
      }
      const { consumedBytes, producedBytes } = step(decoder, { input: rest, output: output.subarray(filled) });
      rest = rest.subarray(consumedBytes);
      filled += producedBytes;
    }
  }
  if (!decoder.isEnded) throw new DataLossError("layer has bad compressed data: it ends too early");
  if (filled > 0) yield output.subarray(0, filled);
}

function step(decoder: StreamDecoder, { input, output }: { input: Bytes; output: Bytes }): DecodeStep {
  try {
    const made = decoder.decode(input, output);
    if (made.consumedBytes + made.producedBytes > 0 || decoder.isEnded || input.length === 0) return made;
  } catch (error) {
    throw new DataLossError(`layer has bad compressed data: ${messageOf(error)}`, { cause: error });
  }
  throw new DataLossError("layer has bad compressed data: the decoder does not go on");
}

function expand(frame: { readonly bytes: Bytes; readonly contentBytes: number }): Bytes {
  try {
    return new Uint8Array(zlib.zstdDecompressSync(frame.bytes, { maxOutputLength: Math.max(1, frame.contentBytes) }));
  } catch (error) {
    throw new DataLossError(`layer has bad zstd data: ${messageOf(error)}`, { cause: error });
  }
}

/** Drives a library stream with back-pressure: the source is read only when its last piece is used up. */
async function* through(
  transform: Transform,
  read: () => Promise<Bytes | undefined>,
): AsyncGenerator<Bytes, void, void> {
  let sourceError: unknown;
  const readOrStop = async (): Promise<Bytes | undefined> => {
    try {
      return await read();
    } catch (error) {
      sourceError = error;
      throw error;
    }
  };
  const pump = async (): Promise<void> => {
    try {
      for (let piece = await readOrStop(); piece !== undefined; piece = await readOrStop()) {
        await written(transform, piece);
      }
      transform.end();
    } catch (error) {
      transform.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  };
  const pumping = pump();
  try {
    for await (const chunk of transform) yield chunk as Bytes;
    await pumping;
  } catch (error) {
    throw sourceError ?? new DataLossError(`layer has bad compressed data: ${messageOf(error)}`, { cause: error });
  } finally {
    transform.destroy();
  }
}

async function written(transform: Transform, piece: Bytes): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onClose = (): void => reject(new DataLossError("layer has bad compressed data"));
  transform.once("close", onClose);
  transform.write(piece, (error) => error === null || error === undefined ? resolve() : reject(error));
  try {
    await promise;
  } finally {
    transform.off("close", onClose);
  }
}

function isSkippableFrame(head: Uint8Array): boolean {
  return ((head[0] ?? 0) & 0xf0) === 0x50 && head[1] === 0x2a && head[2] === 0x4d && head[3] === 0x18;
}

/** A reader whose first bytes were looked at. */
class Peeked {
  #pending: Bytes | undefined;

  private constructor(private readonly source: ByteReader, readonly head: Bytes) {
    this.#pending = head;
  }

  static async of(source: ByteReader): Promise<Peeked> {
    let head: Bytes = new Uint8Array(0);
    while (head.length < SNIFFED_BYTES) {
      const piece = await source.read();
      if (piece === undefined) break;
      const joined = new Uint8Array(head.length + piece.length);
      joined.set(head);
      joined.set(piece, head.length);
      head = joined;
    }
    return new Peeked(source, head);
  }

  async read(): Promise<Bytes | undefined> {
    const pending = this.#pending;
    this.#pending = undefined;
    return pending !== undefined && pending.length > 0 ? pending : await this.source.read();
  }
}
