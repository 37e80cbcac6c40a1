import { NotFoundError, UnavailableError } from "../base/errors.ts";
import { isMountPoint, unmount } from "../linux/mount.ts";
import { type Index, MOUNT_LABEL_FLAG, VOLATILE_FLAG } from "./_index.ts";
import { ensurePrivate } from "./_open.ts";
import { clearVolatileMark, isLayerMounted, mountLayer } from "./_overlay.ts";
import { number, object, type RawRecord, type RecordTransaction, text } from "./_records.ts";

interface Waiting {
  readonly signal?: AbortSignal;
}

/**
 * Mounts the container's root file system, or counts one more user of it, and gives its path.
 *
 * @throws NotFoundError when there is no such container
 */
export async function mountContainer(
  index: Index,
  id: string,
  options: Waiting & { readonly mountOptions: readonly string[] },
): Promise<string> {
  using layers = await beginMount(index, options);
  const container = await recordOf(index, id, options);
  const layerId = text(container, "layer") ?? "";
  const mountLabel = text(object(container, "flags"), MOUNT_LABEL_FLAG) ?? "";
  if (layers.get(layerId) === undefined) throw new NotFoundError(`layer of container ${id}`, layerId);
  const volatile = object(container, "flags")[VOLATILE_FLAG] === true;
  return await mountCounted(index, layerId, { ...options, readonly: false, volatile, mountLabel });
}

/** Mounts an image's top layer read-only, or counts one more user of it. */
export async function mountImage(
  index: Index,
  imageId: string,
  options: Waiting & { readonly mountOptions: readonly string[] },
): Promise<string> {
  using layers = await beginMount(index, options);
  const layerId = await topLayerOf(index, imageId, options);
  if (layerId === undefined || layers.get(layerId) === undefined) {
    throw new NotFoundError(`top layer of image ${imageId}`, layerId ?? "");
  }
  return await mountCounted(index, layerId, { ...options, readonly: true, volatile: false, mountLabel: "" });
}

/**
 * Counts one user less of the container's mount; the last one ends it. Succeeds when it is not mounted.
 *
 * @param options.force ends it whatever the count, and even when it is busy
 * @returns whether it is unmounted now
 */
export async function unmountContainer(
  index: Index,
  id: string,
  options: Waiting & { readonly force?: boolean } = {},
): Promise<boolean> {
  const container = (await index.containers.read(options)).get(id);
  if (container === undefined) return true;
  using _layers = await index.layers.begin(options);
  return await unmountCounted(index, text(container, "layer") ?? "", options);
}

/** Counts one user less of an image's mount, see {@link unmountContainer}. */
export async function unmountImage(
  index: Index,
  imageId: string,
  options: Waiting & { readonly force?: boolean } = {},
): Promise<boolean> {
  const layerId = await topLayerOf(index, imageId, options);
  if (layerId === undefined) return true;
  using _layers = await index.layers.begin(options);
  return await unmountCounted(index, layerId, options);
}

/** Times that another tool may end between our two looks before we give up. */
const MOUNT_POINT_TRIES = 20;

/**
 * Takes the lock of the layers with `overlay` being a mount point. That is made before, not under the lock: other tools
 * take storage.lock first and the lock of the layers then.
 */
async function beginMount(index: Index, options: Waiting): Promise<RecordTransaction> {
  for (let tries = 0; tries < MOUNT_POINT_TRIES; tries++) {
    await ensurePrivate(index.layout, { ...options, logger: index.logger });
    const layers = await index.layers.begin(options);
    if (isMountPoint(index.layout.overlay) !== false) return layers;
    layers[Symbol.dispose]();
  }
  throw new UnavailableError(`${index.layout.overlay} is unmounted by another program again and again`);
}

interface MountChoice extends Waiting {
  readonly readonly: boolean;
  readonly volatile: boolean;
  readonly mountLabel: string;
  readonly mountOptions: readonly string[];
}

/** Runs under the lock of the layers: containers/storage rewrites the mounts under that one too. */
async function mountCounted(index: Index, layerId: string, choice: MountChoice): Promise<string> {
  using mounts = await index.mounts.begin(choice);
  const merged = `${index.layout.layer(layerId)}/merged`;
  const mounted = await isLayerMounted(index.layout, layerId);
  if (!mounted) await mountLayer(index.layout, layerId, choice);
  const before = mounted ? number(mounts.get(layerId) ?? {}, "count") ?? 0 : 0;
  mounts.put({ id: layerId, path: merged, count: before + 1 });
  try {
    await mounts.save();
  } catch (error) {
    if (!mounted) await unmount(merged, { detach: true });
    throw error;
  }
  return merged;
}

async function unmountCounted(
  index: Index,
  layerId: string,
  options: Waiting & { readonly force?: boolean },
): Promise<boolean> {
  const { force = false } = options;
  using mounts = await index.mounts.begin(options);
  const entry = mounts.get(layerId);
  const count = number(entry ?? {}, "count") ?? 0;
  if (entry !== undefined && count > 1 && !force) {
    mounts.put({ ...entry, id: layerId, count: count - 1 });
    await mounts.save();
    return false;
  }
  const directory = index.layout.layer(layerId);
  if (await isLayerMounted(index.layout, layerId)) await unmount(`${directory}/merged`, { detach: force });
  await clearVolatileMark(`${directory}/work/work/incompat`);
  mounts.remove(layerId);
  await mounts.save();
  return true;
}

/** @throws NotFoundError when the image is not there; undefined when it has no layers */
export async function topLayerOf(index: Index, imageId: string, options: Waiting): Promise<string | undefined> {
  const image = (await index.images.read(options)).get(imageId);
  if (image === undefined) throw new NotFoundError("image", imageId);
  return text(image, "layer");
}

async function recordOf(index: Index, id: string, options: Waiting): Promise<RawRecord> {
  const container = (await index.containers.read(options)).get(id);
  if (container === undefined) throw new NotFoundError("container", id);
  return container;
}
