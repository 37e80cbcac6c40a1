/** Images and artifacts of this node as one, from the configuration. */
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Config } from "../config/schema.ts";
import { Artifacts } from "../image/artifacts/artifacts.ts";
import { ImagesWithArtifacts } from "../image/artifacts/images_with_artifacts.ts";
import { ImageTrust } from "../image/policy/trust.ts";
import type { ShortNameMode } from "../image/registries/registries_conf.ts";
import { Images, type ImagesDeps, type ImagesOptions } from "../image/images.ts";

/** What the CRI sees of images, and what a reload of the configuration does to them. */
export interface NodeImages extends ImagesWithArtifacts {
  /** Takes other patterns of images and artifacts that must stay. */
  pin(patterns: readonly string[]): void;
  /** Reads registries.conf and policy.json. @throws an error naming the file and the line or key that is wrong */
  checkFiles(): Promise<void>;
}

/** @returns what the CRI sees; disposing closes the artifact stores' locks */
export async function openImages(
  config: Config,
  deps: Omit<ImagesDeps, "artifacts"> & { readonly log: Logger },
): Promise<NodeImages & Disposable> {
  const options = imagesOptions(config);
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
    pin: (patterns: readonly string[]): void => {
      images.pin(patterns);
      artifacts.pin(patterns);
    },
    checkFiles: async (): Promise<void> => {
      await images.checkRegistries();
      await trust.checkPolicy();
    },
    [Symbol.dispose]: (): void => artifacts[Symbol.dispose](),
  });
}

/** Empty options mean the files that all tools of this family use. */
function imagesOptions({ image, process, runtime }: Config): ImagesOptions {
  const { signaturePolicy, signaturePolicyDir, globalAuthFile, namespacedAuthDir, shortNameMode } = image;
  const { registriesConf, registriesConfDir } = process;
  return {
    environment: Deno.env.toObject(),
    ...(registriesConf === "" ? {} : { registriesFile: registriesConf }),
    ...(registriesConfDir === "" ? {} : { registriesDirectory: registriesConfDir }),
    get decryptionKeysPath(): string {
      return runtime.decryptionKeysPath;
    },
    pinnedImages: [...image.pinnedImages, image.pauseImage],
    policyDirectory: signaturePolicyDir,
    // Empty: what registries.conf says.
    ...(shortNameMode === "" ? {} : { shortNameMode: shortNameMode as ShortNameMode }),
    ...(signaturePolicy === "" ? {} : { policyFile: signaturePolicy }),
    ...(globalAuthFile === "" ? {} : { globalAuthFile }),
    ...(namespacedAuthDir === "" ? {} : { namespacedAuthDirectory: namespacedAuthDir }),
  };
}
