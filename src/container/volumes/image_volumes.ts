import { atStage, FailedPreconditionError, messageOf, NotFoundError } from "../../base/errors.ts";
import { type IdMaps, idMapText } from "../../base/id_maps.ts";
import { parseImageId } from "../../base/ids.ts";
import { KeyedMutex } from "../../base/keyed_mutex.ts";
import type { Logger } from "../../base/logger.ts";
import { NotAnImageError } from "../../image/artifacts/artifact.ts";
import { bindMount, isMountPoint, unmount } from "../../linux/mount.ts";
import { bindInRoot } from "../../linux/rooted.ts";
import { sharedLabel } from "../../security/selinux/label.ts";
import type { RecordStore } from "../../state/record_store.ts";
import type { ImageSource } from "../ports.ts";
import type { Store } from "../../storage/store.ts";
import type { PodUserNamespace } from "../user_namespace.ts";
import type { ContainerRecord, MountRequest } from "../types.ts";
import { type ArtifactFile, checkThere, filesAt, labelFiles, mountPlaceholders } from "./artifact_mount.ts";

/** What the store does for image volumes. */
export interface ImageMounts {
  /** Mounts an image read-only, or counts one more user of it, and gives the path. */
  mountImage(id: string): Promise<string>;
  /** Mounts an image that is mounted already once more on `target`, as a user namespace sees it. */
  mountImageMapped(id: string, options: { target: string; userNamespace: string }): Promise<boolean>;
  /** Counts one user less. Succeeds when it is not mounted. */
  unmountImage(id: string): Promise<void>;
}

/** Finds artifacts, for volumes of those. */
export interface ArtifactSource {
  /** @returns undefined when there is none with this id or name */
  volume(
    reference: string,
    use: { readonly signal: AbortSignal; readonly specified: string; readonly namespace: string },
  ): Promise<{ readonly id: string; readonly files: readonly ArtifactFile[] } | undefined>;
}

export interface ImageVolumeDeps {
  readonly records: RecordStore<ContainerRecord>;
  readonly images: ImageSource;
  readonly artifacts: ArtifactSource;
  /** `oci_artifact_mount_support`. */
  readonly mountsArtifacts: boolean;
  readonly mounts: ImageMounts;
  /** Images are mounted at `<directory>/<image id>`, one mount for all containers. */
  readonly directory: string;
  readonly log: Logger;
}

/** Digits of an image id, with which the name of a mount begins. */
const IMAGE_ID_LENGTH = 64;

/** What tells an image's mounts for different user namespaces apart. */
async function markOf(maps: IdMaps): Promise<string> {
  const text = new TextEncoder().encode(`${idMapText(maps.uidMaps)}/${idMapText(maps.gidMaps)}`);
  return `-${new Uint8Array(await crypto.subtle.digest("SHA-256", text)).toHex().slice(0, 16)}`;
}

/** Image volumes with images from the shared store. */
export function openImageVolumes(
  directory: string,
  deps: Omit<ImageVolumeDeps, "directory" | "mounts"> & { readonly store: Store },
): ImageVolumes {
  const { store, ...rest } = deps;
  return new ImageVolumes({
    ...rest,
    directory,
    mounts: {
      mountImage: (id) => store.mountImage(parseImageId(id)),
      mountImageMapped: (id, options) => store.mountImageMapped(parseImageId(id), options),
      unmountImage: async (id): Promise<void> => {
        try {
          await store.unmountImage(parseImageId(id));
        } catch (error) {
          // Its mount went with it.
          if (!(error instanceof NotFoundError)) throw error;
        }
      },
    },
  });
}

/** An image volume that a container can mount. */
export interface OpenedImageVolume {
  readonly source: string;
  readonly imageId: string;
  /** What is bound on its empty files. */
  readonly files?: readonly ArtifactFile[];
}

/**
 * Images as volumes (KEP-4639). Each image is mounted once, for as long as a container's record names it; the record is
 * written before the mount is made, so that whatever a crash leaves can be found.
 */
export class ImageVolumes {
  readonly #locks = new KeyedMutex<string>();

  constructor(private readonly deps: ImageVolumeDeps) {}

  /**
   * Mounts an image for a container, and what lies at `subPath` in it on `place`.
   *
   * @param options.place a path in the container's run directory, where the store unmounts what it finds
   * @throws StageError that begins with `ImageVolumeMountFailed`, by which the kubelet knows it
   */
  async open(
    record: Pick<ContainerRecord, "id">,
    { reference, subPath, specified = "" }: Exclude<MountRequest["image"], undefined>,
    options: {
      readonly place: string;
      readonly signal: AbortSignal;
      readonly user: PodUserNamespace | undefined;
      readonly namespace: string;
      /** SELinux's of the container's files; empty or absent: none. */
      readonly mountLabel?: string;
    },
  ): Promise<OpenedImageVolume> {
    try {
      const found = await this.#find(reference, { ...options, specified });
      if ("files" in found) return await this.#openArtifact(record.id, found, { ...options, subPath });
      const { id: imageId } = found;
      const source = await this.#acquire(record.id, imageId, options);
      if (subPath === "") return { source, imageId };
      bindInRoot(source, subPath, options.place);
      return { source: options.place, imageId };
    } catch (error) {
      throw atStage(`ImageVolumeMountFailed: image ${reference}${subPath === "" ? "" : `, path ${subPath}`}`, error);
    }
  }

  /** Lets the images of a container go that no other container uses. Idempotent. */
  async release({ id, imageVolumes = [] }: ContainerRecord): Promise<void> {
    for (const name of imageVolumes) {
      using _lock = await this.#locks.acquire(name);
      await this.deps.records.update(id, (now) => ({
        ...now,
        imageVolumes: (now.imageVolumes ?? []).filter((other) => other !== name),
      }));
      if (!this.#users().has(name)) await this.#unmount(name);
    }
  }

  /** Unmounts what no container uses: what a crash left between a record and its mount. */
  async sweep(): Promise<void> {
    const users = this.#users();
    for await (const { name } of Deno.readDir(this.deps.directory)) {
      if (users.has(name)) continue;
      try {
        await this.#unmount(name);
        this.deps.log.info("unmounted an image volume that no container uses", { image: name });
      } catch (error) {
        this.deps.log.warn(`an image volume stays mounted: ${messageOf(error)}`, { image: name });
      }
    }
  }

  /** The image that a reference means, else the artifact. */
  async #find(
    reference: string,
    options: { readonly signal: AbortSignal; readonly specified: string; readonly namespace: string },
  ): Promise<{ readonly id: string } | { readonly id: string; readonly files: readonly ArtifactFile[] }> {
    const { images, artifacts, mountsArtifacts } = this.deps;
    try {
      const { id } = await images.resolve(reference, options);
      return { id };
    } catch (error) {
      if (!(error instanceof NotFoundError) && !(error instanceof NotAnImageError)) throw error;
      const artifact = await artifacts.volume(reference, options);
      if (artifact === undefined) throw error;
      if (mountsArtifacts) return artifact;
      throw new FailedPreconditionError(
        "it is an artifact, and this node mounts none: oci_artifact_mount_support is off",
      );
    }
  }

  /**
   * The tree of the files' names, and the files to be bound on it: each is a mount of its own in the container, so what it
   * has stays when the artifact is removed behind our back. Mounts below a mount would not do: runtimes leave them out in
   * user namespaces.
   */
  async #openArtifact(
    containerId: string,
    { id, files }: { readonly id: string; readonly files: readonly ArtifactFile[] },
    options: {
      readonly subPath: string;
      readonly place: string;
      readonly signal: AbortSignal;
      readonly mountLabel?: string;
    },
  ): Promise<OpenedImageVolume> {
    const { subPath, place, signal, mountLabel = "" } = options;
    const found = filesAt(files, subPath);
    const label = sharedLabel(mountLabel);
    const make = (target: string): Promise<void> => mountPlaceholders(target, files, { label });
    const source = await this.#mountFor(containerId, { name: id, signal }, make);
    // From now on nobody removes it; until now somebody might have.
    await checkThere(files);
    if (label !== undefined) await labelFiles(files, label);
    if ("path" in found) return { source: found.path, imageId: id };
    if (subPath === "") return { source, imageId: id, files: found };
    bindInRoot(source, subPath, place);
    return { source: place, imageId: id, files: found };
  }

  async #acquire(
    containerId: string,
    imageId: string,
    { signal, user }: { signal: AbortSignal; user: PodUserNamespace | undefined },
  ): Promise<string> {
    const { mounts, log } = this.deps;
    const name = user === undefined ? imageId : `${imageId}${await markOf(user.maps)}`;
    return await this.#mountFor(containerId, { name, signal }, async (target) => {
      const mounted = await mounts.mountImage(imageId);
      if (user === undefined) bindMount(mounted, target, { readonly: true });
      else if (!await mounts.mountImageMapped(imageId, { target, userNamespace: user.path })) {
        log.warn("the file system of the store cannot map ids: an image volume belongs to nobody", {
          container: containerId,
        });
      }
    });
  }

  /** The mount of that name, made if nobody has made it; the container counts as its user from now on. */
  async #mountFor(
    containerId: string,
    { name, signal }: { readonly name: string; readonly signal: AbortSignal },
    make: (target: string) => Promise<void>,
  ): Promise<string> {
    const { directory, records } = this.deps;
    const target = `${directory}/${name}`;
    using _lock = await this.#locks.acquire(name, { signal });
    await records.update(containerId, (now) => ({
      ...now,
      imageVolumes: [...new Set([...now.imageVolumes ?? [], name])],
    }));
    await Deno.mkdir(target, { recursive: true, mode: 0o755 });
    if (isMountPoint(target) !== true) await make(target);
    return target;
  }

  async #unmount(name: string): Promise<void> {
    const target = `${this.deps.directory}/${name}`;
    await unmount(target, { detach: true });
    await this.deps.mounts.unmountImage(name.slice(0, IMAGE_ID_LENGTH));
    await Deno.remove(target).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }

  #users(): ReadonlySet<string> {
    return new Set([...this.deps.records.values()].flatMap(({ imageVolumes = [] }) => imageVolumes));
  }
}
