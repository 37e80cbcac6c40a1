/** Sigstore's signatures as they lie beside an image: in a registry, or in an OCI layout. */
import { FailedPreconditionError } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import { type Descriptor, isObject, jsonObject, parseDescriptor } from "../manifest/documents.ts";
import { MAX_SIGNATURE_BYTES } from "./signature.ts";

/** A layer of an attachment: its blob is the payload. */
export interface AttachedLayer {
  readonly descriptor: Descriptor;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Signatures that one place may have; containers/image has the same limit. */
export const MAX_SIGNATURES = 128;
const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";

/** The tag that cosign makes of the digest of the image's manifest. */
export function attachmentTag(digest: Digest): string {
  return `${digest.replace(":", "-")}.sig`;
}

/** Whether a tag is one of {@link attachmentTag}. */
export function isAttachmentTag(tag: string): boolean {
  return /^sha(?:256-[0-9a-f]{64}|512-[0-9a-f]{128})\.sig$/.test(tag);
}

/** @throws DataLossError, FailedPreconditionError for a manifest that is none of signatures */
export function parseAttachment(
  bytes: Uint8Array,
  about: { readonly tag: string; readonly contentType: string; readonly budget: SignatureBudget },
): readonly AttachedLayer[] {
  const { tag, contentType, budget } = about;
  const document = jsonObject(bytes, `attachment ${tag}`);
  const layers = document["layers"];
  const type = document["mediaType"] ?? contentType;
  if (type !== OCI_MANIFEST || !Array.isArray(layers) || layers.length > MAX_SIGNATURES) {
    throw new FailedPreconditionError(`attachment ${tag} is not a manifest with up to ${MAX_SIGNATURES} signatures`);
  }
  return layers.map((layer: unknown, i) => {
    const descriptor = parseDescriptor(layer, `layers[${i}] of ${tag}`);
    const annotations = annotationsOf(layer);
    budget.take(descriptor.sizeBytes + JSON.stringify(annotations).length);
    return { descriptor, annotations };
  });
}

function annotationsOf(layer: unknown): Readonly<Record<string, string>> {
  const annotations = isObject(layer) && isObject(layer["annotations"]) ? layer["annotations"] : {};
  const pairs = Object.entries(annotations).filter((pair): pair is [string, string] => typeof pair[1] === "string");
  return Object.fromEntries(pairs);
}

/** All signatures together may be as long as one alone: they cross to the daemon in one message. */
export class SignatureBudget {
  #left = MAX_SIGNATURE_BYTES;

  /** @throws FailedPreconditionError when that is too much */
  take(bytes: number): void {
    this.#left -= bytes;
    if (this.#left < 0) {
      throw new FailedPreconditionError(`its signatures have more than ${MAX_SIGNATURE_BYTES} bytes together`);
    }
  }
}
