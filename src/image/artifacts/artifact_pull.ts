import { DataLossError } from "../../base/errors.ts";
import type { Digest, ImageId } from "../../base/ids.ts";
import type { BlobTarget, LayerResult } from "../pull/protocol.ts";
import type { CheckedArtifact } from "../resolved_image.ts";
import type { ArtifactLayout } from "./layout.ts";

/** An artifact whose blobs are on their way. Disposing removes what was not committed. */
export interface PendingArtifact extends AsyncDisposable {
  /** Where the pull process puts the blobs that are not there yet. */
  readonly targets: readonly BlobTarget[];
  /** @throws DataLossError, FailedPreconditionError; see {@link ArtifactLayout.commit} */
  commit(
    name: string,
    got: { readonly results: readonly LayerResult[]; readonly signatures: readonly Uint8Array[] },
  ): Promise<ImageId>;
}

/** Makes room for what is missing of an artifact. */
export async function beginArtifact(found: CheckedArtifact, layout: ArtifactLayout): Promise<PendingArtifact> {
  const { layers } = found.content;
  const missing = await layout.missing(layers);
  const stage = await layout.stage();
  const targets = missing.map(({ digest }) => ({
    index: layers.findIndex((layer) => layer.digest === digest),
    blobPath: `${stage.directory}/${digest.replace(":", "-")}`,
  }));
  return {
    targets,
    commit: async (name, { results, signatures }): Promise<ImageId> => {
      const staged = new Map<Digest, string>();
      for (const { index, blobPath } of targets) {
        const layer = layers[index];
        if (layer === undefined || !results.some((result) => result.index === index)) {
          throw new DataLossError(`the pull process did not deliver file ${index} of the artifact`);
        }
        staged.set(layer.digest, blobPath);
      }
      const { manifest, index, config, content } = found;
      const document = { digest: content.config.digest, bytes: config };
      const common = { name, manifest, config: document, layers, staged, signatures };
      return await layout.commit(index === undefined ? common : { ...common, index });
    },
    [Symbol.asyncDispose]: () => stage[Symbol.asyncDispose](),
  };
}
