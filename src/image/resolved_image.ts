/** What the pull process says that it found, checked again by the daemon before it commits anything. */
import { DataLossError } from "../base/errors.ts";
import { type Digest, type ImageId, parseDigest, parseImageId } from "../base/ids.ts";
import { digestOf, matchesDigest } from "./distribution/repository.ts";
import { type ArtifactManifest, type Descriptor, type Manifest, parseManifest } from "./manifest/documents.ts";
import { parseConfigSummary } from "./manifest/image_config.ts";
import type { LayerResult, ResolvedMessage } from "./pull/protocol.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** An image as its manifest and configuration describe it; both have the digests that they are known by. */
export interface CheckedImage {
  readonly id: ImageId;
  readonly manifest: { readonly digest: Digest; readonly bytes: Bytes };
  readonly index?: { readonly digest: Digest; readonly bytes: Bytes };
  readonly config: Bytes;
  readonly layers: readonly Descriptor[];
  readonly diffIds: readonly Digest[];
  readonly created: string | undefined;
  readonly os: string;
  readonly architecture: string;
  /** Digest of what the reference names: the index, if there is one. */
  readonly digest: Digest;
}

/** What is certainly no image. */
export interface CheckedArtifact extends Pick<CheckedImage, "manifest" | "index" | "config" | "digest"> {
  readonly content: ArtifactManifest;
}

/**
 * @param wanted the digest that was asked for, when the reference has one
 * @throws DataLossError when anything does not fit together
 */
export function checkResolved(message: ResolvedMessage, wanted: Digest | undefined): CheckedImage | CheckedArtifact {
  const { content, ...checked } = checkDocuments(message, wanted);
  return content.kind === "artifact" ? { ...checked, content } : { ...checked, ...imageOf(checked.config, content) };
}

function imageOf(
  config: Bytes,
  content: Manifest & { readonly kind: "image" },
): Omit<CheckedImage, keyof CheckedArtifact> {
  const summary = parseConfigSummary(config, content.layers.length);
  return {
    id: parseImageId(digestOf(config, "sha256").slice("sha256:".length)),
    layers: content.layers,
    diffIds: summary.diffIds,
    created: summary.created,
    os: summary.os,
    architecture: summary.architecture,
  };
}

/** All digests fit: of the documents, to what was asked for, and to each other. */
function checkDocuments(
  message: ResolvedMessage,
  wanted: Digest | undefined,
): Omit<CheckedArtifact, "content"> & { readonly content: Exclude<Manifest, { readonly kind: "index" }> } {
  const top = message.index ?? message.manifest;
  const topBytes = Uint8Array.fromBase64(top);
  if (wanted !== undefined && !matchesDigest(topBytes, wanted)) {
    throw new DataLossError(`the pull process gave a manifest that does not have the digest ${wanted}`);
  }
  const topDigest = wanted ?? digestOf(topBytes, "sha256");
  const bytes = Uint8Array.fromBase64(message.manifest);
  const index = message.index === undefined ? undefined : { digest: topDigest, bytes: topBytes };
  const digest = index === undefined
    ? topDigest
    : memberDigest(index.bytes, { manifest: bytes, contentType: message.indexContentType ?? "" });
  const content = parseManifest(bytes, message.manifestContentType);
  if (content.kind === "index") throw new DataLossError("the pull process gave an index in place of a manifest");
  const config = Uint8Array.fromBase64(message.config);
  if (!matchesDigest(config, content.config.digest)) {
    throw new DataLossError(`the image configuration does not have the digest ${content.config.digest}`);
  }
  return { manifest: { digest, bytes }, ...(index === undefined ? {} : { index }), config, digest: topDigest, content };
}

/** The layers that were wanted, by index. @throws DataLossError when one is missing or is another */
export function checkLayers(
  image: CheckedImage,
  results: readonly LayerResult[],
  wanted: readonly number[],
): ReadonlyMap<number, LayerResult> {
  const byIndex = new Map(results.map((result) => [result.index, result]));
  for (const index of wanted) {
    const result = byIndex.get(index);
    if (result === undefined) throw new DataLossError(`the pull process did not deliver layer ${index}`);
    if (parseDigest(result.diffId) !== image.diffIds[index]) {
      throw new DataLossError(`the pull process delivered layer ${index} with the diff ID ${result.diffId}`);
    }
  }
  return byIndex;
}

function memberDigest(index: Bytes, member: { readonly manifest: Bytes; readonly contentType: string }): Digest {
  const parsed = parseManifest(index, member.contentType);
  const found = parsed.kind === "index"
    ? parsed.manifests.find(({ digest, sizeBytes }) =>
      sizeBytes === member.manifest.length && matchesDigest(member.manifest, digest)
    )
    : undefined;
  if (found === undefined) throw new DataLossError("the manifest is none of those that the index names");
  return found.digest;
}
