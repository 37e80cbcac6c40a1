import { FailedPreconditionError, NotFoundError } from "../base/errors.ts";
import { chainOf, type Index, topLayers } from "./_index.ts";
import { removeLink } from "./_overlay.ts";
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
  const image = images.get(id);
  if (image === undefined) throw new NotFoundError("image", id);
  const containers = await index.containers.read(options);
  const users = [...containers.values()].filter((container) => text(container, "image") === id);
  if (users.length > 0) {
    const list = users.slice(0, 5).map((container) => text(container, "id")).join(", ");
    throw new FailedPreconditionError(
      `image ${id} is used by ${users.length} container(s) (${list}): remove them first`,
    );
  }
  const mounted = mountedIds(mounts.values());
  if (topLayers(image).some((layer) => mounted.has(layer))) {
    throw new FailedPreconditionError(`image ${id} is mounted: unmount it first`);
  }
  images.remove(id);
  const roots = { images: images.values(), containers: containers.values(), mounts: mounts.values() };
  const unused = unusedLayers(layers, topLayers(image), roots);
  if (unused.length > 0) await options.session.noteReap(unused);
  await images.save();
  await dropLayers(index, layers, unused);
  await index.trash.discard(index.layout.image(id));
}

/**
 * Takes names from an image; those that it does not have are passed over. The image stays, even without a name.
 *
 * @throws NotFoundError when there is no such image
 */
export async function removeNames(
  index: Index,
  id: string,
  options: Waiting & { names: readonly string[] },
): Promise<void> {
  using images = await index.images.begin(options);
  const image = images.get(id);
  if (image === undefined) throw new NotFoundError("image", id);
  const left = strings(image, "names").filter((name) => !options.names.includes(name));
  if (left.length === strings(image, "names").length) return;
  images.put({ ...image, id, names: left });
  await images.save();
}

/**
 * Gives names to an image, taking them from whatever image has them.
 *
 * @throws NotFoundError when there is no such image
 */
export async function addNames(
  index: Index,
  id: string,
  options: Waiting & { names: readonly string[] },
): Promise<void> {
  using images = await index.images.begin(options);
  const image = images.get(id);
  if (image === undefined) throw new NotFoundError("image", id);
  takeNames(images, id, options.names);
  images.put(withNames({ ...image, id }, options.names));
  await images.save();
}

/** Removes `names` from all images but `id`. */
export function takeNames(images: RecordTransaction, id: string, names: readonly string[]): void {
  for (const other of [...images.values()]) {
    const otherId = text(other, "id") ?? "";
    const own = strings(other, "names");
    const left = own.filter((name) => !names.includes(name));
    if (otherId !== id && left.length < own.length) images.put({ ...other, id: otherId, names: left });
  }
}

/** The record with `names` in front of those that it has, in its history too. */
export function withNames<R extends RawRecord>(image: R, names: readonly string[]): R {
  if (names.length === 0) return image;
  return {
    ...image,
    names: [...new Set([...names, ...strings(image, "names")])],
    "names-history": [...new Set([...names, ...strings(image, "names-history")])],
  };
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
  if (ids.length > 0) await detachBelow(ids.map((id) => index.layout.layer(id)));
  for (const id of ids) await discardLayer(index, id);
}

/** Makes everything of a layer on disk vanish; nothing may be mounted below it, and the record must be gone. */
export async function discardLayer(index: Index, id: string): Promise<void> {
  const { layout, trash } = index;
  await removeLink(layout, id);
  await trash.discard(layout.layer(id));
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
