import type { LayerFindings } from "./_check_layers.ts";
import type { ProblemKind, StoreProblem } from "./check_types.ts";
import type { Tables } from "./_index.ts";
import { bigDataFileName } from "./layout.ts";
import { object, type RawRecord, type RecordTransaction, strings, text } from "./_records.ts";

/** Image problems that do not touch the containers made of it. */
const HARMLESS: ReadonlySet<ProblemKind> = new Set(["name-twice"]);

/** Compares containers with their layers, images and data. */
export async function checkContainers(
  tables: Tables,
  found: {
    readonly layers: LayerFindings;
    readonly images: readonly StoreProblem[];
    readonly containers: RecordTransaction;
  },
): Promise<StoreProblem[]> {
  const { layers, containers } = found;
  const problems: StoreProblem[] = [];
  const damagedImages = new Set(found.images.filter(({ kind }) => !HARMLESS.has(kind)).map((problem) => problem.id));
  for (const record of containers.values()) {
    const id = text(record, "id") ?? "";
    const add = (kind: ProblemKind, detail: string): void => {
      problems.push({ subject: "container", kind, id, detail });
    };
    const layer = text(record, "layer");
    if (layer === undefined || !layers.all.has(layer)) add("layer-missing", `its layer ${layer} has no record`);
    else if (layers.damaged.has(layer)) add("layer-damaged", `its layer ${layer}, or one below it, is damaged`);
    const image = text(record, "image");
    if (image !== undefined && await tables.homes.find(image) === undefined) {
      add("image-missing", `its image ${image} has no record`);
    } else if (damagedImages.has(image ?? "")) add("image-damaged", `its image ${image} is damaged`);
    await checkData(tables, record, add);
  }
  return problems;
}

async function checkData(
  tables: Tables,
  record: RawRecord,
  add: (kind: ProblemKind, detail: string) => void,
): Promise<void> {
  for (const key of strings(record, "big-data-names")) {
    const path = `${tables.layout.container(text(record, "id") ?? "")}/${bigDataFileName(key)}`;
    const size = await Deno.lstat(path).then((info) => info.size, () => undefined);
    const recorded = object(record, "big-data-sizes")[key];
    if (size === undefined) add("data", `its data ${JSON.stringify(key)} is not there`);
    else if (typeof recorded === "number" && recorded !== size) {
      add("data", `its data ${JSON.stringify(key)} has ${size} bytes, and ${recorded} are recorded`);
    }
  }
}
