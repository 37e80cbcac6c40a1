/** Images and artifacts of this node as one, from the configuration. */
import { messageOf } from "./base/errors.ts";
import type { Logger } from "./base/logger.ts";
import type { Config } from "./config/schema.ts";
import { Artifacts } from "./image/artifacts/artifacts.ts";
import { ImagesWithArtifacts } from "./image/artifacts/images_with_artifacts.ts";
import { ImageTrust } from "./image/policy/trust.ts";
import { Images, type ImagesDeps, type ImagesOptions } from "./image/images.ts";

/** @returns what the CRI sees; disposing closes the artifact stores' locks */
export async function openImages(
  config: Config,
  options: ImagesOptions,
  deps: Omit<ImagesDeps, "artifacts"> & { readonly log: Logger },
): Promise<ImagesWithArtifacts & Disposable> {
  const artifacts = new Artifacts({
    directory: `${config.crio.root}/artifacts`,
    additional: config.runtime.additionalArtifactStores,
    pinnedImages: options.pinnedImages ?? [],
  }, deps);
  await artifacts.own.sweep().catch((error: unknown) => {
    deps.log.warn(`leftovers of artifacts stay: ${messageOf(error)}`);
  });
  const trust = new ImageTrust(options, { store: artifacts, verifier: deps.puller, log: deps.log });
  const images = new Images(options, { ...deps, artifacts: artifacts.own });
  return Object.assign(new ImagesWithArtifacts({ images, artifacts, store: deps.store, trust }), {
    [Symbol.dispose]: (): void => artifacts[Symbol.dispose](),
  });
}
