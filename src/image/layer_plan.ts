/** From an image that was found to what is downloaded of it and what the store records. */
import type { Logger } from "../base/logger.ts";
import type { LayerCommit, LayerStage, PresentLayer } from "../storage/types.ts";
import type { LayerKey } from "./encryption/layer_keys.ts";
import { isEncrypted } from "./manifest/documents.ts";
import type { LayerResult, LayerTarget, PullJob } from "./pull/protocol.ts";
import type { CheckedImage } from "./resolved_image.ts";

/** Where the layers go that are not in the store yet. */
export async function targets(
  stage: LayerStage,
  range: { readonly from: number; readonly count: number; readonly keys: ReadonlyMap<number, LayerKey> },
): Promise<readonly LayerTarget[]> {
  const list: LayerTarget[] = [];
  for (let index = range.from; index < range.count; index++) {
    const key = range.keys.get(index);
    const directory = await stage.layerDirectory(index);
    list.push({ index, directory, tarSplitPath: stage.tarSplitPath(index), ...(key === undefined ? {} : { key }) });
  }
  return list;
}

/** What the store is told of each layer, base first. */
export function layerCommits(
  image: CheckedImage,
  from: { readonly present: readonly PresentLayer[]; readonly results: ReadonlyMap<number, LayerResult> },
): readonly LayerCommit[] {
  return image.layers.flatMap((layer, index): LayerCommit[] => {
    const diffId = image.diffIds[index];
    const present = from.present[index];
    const result = from.results.get(index);
    if (diffId === undefined) return [];
    // Others would take an encrypted blob's digest for leave to use the layer without its key.
    const plainSize = present?.uncompressedSizeBytes ?? result?.uncompressedSizeBytes ?? 0;
    const common = isEncrypted(layer)
      ? { diffId, digest: diffId, compressedSizeBytes: plainSize }
      : { diffId, digest: layer.digest, compressedSizeBytes: layer.sizeBytes };
    if (present !== undefined) {
      const uncompressedSizeBytes = present.uncompressedSizeBytes ?? 0;
      return [{
        ...common,
        uncompressedSizeBytes,
        compression: "none" as const,
        source: { kind: "existing" as const },
      }];
    }
    if (result === undefined) return [];
    const { uncompressedSizeBytes, hasRootEntry, uids, gids, inodes } = result;
    const compression = isEncrypted(layer) ? "none" : result.compression;
    const source = { kind: "staged" as const, index, hasRootEntry, uids, gids, inodes };
    return [{ ...common, uncompressedSizeBytes, compression, source }];
  });
}

/** An image for another platform may run by emulation: it is pulled, with a warning. */
export function warnOfPlatform(image: CheckedImage, context: { readonly job: PullJob; readonly log: Logger }): void {
  const { os, architecture } = context.job.platform;
  if ((image.os === os || image.os === "") && (image.architecture === architecture || image.architecture === "")) {
    return;
  }
  context.log.warn("The image is for another platform than this node", {
    image: context.job.name,
    platform: `${image.os}/${image.architecture}`,
  });
}
