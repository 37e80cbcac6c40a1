import { containerOfLayer, type Index, isIncomplete } from "./_index.ts";
import { isId, type Layout } from "./layout.ts";
import { type RawRecord, type RecordTransaction, text } from "./_records.ts";
import { discardLayer, dropLayers, unusedLayers } from "./_removal.ts";
import { abandonedStages } from "./_stage.ts";
import { codeOf, detachBelow } from "./_trees.ts";
import type { SweepReport } from "./types.ts";

/** How names begin that files have until they are complete, here and in containers/storage. */
const UNFINISHED = ".tmp-";

/**
 * Removes what crashes left: stages whose process is gone and the layers that they had noted, layers whose creation
 * was not finished, container layers without a container, directories without a record, dangling short names.
 * Everything is looked at under the locks, so a program that is at work is not disturbed.
 */
export async function sweep(index: Index, options: { readonly signal?: AbortSignal } = {}): Promise<SweepReport> {
  using layers = await index.layers.begin(options);
  using mounts = await index.mounts.begin(options);
  using images = await index.images.begin(options);
  using containers = await index.containers.begin(options);
  const places = index.imageArea.root === index.root ? [index.root] : [index.root, index.imageArea.root];
  const stages = (await Promise.all(places.map(abandonedStages))).flat();
  const stale = staleLayers(layers, containers);
  for (const id of stale) layers.remove(id);
  const former = await index.formerImages?.read(options);
  const used = [...images.values(), ...former?.values() ?? []];
  const roots = { images: used, containers: containers.values(), mounts: mounts.values() };
  const noted = stages.flatMap((stage) => stage.reap);
  stale.push(...unusedLayers(layers, noted, roots));
  await dropLayers(index, layers, stale);
  await dropNoted(index, layers, noted);
  const orphans = await dropOrphans(index, { layers, images, containers });
  const links = await repairLinks(index, layers);
  const gone = stages.map((stage) => stage.directory);
  if (gone.length > 0) await detachBelow(gone);
  for (const path of gone) await index.trash.discard(path);
  return { stages: stages.length, orphanDirectories: orphans, layers: stale.length, links };
}

/**
 * In the image store only what a stage had noted is taken for an orphan: stores of other graph roots may have layers
 * there that this one knows nothing of.
 */
async function dropNoted(index: Index, layers: RecordTransaction, noted: readonly string[]): Promise<void> {
  if (index.layout.own === index.layout.forImages) return;
  for (const id of noted) if (isId(id) && layers.get(id) === undefined) await discardLayer(index, id);
}

function staleLayers(layers: RecordTransaction, containers: RecordTransaction): string[] {
  const owned = new Set<string>();
  for (const container of containers.values()) owned.add(text(container, "layer") ?? "");
  const stale: string[] = [];
  for (const layer of layers.values()) {
    const id = text(layer, "id") ?? "";
    const ours = containerOfLayer(layer) !== undefined && !owned.has(id);
    if (ours || isIncomplete(layer)) stale.push(id);
  }
  return stale;
}

async function dropOrphans(
  index: Index,
  tables: { layers: RecordTransaction; images: RecordTransaction; containers: RecordTransaction },
): Promise<number> {
  const { layout } = index;
  const elsewhere = await transientLayers(`${layout.runLayers}/volatile-layers.json`);
  const layerDirs = await idsIn(layout.overlay);
  const orphanLayers = layerDirs.filter((id) => tables.layers.get(id) === undefined && !elsewhere.has(id));
  const transient = await transientLayers(`${layout.runContainers}/volatile-containers.json`);
  const paths: string[] = [];
  for (const id of await idsIn(layout.images)) if (tables.images.get(id) === undefined) paths.push(layout.image(id));
  for (
    const [directory, path] of [
      [layout.containers, (id: string): string => layout.container(id)],
      [layout.runContainers, (id: string): string => layout.containerRun(id)],
    ] as const
  ) {
    for (const id of await idsIn(directory)) {
      if (tables.containers.get(id) === undefined && !transient.has(id)) paths.push(path(id));
    }
  }
  paths.push(...await unfinishedFiles(layout));
  if (orphanLayers.length + paths.length === 0) return 0;
  await detachBelow([...orphanLayers.map((id) => layout.layer(id)), ...paths]);
  for (const id of orphanLayers) await discardLayer(index, id);
  for (const path of paths) await index.trash.discard(path);
  return orphanLayers.length + paths.length;
}

/** Short names are checked one by one only when their number does not fit that of the layers. */
async function repairLinks(index: Index, layers: RecordTransaction): Promise<number> {
  const { layout } = index;
  const links = new Set<string>();
  for await (const entry of Deno.readDir(layout.links)) links.add(entry.name);
  const ids = [...layers.values()].map((layer) => text(layer, "id") ?? "");
  if (links.size === ids.length) return 0;
  let changed = 0;
  for (const id of ids) {
    const link = await Deno.readTextFile(`${layout.layer(id)}/link`).catch(() => undefined);
    if (link === undefined || !/^[A-Z0-9]{1,64}$/.test(link)) continue;
    if (links.delete(link)) continue;
    await Deno.symlink(`../${id}/diff`, `${layout.links}/${link}`);
    changed += 1;
  }
  for (const link of links) {
    const path = `${layout.links}/${link}`;
    const dangling = await Deno.stat(path).then(() => false, (error) => codeOf(error) === "ENOENT");
    if (!dangling) continue;
    await Deno.remove(path);
    changed += 1;
  }
  return changed;
}

/** Files that were being written when their writer died. Only while the tables are locked: all write under the locks. */
export async function unfinishedFiles(layout: Layout): Promise<string[]> {
  const paths: string[] = [];
  const images = (await idsIn(layout.images)).map((id) => layout.image(id));
  for (const directory of [layout.layers, layout.images, layout.containers, ...images]) {
    for await (const { name, isFile } of Deno.readDir(directory)) {
      if (isFile && name.startsWith(UNFINISHED)) paths.push(`${directory}/${name}`);
    }
  }
  return paths;
}

/** Ids that a store in transient mode keeps in the run root; those directories are not orphans. */
export async function transientLayers(path: string): Promise<ReadonlySet<string>> {
  try {
    const parsed: unknown = JSON.parse(await Deno.readTextFile(path));
    const list: readonly RawRecord[] = Array.isArray(parsed) ? parsed : [];
    return new Set(list.map((record) => text(record, "id") ?? ""));
  } catch (error) {
    if (codeOf(error) === "ENOENT") return new Set();
    throw error;
  }
}

/** Names of directories that are ids. */
export async function idsIn(directory: string): Promise<string[]> {
  const ids: string[] = [];
  for await (const entry of Deno.readDir(directory)) if (entry.isDirectory && isId(entry.name)) ids.push(entry.name);
  return ids;
}
