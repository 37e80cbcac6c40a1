import { FailedPreconditionError, NotFoundError } from "../base/errors.ts";
import { writeFileAtomic } from "../linux/atomic_file.ts";
import type { ImageId } from "../base/ids.ts";
import type { ImageHome } from "./_homes.ts";
import type { Index } from "./_index.ts";
import { MANIFEST_KEY } from "./_images.ts";
import { bigDataFileName } from "./layout.ts";
import type { ImageCommit } from "./types.ts";
import { type RawRecord, type RecordTransaction, strings, text } from "./_records.ts";

interface Waiting {
  readonly signal?: AbortSignal;
}

/**
 * Takes names from an image; those that it does not have are passed over. The image stays, even without a name.
 *
 * @throws NotFoundError when there is no such image; FailedPreconditionError when it is in a read-only store
 */
export async function removeNames(
  index: Index,
  id: string,
  options: Waiting & { names: readonly string[] },
): Promise<void> {
  const found = await index.homes.find(id, options);
  if (found === undefined) throw new NotFoundError("image", id);
  if (found.home.table === undefined) throw readOnly(id, found.home);
  using images = await found.home.table.begin(options);
  const image = images.get(id);
  if (image === undefined) throw new NotFoundError("image", id);
  const left = strings(image, "names").filter((name) => !options.names.includes(name));
  if (left.length === strings(image, "names").length) {
    const holder = await readOnlyHolder(index, options.names);
    if (holder !== undefined) throw readOnly(id, holder);
    return;
  }
  images.put({ ...image, id, names: left });
  await images.save();
}

/**
 * Gives names to an image, taking them from whatever image has them. One of another store gets a record in this store,
 * on the same layers, that has the names.
 *
 * @throws NotFoundError when there is no such image
 */
export async function addNames(
  index: Index,
  id: string,
  options: Waiting & { names: readonly string[] },
): Promise<void> {
  using images = await index.images.begin(options);
  const image = images.get(id) ?? await copyHere(index, id, options);
  takeNames(images, id, options.names);
  images.put(withNames({ ...image, id }, options.names));
  await images.save();
}

/** Copies an image's documents from another store; its record is the caller's to write. */
async function copyHere(index: Index, id: string, options: Waiting): Promise<RawRecord> {
  const found = await index.homes.find(id, options);
  if (found === undefined) throw new NotFoundError("image", id);
  const { record, home } = found;
  const directory = index.layout.image(id);
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  for (const key of strings(record, "big-data-names")) {
    const name = bigDataFileName(key);
    await writeFileAtomic(`${directory}/${name}`, await Deno.readFile(`${home.directory}/${id}/${name}`));
  }
  // Its names stay there: they count for the new record as well.
  return { ...record, names: [] };
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

/** A read-only store that has one of these names. */
async function readOnlyHolder(index: Index, names: readonly string[]): Promise<ImageHome | undefined> {
  for (const home of index.homes.all) {
    if (home.table !== undefined) continue;
    const records = [...(await home.records.read()).values()];
    if (records.some((record) => strings(record, "names").some((name) => names.includes(name)))) return home;
  }
  return undefined;
}

/** Whether a read-only store has all of a commit already, under these names: then there is nothing to write. */
export async function isInReadOnlyStore(index: Index, id: ImageId, commit: ImageCommit): Promise<boolean> {
  // That store may lack them, and they are asked for again when a container is made.
  if ((commit.signatures ?? []).length > 0) return false;
  const found = await index.homes.find(id);
  if (found === undefined || found.home.table !== undefined) return false;
  const names = strings(found.record, "names");
  const data = strings(found.record, "big-data-names");
  return commit.names.every((name) => names.includes(name)) && !await isNamedBefore(index, found.home, commit.names) &&
    data.includes(`${MANIFEST_KEY}-${commit.manifest.digest}`) &&
    (commit.index === undefined || data.includes(`${MANIFEST_KEY}-${commit.index.digest}`));
}

/** Whether a place that counts before this one has one of the names: it would keep it. */
async function isNamedBefore(index: Index, home: ImageHome, names: readonly string[]): Promise<boolean> {
  for (const before of index.homes.all.slice(0, index.homes.all.indexOf(home))) {
    const records = [...(await before.records.read()).values()];
    if (records.some((record) => strings(record, "names").some((name) => names.includes(name)))) return true;
  }
  return false;
}

/** The refusal to change an image of a read-only store. */
export function readOnly(id: string, home: ImageHome): FailedPreconditionError {
  return new FailedPreconditionError(
    `image ${id} is in the read-only image store ${home.root} and cannot be changed or removed from here: remove it ` +
      "where that store is made, or take the store out of additionalimagestores in storage.conf",
  );
}
