import {
  AlreadyExistsError,
  FailedPreconditionError,
  InvalidArgumentError,
  NotFoundError,
  UnavailableError,
} from "../base/errors.ts";
import { randomHex } from "../base/ids.ts";
import { isMountPoint, unmount } from "../linux/mount.ts";
import { CONTAINER_FLAG, type Index, VOLATILE_FILE } from "./_index.ts";
import { isId } from "./layout.ts";
import { ensurePrivate } from "./_open.ts";
import {
  clearVolatileMark,
  installLayer,
  isLayerMounted,
  mountLayer,
  NO_PARENT,
  parentLayer,
  prepareLayer,
} from "./_overlay.ts";
import { number, object, type RawRecord, type RecordTransaction, strings, text } from "./_records.ts";
import { discardLayer } from "./_removal.ts";
import type { Stage } from "./_stage.ts";
import { detachBelow, removeTree, settleAll } from "./_trees.ts";
import type { ContainerCreation, StoredContainer } from "./types.ts";

const VOLATILE_FLAG = "Volatile";
const MOUNT_LABEL_FLAG = "MountLabel";
const PROCESS_LABEL_FLAG = "ProcessLabel";

interface Waiting {
  readonly signal?: AbortSignal;
}

/** A container's record as data. */
export function describeContainer(record: RawRecord): StoredContainer {
  return {
    id: text(record, "id") ?? "",
    names: strings(record, "names"),
    imageId: text(record, "image"),
    layerId: text(record, "layer") ?? "",
    metadata: text(record, "metadata") ?? "",
    created: text(record, "created") ?? "1970-01-01T00:00:00Z",
    mountLabel: text(object(record, "flags"), MOUNT_LABEL_FLAG) ?? "",
  };
}

/**
 * Makes a container: its writable layer is prepared out of sight, then renamed into place while both tables are locked.
 *
 * @throws AlreadyExistsError for an id or name that is taken; NotFoundError when the image is not there
 */
export async function createContainer(
  index: Index,
  creation: ContainerCreation,
  options: Waiting & { readonly session: Stage },
): Promise<StoredContainer> {
  const { id, imageId } = creation;
  if (!isId(id)) throw new InvalidArgumentError(`container id ${JSON.stringify(id)} is not 64 hex digits`);
  const parent = imageId === undefined ? undefined : await topLayerOf(index, imageId, options);
  const layerId = randomHex(32);
  const below = parent === undefined ? NO_PARENT : await parentLayer(index.layout, parent);
  const away = `${options.session.directory}/layers/${layerId}`;
  const { layout } = index;
  const places = [`${layout.container(id)}/userdata`, `${layout.containerRun(id)}/userdata`];
  try {
    const prepared = await prepareLayer(away, { parent: below, root: below.root, makeDiff: true });
    using layers = await index.layers.begin(options);
    // An image is deleted under the lock of the layers, which is ours now.
    if (imageId !== undefined && await topLayerOf(index, imageId, options) !== parent) {
      throw new FailedPreconditionError(`image ${imageId} changed while a container was made of it: try again`);
    }
    using containers = await index.containers.begin(options);
    checkFree(containers, creation);
    const file = creation.volatile === false ? 0 : VOLATILE_FILE;
    const record = containerRecord(creation, layerId);
    layers.put(layerRecord(creation, { layerId, parent }), { file });
    containers.put(record, { file });
    try {
      await settleAll([
        installLayer(index, layerId, prepared),
        ...places.map((path) => Deno.mkdir(path, { recursive: true, mode: 0o700 })),
        layers.save(),
      ]);
      // Last: a container that is recorded can be mounted and deleted, whatever happened before a crash.
      await containers.save();
    } catch (error) {
      await undoCreate(index, { id, layerId, layers, containers });
      throw error;
    }
    return describeContainer(record);
  } catch (error) {
    await removeTree(away);
    throw error;
  }
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
  const { layerId, mountLabel } = describeContainer(container);
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
  return await unmountCounted(index, describeContainer(container).layerId, options);
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

/** Unmounts and deletes a container with its layer and directories; succeeds when there is none. */
export async function deleteContainer(index: Index, id: string, options: Waiting = {}): Promise<void> {
  const { layout, trash } = index;
  if (!isId(id)) return;
  const container = (await index.containers.read(options)).get(id);
  if (container === undefined) return;
  const { layerId } = describeContainer(container);
  const places = [layout.container(id), layout.containerRun(id)];
  await detachBelow([layout.layer(layerId), ...places]);
  let owned: boolean;
  {
    using layers = await index.layers.begin(options);
    using mounts = await index.mounts.begin(options);
    using containers = await index.containers.begin(options);
    // Another program may have mounted it since.
    if (await isLayerMounted(layout, layerId)) await unmount(`${layout.layer(layerId)}/merged`, { detach: true });
    mounts.remove(layerId);
    // A damaged record must not take an image's layer along.
    owned = isId(layerId) && text(layers.get(layerId) ?? {}, "diff-digest") === undefined;
    if (owned) layers.remove(layerId);
    containers.remove(id);
    // The container's record goes last: a crash before it leaves something that can be deleted again.
    await settleAll([mounts.save(), layers.save()]);
    await containers.save();
  }
  if (owned) await discardLayer(index, layerId);
  await settleAll(places.map((path) => trash.discard(path)));
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

async function undoCreate(
  index: Index,
  made: { id: string; layerId: string; layers: RecordTransaction; containers: RecordTransaction },
): Promise<void> {
  const { id, layerId, layers, containers } = made;
  containers.remove(id);
  layers.remove(layerId);
  await settleAll([
    layers.save(),
    containers.save(),
    discardLayer(index, layerId),
    index.trash.discard(index.layout.container(id)),
    index.trash.discard(index.layout.containerRun(id)),
  ]);
}

function checkFree(containers: RecordTransaction, creation: ContainerCreation): void {
  if (containers.get(creation.id) !== undefined) {
    throw new AlreadyExistsError(`container ${creation.id} is in the store already`);
  }
  for (const other of containers.values()) {
    const taken = strings(other, "names").find((name) => creation.names.includes(name));
    if (taken === undefined) continue;
    const holder = text(other, "id");
    throw new AlreadyExistsError(
      `container name ${JSON.stringify(taken)} is taken by container ${holder} of the store`,
    );
  }
}

function containerRecord(creation: ContainerCreation, layerId: string): RawRecord & { readonly id: string } {
  const { id, names, imageId, metadata, volatile = true, mountLabel = "", processLabel = "" } = creation;
  return {
    id,
    names,
    ...(imageId === undefined ? {} : { image: imageId }),
    layer: layerId,
    metadata,
    created: new Date().toISOString(),
    flags: {
      [MOUNT_LABEL_FLAG]: mountLabel,
      [PROCESS_LABEL_FLAG]: processLabel,
      ...(volatile ? { [VOLATILE_FLAG]: true } : {}),
    },
  };
}

function layerRecord(
  creation: ContainerCreation,
  layer: { layerId: string; parent: string | undefined },
): RawRecord & { readonly id: string } {
  const [name] = creation.names;
  return {
    id: layer.layerId,
    ...(name === undefined ? {} : { names: [`${name}-layer`] }),
    ...(layer.parent === undefined ? {} : { parent: layer.parent }),
    ...(creation.mountLabel === undefined || creation.mountLabel === "" ? {} : { mountlabel: creation.mountLabel }),
    created: new Date().toISOString(),
    flags: { [CONTAINER_FLAG]: creation.id },
  };
}

async function topLayerOf(index: Index, imageId: string, options: Waiting): Promise<string | undefined> {
  const image = (await index.images.read(options)).get(imageId);
  if (image === undefined) throw new NotFoundError("image", imageId);
  return text(image, "layer");
}

async function recordOf(index: Index, id: string, options: Waiting): Promise<RawRecord> {
  const container = (await index.containers.read(options)).get(id);
  if (container === undefined) throw new NotFoundError("container", id);
  return container;
}
