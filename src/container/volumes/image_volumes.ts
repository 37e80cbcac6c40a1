import { atStage, messageOf, NotFoundError } from "../../base/errors.ts";
import { type IdMaps, idMapText } from "../../base/id_maps.ts";
import { parseImageId } from "../../base/ids.ts";
import { KeyedMutex } from "../../base/keyed_mutex.ts";
import type { Logger } from "../../base/logger.ts";
import { bindMount, isMountPoint, unmount } from "../../linux/mount.ts";
import { bindInRoot } from "../../linux/rooted.ts";
import type { RecordStore } from "../../state/record_store.ts";
import type { ImageSource } from "../ports.ts";
import type { Store } from "../../storage/store.ts";
import type { PodUserNamespace } from "../user_namespace.ts";
import type { ContainerRecord, MountRequest } from "../types.ts";

/** What the store does for image volumes. */
export interface ImageMounts {
  /** Mounts an image read-only, or counts one more user of it, and gives the path. */
  mountImage(id: string): Promise<string>;
  /** Mounts an image that is mounted already once more on `target`, as a user namespace sees it. */
  mountImageMapped(id: string, options: { target: string; userNamespace: string }): Promise<boolean>;
  /** Counts one user less. Succeeds when it is not mounted. */
  unmountImage(id: string): Promise<void>;
}

export interface ImageVolumeDeps {
  readonly records: RecordStore<ContainerRecord>;
  readonly images: ImageSource;
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
    },
  ): Promise<OpenedImageVolume> {
    try {
      const { id: imageId } = await this.deps.images.resolve(reference, { ...options, specified });
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

  async #acquire(
    containerId: string,
    imageId: string,
    { signal, user }: { signal: AbortSignal; user: PodUserNamespace | undefined },
  ): Promise<string> {
    const { directory, records, mounts, log } = this.deps;
    const name = user === undefined ? imageId : `${imageId}${await markOf(user.maps)}`;
    const target = `${directory}/${name}`;
    using _lock = await this.#locks.acquire(name, { signal });
    await records.update(containerId, (now) => ({
      ...now,
      imageVolumes: [...new Set([...now.imageVolumes ?? [], name])],
    }));
    await Deno.mkdir(target, { recursive: true, mode: 0o755 });
    if (isMountPoint(target) === true) return target;
    const mounted = await mounts.mountImage(imageId);
    if (user === undefined) bindMount(mounted, target, { readonly: true });
    else if (!await mounts.mountImageMapped(imageId, { target, userNamespace: user.path })) {
      log.warn("the file system of the store cannot map ids: an image volume belongs to nobody", {
        container: containerId,
      });
    }
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
