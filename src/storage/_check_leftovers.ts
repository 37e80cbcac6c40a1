import type { CheckScope, ProblemKind, StoreProblem } from "./check_types.ts";
import { chainOf, containerOfLayer, type Tables, topLayers } from "./_index.ts";
import { isId } from "./layout.ts";
import { type RawRecord, type RecordTransaction, strings, text } from "./_records.ts";
import { abandonedStagesIn } from "./_stage.ts";
import { idsIn, transientLayers, unfinishedFiles } from "./_sweep.ts";

const DAY_MS = 24 * 3_600_000;
const TAR_SPLIT = /^([0-9a-f]{64})\.tar-split\.gz$/;

interface Records {
  readonly layers: RecordTransaction;
  readonly images: RecordTransaction;
  readonly former: RecordTransaction | undefined;
  readonly containers: RecordTransaction;
}

/** Finds what takes space and belongs to nothing: layers that nobody uses, directories without a record, stages. */
export async function findLeftovers(
  tables: Tables,
  records: Records,
  scope: CheckScope = {},
): Promise<StoreProblem[]> {
  const found: StoreProblem[] = [];
  const add = (kind: ProblemKind, id: string, detail: string): void => {
    found.push({ subject: "leftover", kind, id, detail });
  };
  for (const { id, kind, detail } of unusedLayers(records, scope)) {
    found.push({ subject: "layer", kind, id, detail });
  }
  for (const path of await directoriesWithoutRecord(tables, records)) add("no-record", path, "nothing records it");
  for (const path of await unfinishedFiles(tables.layout)) add("unfinished", path, "its writer is gone");
  for (const path of await danglingLinks(tables)) add("no-record", path, "a short name of a layer that is gone");
  for (const { temporary, overlay } of tables.layout.layerRoots) {
    for (const stage of await abandonedStagesIn([temporary, `${overlay}/staging`])) {
      add("unfinished", stage.directory, "a pull or a daemon that is gone worked here");
    }
  }
  return found;
}

function* unusedLayers(
  { layers, images, former, containers }: Records,
  scope: CheckScope,
): Generator<{ id: string; kind: ProblemKind; detail: string }> {
  const { unreferencedAgeMs = DAY_MS } = scope;
  const used = new Set<string>();
  const tops = [
    ...[...images.values(), ...former?.values() ?? []].flatMap(topLayers),
    ...[...containers.values()].map((container) => text(container, "layer") ?? ""),
  ];
  for (const top of tops) for (const layer of chainOf(layers, top)) used.add(text(layer, "id") ?? "");
  const owned = new Set([...containers.values()].map((container) => text(container, "layer") ?? ""));
  for (const layer of layers.values()) {
    const id = text(layer, "id") ?? "";
    if (containerOfLayer(layer) !== undefined && !owned.has(id)) {
      yield { id, kind: "no-container", detail: `it was made for container ${containerOfLayer(layer)}, which is gone` };
    } else if (!used.has(id) && strings(layer, "names").length === 0 && isOlder(layer, unreferencedAgeMs)) {
      yield { id, kind: "unreferenced", detail: "no image and no container uses it" };
    }
  }
}

function isOlder(layer: RawRecord, ageMs: number): boolean {
  const created = Date.parse(text(layer, "created") ?? "");
  return Number.isNaN(created) || Date.now() - created > ageMs;
}

/** In an image store other graph roots may have layers that this one does not know: only the own one is looked at. */
async function directoriesWithoutRecord(tables: Tables, records: Records): Promise<string[]> {
  const { layout } = tables;
  const { layers, images, containers } = records;
  const otherLayers = await transientLayers(`${layout.runLayers}/volatile-layers.json`);
  const otherContainers = await transientLayers(`${layout.runContainers}/volatile-containers.json`);
  const hasLayer = (id: string): boolean => layers.get(id) !== undefined || otherLayers.has(id);
  const hasContainer = (id: string): boolean => containers.get(id) !== undefined || otherContainers.has(id);
  const paths: string[] = [];
  const look = async (directory: string, isKnown: (id: string) => boolean): Promise<void> => {
    for (const id of await idsIn(directory)) if (!isKnown(id)) paths.push(`${directory}/${id}`);
  };
  await look(layout.overlay, hasLayer);
  await look(layout.layers, hasLayer);
  await look(layout.images, (id) => images.get(id) !== undefined);
  await look(layout.containers, hasContainer);
  await look(layout.runContainers, hasContainer).catch(() => {}); // gone with a reboot
  for await (const { name } of Deno.readDir(layout.layers)) {
    const id = TAR_SPLIT.exec(name)?.[1];
    if (id !== undefined && isId(id) && !hasLayer(id)) paths.push(`${layout.layers}/${name}`);
  }
  return paths;
}

async function danglingLinks(tables: Tables): Promise<string[]> {
  const { links } = tables.layout;
  const paths: string[] = [];
  for await (const { name } of Deno.readDir(links)) {
    const path = `${links}/${name}`;
    const there = await Deno.stat(path).then(() => true, () => false);
    if (!there) paths.push(path);
  }
  return paths;
}
