/** The archives that the pull process has open for the daemon, and their images. */
import {
  CancelledError,
  DataLossError,
  FailedPreconditionError,
  InvalidArgumentError,
  NotFoundError,
} from "../../base/errors.ts";
import type { Descriptor, Platform } from "../manifest/documents.ts";
import { DecryptingReader } from "../pull/decrypting_reader.ts";
import { CountedReader, pullLayer } from "../pull/layer.ts";
import type { SourcedLayer } from "../pull/layer_sources.ts";
import type { FromProcess, LayerResult, OpenRequest } from "../pull/protocol.ts";
import { describeFailure } from "../pull/resolve.ts";
import { type LoadedImage, maxUnpackedBytes } from "./archived_image.ts";
import { type OpenArchive, openArchive } from "./open_archive.ts";

interface Opened {
  readonly controller: AbortController;
  readonly archive: Promise<OpenArchive>;
  readonly path: string;
}

/** An image of an archive, with the place for the log. */
export interface LocatedImage extends LoadedImage {
  readonly origin: string;
}

/** See the module comment. */
export class OpenArchives implements Disposable {
  readonly #opened = new Map<number, Opened>();

  constructor(private readonly answer: (message: FromProcess) => void) {}

  get size(): number {
    return this.#opened.size;
  }

  /** Opens one; the answer is `opened` or `failed`. */
  open(id: number, { place, scratchDirectory }: OpenRequest): void {
    const controller = new AbortController();
    const archive = openArchive(place, { scratchDirectory, signal: controller.signal });
    this.#opened.set(id, { controller, archive, path: place.path });
    archive.then(({ transport, images }) => {
      const shown = images.map(({ names, label }) => ({ names, label }));
      this.answer({ type: "opened", id, contents: { transport, images: shown } });
    }, (error) => this.answer({ type: "failed", id, failure: describeFailure(error) }));
  }

  cancel(id: number): void {
    this.#opened.get(id)?.controller.abort(new CancelledError("the import was cancelled"));
  }

  /** Nothing is read from it any more. */
  close(id: number): void {
    const opened = this.#opened.get(id);
    this.#opened.delete(id);
    opened?.archive.then((archive) => archive[Symbol.dispose](), () => {});
  }

  /** @throws FailedPreconditionError when it is not open; NotFoundError; what the image's formats throw */
  async load(wanted: { readonly opened: number; readonly image: number }, platform: Platform): Promise<LocatedImage> {
    const opened = this.#opened.get(wanted.opened);
    if (opened === undefined) throw new FailedPreconditionError("the archive is not open any more: try again");
    const { transport, images } = await opened.archive;
    const image = images[wanted.image];
    if (image === undefined) throw new NotFoundError("image of the archive", String(wanted.image));
    return { ...await image.load(platform), origin: `${transport}:${opened.path}` };
  }

  [Symbol.dispose](): void {
    for (const id of this.#opened.keys()) {
      this.cancel(id);
      this.close(id);
    }
  }
}

/** One layer of an archive. @throws as pullLayer; InvalidArgumentError for one that unpacks to far too much */
export async function layerFromArchive(
  image: LoadedImage,
  job: Omit<SourcedLayer, "attempts"> & { readonly layer: Descriptor; readonly alwaysAllowedBytes?: number },
): Promise<LayerResult> {
  const { layer, target, diffId, downloading, unpacking, alwaysAllowedBytes } = job;
  if (diffId === undefined || !("directory" in target)) throw new DataLossError(`there is no layer ${target.index}`);
  const counted = new CountedReader(await image.layer(layer), downloading);
  const source = target.key === undefined ? counted : new DecryptingReader(counted, target.key);
  const limit = maxUnpackedBytes(layer.sizeBytes, alwaysAllowedBytes);
  let unpacked = 0;
  const bounded = (bytes: number): void => {
    unpacked += bytes;
    if (unpacked > limit) {
      throw new InvalidArgumentError(
        `layer ${layer.digest} has ${layer.sizeBytes} bytes and unpacks to more than ${limit}`,
      );
    }
    unpacking(bytes);
  };
  return await pullLayer({ ...job, diffId, target, digest: layer.digest, source, unpacking: bounded });
}
