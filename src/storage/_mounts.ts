import type { IdMaps } from "../base/id_maps.ts";
import { NotFoundError, UnavailableError } from "../base/errors.ts";
import { openUserNamespace } from "../linux/user_namespace.ts";
import { isMountPoint, unmount } from "../linux/mount.ts";
import { type Index, MOUNT_LABEL_FLAG, VOLATILE_FLAG } from "./_index.ts";
import { changeOwners, idMapsOf } from "./_id_maps.ts";
import { ensurePrivate } from "./_open.ts";
import { clearVolatileMark, isLayerMounted, mountLayer, mountMappedView } from "./_overlay.ts";
import { number, object, type RawRecord, type RecordTransaction, text } from "./_records.ts";
import type { MappedMount } from "./types.ts";

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
  options: Waiting & MappedMount & { readonly mountOptions: readonly string[]; readonly mapsIds: boolean },
): Promise<string> {
  const maps = idMapsOf(await recordOf(index, id, options));
  await using made = maps === undefined || !options.mapsIds || options.userNamespace !== undefined
    ? undefined
    : await openUserNamespace(maps, options);
  const userNamespace = options.mapsIds ? options.userNamespace ?? made?.path : undefined;
  const layer = await mountContainerLayer(index, id, {
    ...options,
    ...(maps === undefined || userNamespace === undefined ? {} : { userNamespace }),
  });
  if (maps !== undefined && !layer.mapped) await ownByMaps(index, layer, maps);
  return layer.path;
}

async function mountContainerLayer(
  index: Index,
  id: string,
  options: Waiting & MappedMount & { readonly mountOptions: readonly string[] },
): Promise<Mounted> {
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
  const recorded = layerId !== undefined && (layers.get(layerId) ?? (await index.homes.foreignLayers()).get(layerId));
  if (layerId === undefined || recorded === undefined) {
    throw new NotFoundError(`top layer of image ${imageId}`, layerId ?? "");
  }
  return (await mountCounted(index, layerId, { ...options, readonly: true, volatile: false, mountLabel: "" })).path;
}

/**
 * Mounts an image read-only on `target`, shown by the maps of a user namespace. The image has to be mounted by
 * {@link mountImage} for as long.
 *
 * @returns whether its file system could show them
 */
export async function mountImageMapped(
  index: Index,
  imageId: string,
  options: Waiting & {
    readonly target: string;
    readonly userNamespace: string;
    readonly mountOptions: readonly string[];
  },
): Promise<boolean> {
  const layerId = await topLayerOf(index, imageId, options);
  if (layerId === undefined) throw new NotFoundError(`top layer of image ${imageId}`, "");
  return await mountMappedView(index, layerId, options);
}

/** Where the owners were changed once, they stay so: a second change would map mapped ids again. */
async function ownByMaps(index: Index, { path, layerId }: Mounted, maps: IdMaps): Promise<void> {
  const mark = `${index.layout.layer(layerId)}/owned`;
  if (await Deno.stat(mark).then(() => true, () => false)) return;
  index.logger.warn(
    "this file system cannot show mapped ids: the owners of a container's files are changed one by one",
    {
      layer: layerId,
    },
  );
  await changeOwners(path, maps);
  await Deno.writeTextFile(mark, "");
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

interface Mounted {
  readonly path: string;
  readonly layerId: string;
  /** Whether ids are shown as asked. */
  readonly mapped: boolean;
}

interface MountChoice extends Waiting, MappedMount {
  readonly readonly: boolean;
  readonly volatile: boolean;
  readonly mountLabel: string;
  readonly mountOptions: readonly string[];
}

/** Runs under the lock of the layers: containers/storage rewrites the mounts under that one too. */
async function mountCounted(index: Index, layerId: string, choice: MountChoice): Promise<Mounted> {
  using mounts = await index.mounts.begin(choice);
  const directory = await index.places.mountDirectory(layerId);
  const merged = `${directory}/merged`;
  const mounted = await isLayerMounted(directory);
  const mapped = mounted || (await mountLayer(index, layerId, choice)).mapped;
  const before = mounted ? number(mounts.get(layerId) ?? {}, "count") ?? 0 : 0;
  mounts.put({ id: layerId, path: merged, count: before + 1 });
  try {
    await mounts.save();
  } catch (error) {
    if (!mounted) await unmount(merged, { detach: true });
    throw error;
  }
  return { path: merged, layerId, mapped: mapped && (mounted || choice.userNamespace !== undefined) };
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
  const directory = await index.places.mountDirectory(layerId);
  if (await isLayerMounted(directory)) await unmount(`${directory}/merged`, { detach: force });
  if (index.places.isOwn(directory)) await clearVolatileMark(`${directory}/work/work/incompat`);
  else await Deno.remove(directory, { recursive: true }).catch(() => {});
  mounts.remove(layerId);
  await mounts.save();
  return true;
}

/** @throws NotFoundError when the image is not there; undefined when it has no layers */
export async function topLayerOf(index: Index, imageId: string, options: Waiting): Promise<string | undefined> {
  return await index.homes.topLayer(imageId, options);
}

async function recordOf(index: Index, id: string, options: Waiting): Promise<RawRecord> {
  const container = (await index.containers.read(options)).get(id);
  if (container === undefined) throw new NotFoundError("container", id);
  return container;
}
