import { createHash } from "node:crypto";
import { type Digest, digestHex } from "../../base/ids.ts";
import { type BlobDescriptor, BlobReader } from "./blob_reader.ts";
import { RegistryError } from "./registry_error.ts";
import type { RegistryHost } from "./registry_host.ts";
import { withRetries } from "./retry.ts";
import { readCapped } from "./transport.ts";

/** Largest manifest or configuration that is read: what registries of the field accept. */
export const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;

const ACCEPT = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
  // Schema 1 is asked for only to be able to say what is wrong with it.
  "application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1",
  "application/vnd.docker.distribution.manifest.v1+json;q=0.1",
].join(", ");

/** A manifest or index as it came, its digest known. */
export interface FetchedManifest {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly digest: Digest;
  /** The Content-Type without parameters, or empty. */
  readonly contentType: string;
}

/** One repository of one registry. */
export class Repository {
  constructor(readonly host: RegistryHost, readonly path: string) {}

  /**
   * @param reference a tag, or a digest that the answer is then checked against
   * @throws RegistryError
   */
  async manifest(reference: string, signal: AbortSignal): Promise<FetchedManifest> {
    const isDigest = reference.includes(":");
    return await withRetries(async () => {
      const response = await this.host.send({
        method: "GET",
        path: `/v2/${this.path}/manifests/${reference}`,
        scope: `repository:${this.path}:pull`,
        headers: { accept: ACCEPT },
        signal,
        verifiedByDigest: isDigest,
      });
      const what = `manifest ${reference} of ${this.path}`;
      if (response.status !== 200) throw await this.host.failure(response, `read ${what}`);
      await using body = response.body;
      const endpoint = this.host.origin;
      const bytes = await readCapped(body, { maxBytes: MAX_DOCUMENT_BYTES, what, endpoint });
      const digest = digestOf(bytes, isDigest && reference.startsWith("sha512:") ? "sha512" : "sha256");
      if (isDigest && digest !== reference) {
        const message = `${what} from ${endpoint} has the digest ${digest}`;
        throw new RegistryError(message, { kind: "data_loss", retriable: false, endpoint });
      }
      return { bytes, digest, contentType: mediaType(response.header("content-type")) };
    }, { ...this.host.retry, signal });
  }

  /**
   * A blob, streamed and checked. Nothing is asked before the first read.
   *
   * @param options.others repositories that have the same blob, for when this one fails
   * @param options.elsewhere places outside of registries that have it, for when those fail too
   */
  blob(
    descriptor: BlobDescriptor,
    options: { readonly signal: AbortSignal; readonly others?: readonly Repository[] },
  ): BlobReader {
    const { signal, others = [] } = options;
    const rest = others.map(({ host, path }) => ({ host, repositoryPath: path }));
    return new BlobReader([{ host: this.host, repositoryPath: this.path }, ...rest], descriptor, { signal });
  }

  /** A small blob, whole and checked: a configuration. */
  async document(descriptor: BlobDescriptor, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const endpoint = this.host.origin;
    const what = `blob ${descriptor.digest}`;
    if (descriptor.sizeBytes > MAX_DOCUMENT_BYTES) {
      const message = `${what} of ${this.path} is ${descriptor.sizeBytes} bytes long, more than ${MAX_DOCUMENT_BYTES}`;
      throw new RegistryError(message, { kind: "resource_exhausted", retriable: false, endpoint });
    }
    await using reader = this.blob(descriptor, { signal });
    return await readCapped(reader, { maxBytes: MAX_DOCUMENT_BYTES, what, endpoint });
  }
}

/** The digest of bytes. */
export function digestOf(bytes: Uint8Array, algorithm: "sha256" | "sha512"): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}` as Digest;
}

/** Whether bytes have a digest. */
export function matchesDigest(bytes: Uint8Array, digest: Digest): boolean {
  const algorithm = digest.startsWith("sha512:") ? "sha512" : "sha256";
  return createHash(algorithm).update(bytes).digest("hex") === digestHex(digest);
}

function mediaType(header: string | undefined): string {
  return header?.split(";")[0]?.trim().toLowerCase() ?? "";
}
