/** One layer from the first endpoint that gives the right bytes. */
import { DataLossError, PodError } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import { BlobReader, type BlobSource } from "../distribution/blob_reader.ts";
import { foreignSources } from "../distribution/foreign_urls.ts";
import type { Descriptor } from "../manifest/documents.ts";
import type { ByteReader } from "../distribution/transport.ts";
import type { Asked, Attempts } from "./attempts.ts";
import { writeBlob } from "./blob_file.ts";
import { DecryptingReader } from "./decrypting_reader.ts";
import { CountedReader, type LayerJob, pullLayer } from "./layer.ts";
import type { BlobTarget, LayerResult, LayerTarget } from "./protocol.ts";
import type { ImagePlace, ResolvedImage } from "./resolve.ts";

/** Where a layer can be had. */
export interface LayerPlace {
  readonly endpoint: Asked;
  readonly source: BlobSource;
}

export interface SourcedLayer extends Omit<LayerJob, "source" | "digest" | "unpacking" | "target" | "diffId"> {
  readonly layer: Descriptor;
  /** Where it goes: a file of an artifact stays what it is. */
  readonly target: LayerTarget | BlobTarget;
  /** Undefined: it has none, or the image names too few. */
  readonly diffId: Digest | undefined;
  readonly attempts: Attempts;
  /** Compressed bytes that came; negative when they were thrown away. */
  downloading(bytes: number): void;
  /** The same for bytes of the plain archive. */
  unpacking(bytes: number): void;
}

/** The endpoints of the image, and what the layer's own URLs name. */
export function placesOf(layer: Descriptor, image: ResolvedImage): readonly [LayerPlace, ...LayerPlace[]] {
  const own = ({ endpoint, repository }: ImagePlace): LayerPlace => ({
    endpoint,
    source: { host: repository.host, repositoryPath: repository.path },
  });
  const [first, ...others] = image.places;
  const foreign = foreignSources(layer.urls, image.places[0].repository.host).map((source) => ({
    endpoint: { host: source.host.origin, path: source.repositoryPath, mirror: false },
    source,
  }));
  return [own(first), ...others.map(own), ...foreign];
}

/**
 * A place that fails is followed by the next, which goes on where it stopped. Where the bytes were wrong, the layer is
 * begun anew without the place that began it.
 *
 * @throws what `pullLayer` throws, with all places that failed before
 */
export async function pullLayerFrom(
  places: readonly [LayerPlace, ...LayerPlace[]],
  job: SourcedLayer,
): Promise<LayerResult> {
  const { attempts, signal, target } = job;
  let rest = places;
  for (;;) {
    const reader = readerOf(rest, job);
    let [downloaded, unpacked] = [0, 0];
    const counted = new CountedReader(reader, (bytes) => {
      downloaded += bytes;
      job.downloading(bytes);
    });
    const unpacking = (bytes: number): void => {
      unpacked += bytes;
      job.unpacking(bytes);
    };
    try {
      return await deliver(counted, { ...job, unpacking });
    } catch (error) {
      signal.throwIfAborted();
      const [first, second, ...others] = rest;
      const lie = second === undefined || isOfThisNode(error) ? undefined : await lieOf(reader);
      if (second === undefined || lie === undefined) {
        throw error instanceof PodError
          ? attempts.error(rest[reader.sourceIndex]?.endpoint ?? first.endpoint, error)
          : error;
      }
      attempts.failed(first.endpoint, lie);
      attempts.trying(second.endpoint);
      rest = [second, ...others];
      job.downloading(-downloaded);
      job.unpacking(-unpacked);
      if ("blobPath" in target) await Deno.remove(target.blobPath);
      else await empty(target.directory);
    }
  }
}

async function deliver(from: ByteReader, job: SourcedLayer): Promise<LayerResult> {
  const { layer: { digest, sizeBytes }, target, diffId } = job;
  if ("blobPath" in target) {
    await writeBlob(from, target.blobPath);
    const nothing = { hasRootEntry: false, uids: [], gids: [], inodes: 1 };
    const result = { index: target.index, diffId: digest, uncompressedSizeBytes: sizeBytes };
    return { ...result, compression: "none", ...nothing };
  }
  if (diffId === undefined) throw new DataLossError(`there is no diff ID of layer ${target.index}`);
  const source = target.key === undefined ? from : new DecryptingReader(from, target.key);
  return await pullLayer({ ...job, digest, diffId, target, source });
}

function readerOf(places: readonly [LayerPlace, ...LayerPlace[]], job: SourcedLayer): BlobReader {
  const [first, ...others] = places;
  return new BlobReader([first.source, ...others.map(({ source }) => source)], job.layer, {
    signal: job.signal,
    failed: (index, error) => {
      const [failing, next] = places.slice(index, index + 2);
      if (failing !== undefined) job.attempts.failed(failing.endpoint, error);
      if (next !== undefined) job.attempts.trying(next.endpoint);
    },
  });
}

/** A full disk, a missing capability: no other place would change that. */
function isOfThisNode(error: unknown): boolean {
  return error instanceof PodError && (error.kind === "resource_exhausted" || error.kind === "permission_denied");
}

/**
 * Whether what came is not what the manifest names. A layer that cannot be unpacked is read to its end for that: either
 * the image is bad, and every place has the same, or the place is.
 */
async function lieOf(reader: BlobReader): Promise<PodError | undefined> {
  if (reader.lie !== undefined) return reader.lie;
  await using rest = reader;
  try {
    while (await rest.read() !== undefined);
  } catch {
    // Said in `lie`, or by the failure that brought us here.
  }
  return reader.lie;
}

/** The directory stays: it is the store's, with its mode and owner. */
async function empty(directory: string): Promise<void> {
  for await (const { name } of Deno.readDir(directory)) await Deno.remove(`${directory}/${name}`, { recursive: true });
}
