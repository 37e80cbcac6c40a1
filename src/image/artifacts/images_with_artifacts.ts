import { FailedPreconditionError, NotFoundError } from "../../base/errors.ts";
import type { ImageId } from "../../base/ids.ts";
import type { PullRequest } from "../image_pull.ts";
import {
  type ContainerImage,
  type FilesystemUse,
  type ImageInfo,
  type Images,
  type ImageStore,
  namesIn,
} from "../images.ts";
import type { ImageTrust } from "../policy/trust.ts";
import { type Artifact, NotAnImageError } from "./artifact.ts";
import type { Artifacts, VolumeFile } from "./artifacts.ts";

/** What marks an artifact as a profile, for CRI-O as well. */
const SECCOMP_CONFIG = "application/vnd.cncf.seccomp-profile.config.v1+json";
/** CRI-O's limit for the content of an artifact that is read whole. */
const MAX_PROFILE_BYTES = 1024 * 1024;

interface Cancellable {
  readonly signal?: AbortSignal;
}

export interface ImagesWithArtifactsDeps {
  readonly images: Images;
  readonly artifacts: Artifacts;
  readonly store: Pick<ImageStore, "findImage" | "removeNames">;
  /** Asked again when an artifact is used, as it is for images. */
  readonly trust: Pick<ImageTrust, "check">;
}

/** Who uses an artifact, and what they call it. */
interface Use extends Cancellable {
  /** What stands in the pod's manifest, where the reference is an id. */
  readonly specified?: string;
  readonly namespace?: string;
}

/** What the CRI sees: images, and artifacts as if they were images. A name is either's; an image comes first. */
export class ImagesWithArtifacts {
  constructor(private readonly deps: ImagesWithArtifactsDeps) {}

  async list(options: Cancellable = {}): Promise<readonly ImageInfo[]> {
    const { images, artifacts } = this.deps;
    const [listed, others] = await Promise.all([images.list(options), artifacts.list()]);
    return others.length === 0 ? listed : [...listed, ...others.map((one) => artifacts.info(one))];
  }

  /** See {@link Images.find}. */
  async find(reference: string, options: Cancellable = {}): Promise<ImageInfo | undefined> {
    const image = await this.deps.images.find(reference, options);
    if (image !== undefined) return image;
    const artifact = await this.artifact(reference);
    return artifact === undefined ? undefined : this.deps.artifacts.info(artifact);
  }

  /** The artifact that an id, an id prefix or a name means. */
  async artifact(reference: string): Promise<Artifact | undefined> {
    return await this.deps.artifacts.find(await this.deps.images.meanings(reference));
  }

  /** See {@link Images.resolve}. @throws FailedPreconditionError for an artifact: no container is made of one */
  async resolve(
    reference: string,
    options: Cancellable & { readonly specified?: string; readonly namespace?: string } = {},
  ): Promise<ContainerImage> {
    try {
      return await this.deps.images.resolve(reference, options);
    } catch (error) {
      const artifact = error instanceof NotFoundError ? await this.artifact(reference) : undefined;
      if (artifact === undefined) throw error;
      throw new NotAnImageError(
        `${reference} is an artifact (${artifact.manifest.artifactType}), no container image: mount it as a volume`,
        { cause: error },
      );
    }
  }

  /**
   * The files of an artifact that a volume shows.
   *
   * @returns undefined when there is no such artifact
   * @throws see {@link Artifacts.volumeFiles}; what {@link ImageTrust.check} throws when it may not be used
   */
  async volume(
    reference: string,
    use: Use = {},
  ): Promise<{ readonly id: ImageId; readonly files: readonly VolumeFile[] } | undefined> {
    const artifact = await this.artifact(reference);
    if (artifact === undefined) return undefined;
    await this.#check(artifact, { ...use, specified: use.specified || reference });
    return { id: artifact.id, files: await this.deps.artifacts.volumeFiles(artifact) };
  }

  /**
   * The seccomp profile in an artifact. One that is on the node is taken as it is: a container's start should not wait for a
   * registry, and a tag that moves is pulled when somebody pulls it.
   *
   * @throws FailedPreconditionError when it is none; what {@link Images.pull} throws
   */
  async seccompProfile(
    reference: string,
    options: { readonly namespace: string; readonly signal: AbortSignal },
  ): Promise<string> {
    const { signal, namespace } = options;
    let artifact = await this.artifact(reference);
    if (artifact === undefined && await this.deps.images.find(reference, { signal }) === undefined) {
      await this.pull({ image: reference, pod: { namespace } }, { signal });
      artifact = await this.artifact(reference);
    }
    if (artifact === undefined) throw new FailedPreconditionError("it is a container image, no artifact");
    await this.#check(artifact, { ...options, specified: reference });
    const { config, artifactType } = artifact.manifest;
    if (config.mediaType !== SECCOMP_CONFIG) {
      throw new FailedPreconditionError(
        `it holds no seccomp profile: its configuration (${config.mediaType}, artifact type ${artifactType}) is not of ` +
          `the type ${SECCOMP_CONFIG}`,
      );
    }
    return new TextDecoder().decode(await this.deps.artifacts.readFirst(artifact, { maxBytes: MAX_PROFILE_BYTES }));
  }

  /** See {@link Images.pull}. The name that was asked for is taken from an artifact or image that had it. */
  async pull(request: PullRequest, options: Cancellable = {}): Promise<ImageId> {
    const { images, artifacts, store } = this.deps;
    const id = await images.pull(request, options);
    const all = await artifacts.list();
    if (all.length === 0) return id;
    const names = await images.meanings(request.image);
    if (all.some((one) => one.id === id)) {
      for (const name of names) {
        const image = await store.findImage(name, options);
        if (image !== undefined && image.names.includes(name)) await store.removeNames(image.id, [name], options);
      }
    } else if (all.some((one) => one.names.some((name) => names.includes(name)))) {
      await artifacts.own.remove((entry) => names.includes(entry.name));
    }
    return id;
  }

  /** The policy is asked under the names that the text has on this node, else under what it says. */
  async #check(artifact: Artifact, use: Use & { readonly specified: string }): Promise<void> {
    const { specified, namespace, signal = new AbortController().signal } = use;
    const { id, names, digest, indexDigests } = artifact;
    const repoDigests = this.deps.artifacts.info(artifact).repoDigests;
    const meant = namesIn(await this.deps.images.meanings(specified), { id, names: [...names, ...repoDigests] });
    const kept = { id, names, digests: [digest, ...indexDigests] };
    await this.deps.trust.check(kept, { meant, namespace, signal });
  }

  /** See {@link Images.remove} and {@link Artifacts.remove}. */
  async remove(reference: string, options: Cancellable = {}): Promise<void> {
    const { images, artifacts } = this.deps;
    if (await images.find(reference, options) !== undefined) return await images.remove(reference, options);
    const meanings = await images.meanings(reference);
    const artifact = await artifacts.find(meanings);
    if (artifact !== undefined) await artifacts.remove(artifact, meanings);
  }

  /** Artifacts lie beside the layers and count with them. */
  async fsInfo(): Promise<
    { readonly images: readonly FilesystemUse[]; readonly containers: readonly FilesystemUse[] }
  > {
    const [use, all] = await Promise.all([this.deps.images.fsInfo(), this.deps.artifacts.list()]);
    const own = all.filter(({ readOnly }) => !readOnly);
    const [first, ...rest] = use.images;
    if (own.length === 0 || first === undefined) return use;
    const bytes = own.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const files = own.reduce((sum, { manifest }) => sum + manifest.layers.length + 2, 0);
    const more = { ...first, usedBytes: first.usedBytes + bytes, inodesUsed: first.inodesUsed + files };
    const sameMount = ({ mountpoint }: FilesystemUse): boolean => mountpoint === first.mountpoint;
    return { images: [more, ...rest], containers: use.containers.map((one) => sameMount(one) ? more : one) };
  }

  /** See {@link Images.config}; of an artifact its manifest's content. */
  async config(reference: string, options: Cancellable = {}): Promise<unknown> {
    try {
      return await this.deps.images.config(reference, options);
    } catch (error) {
      const artifact = error instanceof NotFoundError ? await this.artifact(reference) : undefined;
      if (artifact === undefined) throw error;
      const { artifactType, config, layers } = artifact.manifest;
      return { artifactType, config, layers, annotations: artifact.annotations };
    }
  }
}
