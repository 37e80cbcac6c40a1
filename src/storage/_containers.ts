import { AlreadyExistsError, FailedPreconditionError, InvalidArgumentError } from "../base/errors.ts";
import { randomHex } from "../base/ids.ts";
import { unmount } from "../linux/mount.ts";
import { CONTAINER_FLAG, type Index, MOUNT_LABEL_FLAG, VOLATILE_FILE, VOLATILE_FLAG } from "./_index.ts";
import { isId } from "./layout.ts";
import { idMapFields, idMapsOf, mappedRoot } from "./_id_maps.ts";
import { topLayerOf } from "./_mounts.ts";
import { installLayer, isLayerMounted, NO_PARENT, parentLayer, prepareLayer } from "./_overlay.ts";
import { object, type RawRecord, type RecordTransaction, strings, text } from "./_records.ts";
import { discardLayer } from "./_removal.ts";
import type { Stage } from "./_stage.ts";
import { detachBelow, removeTree, settleAll } from "./_trees.ts";
import type { ContainerCreation, StoredContainer } from "./types.ts";

const PROCESS_LABEL_FLAG = "ProcessLabel";

interface Waiting {
  readonly signal?: AbortSignal;
}

/** A container's record as data. */
export function describeContainer(record: RawRecord): StoredContainer {
  const idMaps = idMapsOf(record);
  return {
    id: text(record, "id") ?? "",
    names: strings(record, "names"),
    imageId: text(record, "image"),
    layerId: text(record, "layer") ?? "",
    metadata: text(record, "metadata") ?? "",
    created: text(record, "created") ?? "1970-01-01T00:00:00Z",
    mountLabel: text(object(record, "flags"), MOUNT_LABEL_FLAG) ?? "",
    ...(idMaps === undefined ? {} : { idMaps }),
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
  const below = parent === undefined ? NO_PARENT : await parentLayer(index.places, parent);
  const away = `${options.session.directory}/layers/${layerId}`;
  const { layout } = index;
  const places = [`${layout.container(id)}/userdata`, `${layout.containerRun(id)}/userdata`];
  try {
    const prepared = await prepareLayer(away, {
      parent: below,
      root: mappedRoot(below.root, creation.idMaps),
      makeDiff: true,
    });
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
        installLayer({ place: layout.own, root: index.root }, layerId, prepared),
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
    if (await isLayerMounted(layout.layer(layerId))) await unmount(`${layout.layer(layerId)}/merged`, { detach: true });
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
  const { id, names, imageId, metadata, volatile = true, mountLabel = "", processLabel = "", idMaps } = creation;
  return {
    id,
    names,
    ...(imageId === undefined ? {} : { image: imageId }),
    layer: layerId,
    metadata,
    created: new Date().toISOString(),
    ...idMapFields(idMaps),
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
    ...idMapFields(creation.idMaps),
    flags: { [CONTAINER_FLAG]: creation.id },
  };
}
