import { FailedPreconditionError, NotFoundError } from "../base/errors.ts";
import { chainOf, type Index, topLayers } from "./_index.ts";
import { removeLink } from "./_overlay.ts";
import { readOnly } from "./_image_names.ts";
import { number, type RawRecord, type RecordTransaction, strings, text } from "./_records.ts";
import type { Stage } from "./_stage.ts";
import { codeOf, detachBelow, removeTree } from "./_trees.ts";

interface Waiting {
  readonly signal?: AbortSignal;
}

/** Layers that something other than the removed tops needs. */
interface Roots {
  readonly images: Iterable<RawRecord>;
  readonly containers: Iterable<RawRecord>;
  readonly mounts: Iterable<RawRecord>;
}

/**
 * Deletes an image and the layers that nothing else uses. The record goes first, so a crash leaves unused layers at
 * worst, which the note in `session` gives to the next sweep.
 *
 * @throws NotFoundError; FailedPreconditionError when a container uses it or it is mounted
 */
export async function deleteImage(
  index: Index,
  id: string,
  options: Waiting & { readonly session: Stage },
): Promise<void> {
  using layers = await index.layers.begin(options);
  const mounts = await index.mounts.read(options);
  using images = await index.images.begin(options);
  using former = await index.formerImages?.begin(options);
  const tables = former === undefined ? [images] : [images, former];
  const found = tables.map((table) => table.get(id)).filter((record) => record !== undefined);
  if (found.length === 0) throw await absent(index, id, options);
  const tops = found.flatMap(topLayers);
  const containers = await index.containers.read(options);
  checkUnused(id, tops, { containers: containers.values(), mounts: mounts.values() });
  for (const table of tables) table.remove(id);
  const left = tables.flatMap((table) => [...table.values()]);
  const roots = { images: left, containers: containers.values(), mounts: mounts.values() };
  const unused = unusedLayers(layers, tops, roots);
  if (unused.length > 0) await options.session.noteReap(unused);
  for (const table of tables) await table.save();
  await dropLayers(index, layers, unused);
  await index.imageArea.trash.discard(index.layout.image(id));
  if (index.layout.formerImages !== undefined) await index.trash.discard(`${index.layout.formerImages}/${id}`);
}

/** @throws FailedPreconditionError when a container uses the image or it is mounted */
function checkUnused(id: string, tops: readonly string[], users: Omit<Roots, "images">): void {
  const containers = [...users.containers].filter((container) => text(container, "image") === id);
  if (containers.length > 0) {
    const list = containers.slice(0, 5).map((container) => text(container, "id")).join(", ");
    throw new FailedPreconditionError(
      `image ${id} is used by ${containers.length} container(s) (${list}): remove them first`,
    );
  }
  const mounted = mountedIds(users.mounts);
  if (tops.some((layer) => mounted.has(layer))) {
    throw new FailedPreconditionError(`image ${id} is mounted: unmount it first`);
  }
}

async function absent(index: Index, id: string, options: Waiting): Promise<Error> {
  const elsewhere = await index.homes.find(id, options);
  return elsewhere === undefined ? new NotFoundError("image", id) : readOnly(id, elsewhere.home);
}

/** The images that use layers of this store. */
export async function ownImages(index: Index): Promise<readonly RawRecord[]> {
  const tables = [await index.images.read(), await index.formerImages?.read() ?? new Map<string, RawRecord>()];
  return tables.flatMap((records) => [...records.values()]);
}

/** Removes from the table those of `candidates` that no image, container, child or mount needs, with what is below. */
export function unusedLayers(layers: RecordTransaction, candidates: readonly string[], roots: Roots): string[] {
  const kept = mountedIds(roots.mounts);
  for (const image of roots.images) for (const top of topLayers(image)) kept.add(top);
  for (const container of roots.containers) kept.add(text(container, "layer") ?? "");
  const children = new Map<string, number>();
  for (const layer of layers.values()) count(children, text(layer, "parent"), 1);
  const unused: string[] = [];
  for (const candidate of candidates) {
    for (const layer of [...chainOf(layers, candidate)]) {
      const id = text(layer, "id") ?? "";
      if (kept.has(id) || (children.get(id) ?? 0) > 0 || strings(layer, "names").length > 0) break;
      layers.remove(id);
      count(children, text(layer, "parent"), -1);
      unused.push(id);
    }
  }
  return unused;
}

/** Saves the table without these layers, then makes their directories vanish. */
export async function dropLayers(index: Index, layers: RecordTransaction, ids: readonly string[]): Promise<void> {
  for (const id of ids) layers.remove(id);
  await layers.save();
  const overlays = index.layout.layerRoots.map((place) => place.overlay);
  if (ids.length > 0) await detachBelow(ids.flatMap((id) => overlays.map((overlay) => `${overlay}/${id}`)));
  for (const id of ids) await discardLayer(index, id);
}

/** Makes everything of a layer on disk vanish; nothing may be mounted below it, and the record must be gone. */
export async function discardLayer(index: Index, id: string): Promise<void> {
  const { layout, trash, imageArea } = index;
  for (const [place, bin] of [[layout.forImages, imageArea.trash], [layout.own, trash]] as const) {
    await removeLink(place, id);
    await bin.discard(`${place.overlay}/${id}`);
    if (layout.own === layout.forImages) break;
  }
  await removeTree(`${layout.layers}/${id}`);
  await Deno.remove(layout.tarSplit(id)).catch((error) => {
    if (codeOf(error) !== "ENOENT") throw error;
  });
}

function mountedIds(mounts: Iterable<RawRecord>): Set<string> {
  const mounted = new Set<string>();
  for (const mount of mounts) if ((number(mount, "count") ?? 0) > 0) mounted.add(text(mount, "id") ?? "");
  return mounted;
}

function count(counts: Map<string, number>, id: string | undefined, change: number): void {
  if (id !== undefined) counts.set(id, (counts.get(id) ?? 0) + change);
}
