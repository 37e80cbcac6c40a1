/** One layer: network, decompressor, archive, files; nothing of it is held whole in memory. */
import { atStage, DataLossError } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import type { ByteReader } from "../distribution/transport.ts";
import { applyRoot } from "../unpack/layer_root.ts";
import { type Bytes, decompress } from "./decompress.ts";
import type { LayerResult, LayerTarget } from "./protocol.ts";
import type { UnpackWay } from "./unpacker.ts";

export interface LayerJob {
  readonly source: ByteReader;
  /** Digest of the compressed blob, for messages; the source checks it. */
  readonly digest: Digest;
  /** What the configuration says that the plain archive has. */
  readonly diffId: Digest;
  readonly target: LayerTarget;
  readonly unpack: UnpackWay;
  /** Told of each piece of the plain archive that goes to the unpacker. */
  readonly unpacking?: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/**
 * Downloads, checks and unpacks.
 *
 * @throws RegistryError from the source; LayerError for a bad archive; DataLossError when the diff ID is another
 */
export async function pullLayer(job: LayerJob): Promise<LayerResult> {
  const { digest, diffId, target, unpack, unpacking, signal } = job;
  await using source = job.source;
  const { compression, bytes } = await decompress(source);
  const { directory, tarSplitPath } = target;
  const unpacked = await unpack(unpacking === undefined ? bytes : counted(bytes, unpacking), {
    directory,
    tarSplitPath,
    signal,
  }).catch((error: unknown) => {
    throw atStage(`unpack layer ${digest}`, error);
  });
  // A decompressor may be content before the last byte has come: the blob's digest is checked at its very end.
  while (await source.read() !== undefined);
  if (unpacked.diffId !== diffId) {
    throw new DataLossError(
      `layer ${digest} unpacks to ${unpacked.diffId}, but the image configuration says ${diffId}`,
    );
  }
  if (unpacked.root !== undefined) applyRoot(directory, unpacked.root);
  return {
    index: target.index,
    diffId,
    compression,
    uncompressedSizeBytes: unpacked.uncompressedSizeBytes,
    hasRootEntry: unpacked.root !== undefined,
    uids: unpacked.uids,
    gids: unpacked.gids,
    inodes: unpacked.entryCount,
  };
}

/** Counts what is read, for progress. */
export class CountedReader implements ByteReader {
  constructor(private readonly source: ByteReader, private readonly count: (bytes: number) => void) {}

  async read(): Promise<Bytes | undefined> {
    const piece = await this.source.read();
    if (piece !== undefined) this.count(piece.length);
    return piece;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.source[Symbol.asyncDispose]();
  }
}

async function* counted(
  pieces: AsyncGenerator<Bytes, void, void>,
  count: (bytes: number) => void,
): AsyncGenerator<Bytes, void, void> {
  for await (const piece of pieces) {
    const { length } = piece;
    yield piece;
    count(length);
  }
}
