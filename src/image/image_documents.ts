import type { Digest, ImageId } from "../base/ids.ts";
import { isObject, jsonObject, textsOf } from "./manifest/documents.ts";
import { type ImageConfig, parseImageConfig } from "./manifest/image_config.ts";

export interface DocumentSource {
  imageConfig(id: ImageId): Promise<Uint8Array>;
  imageManifest(id: ImageId): Promise<Uint8Array>;
}

/** What is read of an image once and kept: a configuration never changes under its id. */
export interface ImageDetails {
  readonly config: ImageConfig;
  /** Of the manifest. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** Configurations of the images on this node, parsed, in memory. */
export class ImageDocuments {
  readonly #known = new Map<
    ImageId,
    { readonly manifest: Digest | undefined; readonly details: Promise<ImageDetails> }
  >();

  constructor(private readonly source: DocumentSource) {}

  /**
   * @param manifest the one that counts now: another one with the same configuration may have other annotations
   * @throws NotFoundError; DataLossError for a damaged configuration
   */
  async details(id: ImageId, manifest: Digest | undefined): Promise<ImageDetails> {
    const known = this.#known.get(id);
    if (known !== undefined && known.manifest === manifest) return await known.details;
    const details = this.#read(id);
    this.#known.set(id, { manifest, details });
    details.catch(() => this.#known.delete(id));
    return await details;
  }

  /** Forgets images that are not there any more. */
  keepOnly(ids: ReadonlySet<ImageId>): void {
    if (this.#known.size <= ids.size) return;
    for (const id of this.#known.keys()) if (!ids.has(id)) this.#known.delete(id);
  }

  async #read(id: ImageId): Promise<ImageDetails> {
    const config = parseImageConfig(await this.source.imageConfig(id));
    return { config, annotations: await this.#annotations(id) };
  }

  async #annotations(id: ImageId): Promise<Readonly<Record<string, string>>> {
    try {
      const { annotations } = jsonObject(await this.source.imageManifest(id), "manifest");
      return isObject(annotations) ? textsOf(annotations) : {};
    } catch {
      // An image that was built on the node need not have a manifest.
      return {};
    }
  }
}
