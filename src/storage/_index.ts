import type { Digest } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import type { LayerRoot, Layout } from "./layout.ts";
import { number, object, type RawRecord, RecordTable, strings, text } from "./_records.ts";
import type { AdditionalStore } from "./_additional.ts";
import { Homes } from "./_homes.ts";
import { Places } from "./_places.ts";
import { StoreRoot } from "./_root.ts";
import { Stage } from "./_stage.ts";
import { StoreLock } from "./_store_lock.ts";
import { Trash } from "./_trees.ts";
import type { PresentLayer } from "./types.ts";

/** Our flag on the layer of a container: a crash between two records is told by it. */
export const CONTAINER_FLAG = "io.crio.container";
/** Flags of containers/storage on a container. */
export const VOLATILE_FLAG = "Volatile";
export const MOUNT_LABEL_FLAG = "MountLabel";
const INCOMPLETE_FLAG = "incomplete";
/** Index of the volatile file in the tables that have one. */
export const VOLATILE_FILE = 1;

/** How a directory of layers is worked in: renames, deletions, and what this process has under way there. */
export interface Area {
  readonly root: StoreRoot;
  readonly session: Stage;
  readonly trash: Trash;
}

/** Opens a directory of layers for work; `stack` closes it. */
export async function openArea(stack: AsyncDisposableStack, place: LayerRoot, logger: Logger): Promise<Area> {
  const root = await StoreRoot.open(place, logger);
  stack.defer(() => root[Symbol.dispose]());
  const session = stack.use(await Stage.create(root));
  const rename = (from: string, to: string): Promise<void> => root.rename(from, to);
  return { root, session, trash: stack.use(new Trash({ directory: session.directory, rename, logger })) };
}

/** The records of a store, and where what they name is. */
export interface Tables extends Disposable {
  readonly layout: Layout;
  readonly layers: RecordTable;
  readonly mounts: RecordTable;
  readonly images: RecordTable;
  /** Images from before there was an image store. Its lock comes after that of `images`. */
  readonly formerImages: RecordTable | undefined;
  readonly containers: RecordTable;
  readonly places: Places;
  readonly homes: Homes;
}

/**
 * The four tables of a store. Locks are taken in this order, as containers/storage does: layers, mounts, images,
 * containers.
 */
export interface Index extends Tables {
  readonly root: StoreRoot;
  readonly logger: Logger;
  readonly trash: Trash;
  /** Where layers of images go: the image store, or the graph root as well. */
  readonly imageArea: Area;
}

/** Opens the lock files; nothing is read yet. */
export function openTables(
  layout: Layout,
  { additional, logger }: { readonly additional: readonly AdditionalStore[]; readonly logger: Logger },
): Tables {
  using locks = new DisposableStack();
  const table = (lockPath: string, files: ConstructorParameters<typeof RecordTable>[1]): RecordTable =>
    new RecordTable(locks.use(new StoreLock(lockPath, logger)), files);
  const layers = table(`${layout.layers}/layers.lock`, [
    { path: `${layout.layers}/layers.json`, durable: true },
    { path: `${layout.layers}/volatile-layers.json`, durable: false },
  ]);
  const mounts = table(`${layout.runLayers}/mountpoints.lock`, [
    { path: `${layout.runLayers}/mountpoints.json`, durable: false },
  ]);
  const imageTable = (directory: string): RecordTable =>
    table(`${directory}/images.lock`, [{ path: `${directory}/images.json`, durable: true }]);
  const images = imageTable(layout.images);
  const formerImages = layout.formerImages === undefined ? undefined : imageTable(layout.formerImages);
  const containers = table(`${layout.containers}/containers.lock`, [
    { path: `${layout.containers}/containers.json`, durable: true },
    { path: `${layout.containers}/volatile-containers.json`, durable: false },
  ]);
  const tables = { layers, mounts, images, formerImages, containers };
  const places = new Places(layout, additional.map((store) => store.root));
  const homes = new Homes(layout, tables, additional);
  const held = locks.move();
  return { ...tables, layout, places, homes, [Symbol.dispose]: () => held.dispose() };
}

export function openIndex(
  layout: Layout,
  options: {
    readonly own: Area;
    readonly imageArea: Area;
    readonly additional: readonly AdditionalStore[];
    readonly logger: Logger;
  },
): Index {
  const { own: { root, trash }, imageArea, logger } = options;
  const tables = openTables(layout, options);
  return { ...tables, root, logger, trash, imageArea, [Symbol.dispose]: () => tables[Symbol.dispose]() };
}

/** Whether a layer's creation was not finished: containers/storage deletes such a layer when it next writes. */
export function isIncomplete(layer: RawRecord): boolean {
  return object(layer, "flags")[INCOMPLETE_FLAG] === true;
}

/** The container of ours that a layer was made for. */
export function containerOfLayer(layer: RawRecord): string | undefined {
  return text(object(layer, "flags"), CONTAINER_FLAG);
}

/**
 * The leading layers of a chain that are in the index: by the id that c/image computes, else any image layer on the
 * same parent with the same uncompressed digest.
 */
export async function findChain(
  layers: ReadonlyMap<string, RawRecord>,
  chain: readonly Digest[],
): Promise<PresentLayer[]> {
  const present: PresentLayer[] = [];
  let parent: string | undefined;
  for (const diffId of chain) {
    const id: string = await chainLayerId(parent, diffId);
    const record = matches(layers.get(id), parent, diffId) ?? searchChild(layers, parent, diffId);
    const found = record === undefined ? undefined : text(record, "id");
    if (record === undefined || found === undefined) break;
    present.push({
      id: found,
      diffId,
      digest: text(record, "compressed-diff-digest") as Digest | undefined,
      compressedSizeBytes: number(record, "compressed-size"),
      uncompressedSizeBytes: number(record, "diff-size"),
    });
    parent = found;
  }
  return present;
}

/** The layer id that c/image gives: the diff ID's hex of a base layer, else SHA-256 of `<parent id>+<diff ID hex>`. */
export async function chainLayerId(parent: string | undefined, diffId: Digest): Promise<string> {
  const hex = diffId.slice(diffId.indexOf(":") + 1);
  if (parent === undefined) return hex;
  return await sha256Hex(new TextEncoder().encode(`${parent}+${hex}`));
}

/** SHA-256 as hex. */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes))).toHex();
}

function matches(record: RawRecord | undefined, parent: string | undefined, diffId: Digest): RawRecord | undefined {
  if (record === undefined || isIncomplete(record)) return undefined;
  return text(record, "parent") === parent && text(record, "diff-digest") === diffId ? record : undefined;
}

function searchChild(
  layers: ReadonlyMap<string, RawRecord>,
  parent: string | undefined,
  diffId: Digest,
): RawRecord | undefined {
  for (const record of layers.values()) {
    const plain = record["uidmap"] === undefined && record["gidmap"] === undefined;
    if (plain && strings(record, "names").length === 0 && matches(record, parent, diffId) !== undefined) return record;
  }
  return undefined;
}

/** The layers from `top` down to the base, as far as they are recorded; ends at a loop. */
export function* chainOf(
  layers: { get(id: string): RawRecord | undefined },
  top: string | undefined,
): IterableIterator<RawRecord> {
  const seen = new Set<string>();
  for (let id = top; id !== undefined && !seen.has(id);) {
    seen.add(id);
    const record = layers.get(id);
    if (record === undefined) return;
    yield record;
    id = text(record, "parent");
  }
}

/** Top layers of an image: its own, and twins with other id maps that podman makes. */
export function topLayers(image: RawRecord): readonly string[] {
  const own = text(image, "layer");
  return [...(own === undefined ? [] : [own]), ...strings(image, "mapped-layers")];
}
