import type { LayerFindings } from "./_check_layers.ts";
import type { ProblemKind, StoreProblem } from "./check_types.ts";
import type { ImageHome } from "./_homes.ts";
import { chainOf, sha256Hex, type Tables, topLayers } from "./_index.ts";
import { bigDataFileName } from "./layout.ts";
import { object, type RawRecord, strings, text } from "./_records.ts";

/** Compares images with their documents and layers, and their names with each other. */
export async function checkImages(tables: Tables, layers: LayerFindings): Promise<StoreProblem[]> {
  const problems: StoreProblem[] = [];
  const seen = new Set<string>();
  for (const home of tables.homes.all) {
    const names = new Map<string, string>();
    const subject = home.table === undefined ? "read-only image" as const : "image" as const;
    for (const [id, record] of await home.records.read()) {
      if (seen.has(id)) continue;
      seen.add(id);
      const add = (kind: ProblemKind, detail: string): void => void problems.push({ subject, kind, id, detail });
      const config = await checkData(home, record, add);
      checkChain({ record, config, layers, add });
      if (subject === "image") checkNames(record, names, add);
    }
  }
  return problems;
}

type Add = (kind: ProblemKind, detail: string) => void;

/** Every document: there, as long as recorded, and with the digest that its key says. @returns the configuration */
async function checkData(home: ImageHome, record: RawRecord, add: Add): Promise<RawRecord | undefined> {
  const id = text(record, "id") ?? "";
  let config: RawRecord | undefined;
  for (const key of strings(record, "big-data-names")) {
    const path = `${home.directory}/${id}/${bigDataFileName(key)}`;
    const bytes = await Deno.readFile(path).catch(() => undefined);
    const size = object(record, "big-data-sizes")[key];
    if (bytes === undefined) add("data", `its document ${JSON.stringify(key)} is not there`);
    else if (typeof size === "number" && size !== bytes.length) {
      add("data", `its document ${JSON.stringify(key)} has ${bytes.length} bytes, and ${size} are recorded`);
    } else if (!await fitsKey(key, bytes)) add("data", `its document ${JSON.stringify(key)} has another content`);
    else if (key === `sha256:${id}`) config = parsed(bytes);
  }
  return config;
}

/** Keys with a digest name their content; manifests of schema 1 have theirs computed without signatures. */
async function fitsKey(key: string, bytes: Uint8Array): Promise<boolean> {
  const hex = /^(?:manifest-)?sha256:([0-9a-f]{64})$/.exec(key)?.[1];
  if (hex === undefined || await sha256Hex(bytes) === hex) return true;
  return parsed(bytes)?.["schemaVersion"] === 1;
}

function parsed(bytes: Uint8Array): RawRecord | undefined {
  try {
    return object({ value: JSON.parse(new TextDecoder().decode(bytes)) }, "value");
  } catch {
    return undefined; // no JSON: an image that is none of ours
  }
}

function checkChain(
  image: {
    readonly record: RawRecord;
    readonly config: RawRecord | undefined;
    readonly layers: LayerFindings;
    readonly add: Add;
  },
): void {
  const { record, config, layers, add } = image;
  for (const top of topLayers(record)) {
    const chain = [...chainOf(layers.all, top)];
    const last = chain.at(-1);
    if (last === undefined) {
      add("layer-missing", `its layer ${top} has no record`);
      continue;
    }
    const missing = text(last, "parent");
    if (missing !== undefined && !layers.all.has(missing)) add("layer-missing", `its layer ${missing} has no record`);
    const damaged = chain.map((layer) => text(layer, "id") ?? "").find((id) => layers.damaged.has(id));
    if (damaged !== undefined) add("layer-damaged", `its layer ${damaged} is damaged`);
  }
  checkDiffIds({ chain: [...chainOf(layers.all, text(record, "layer"))], config, add });
}

/** The layers have to be those of the configuration, in order. */
function checkDiffIds(
  image: { readonly chain: readonly RawRecord[]; readonly config: RawRecord | undefined; readonly add: Add },
): void {
  const expected = strings(object(image.config ?? {}, "rootfs"), "diff_ids");
  const found = image.chain.map((layer) => text(layer, "diff-digest")).toReversed();
  if (image.config === undefined || expected.length === 0 || found.some((digest) => digest === undefined)) return;
  if (found.join() === expected.join()) return;
  image.add("layers-differ", "its layers are not those of its configuration");
}

function checkNames(record: RawRecord, names: Map<string, string>, add: Add): void {
  const id = text(record, "id") ?? "";
  for (const name of strings(record, "names")) {
    const other = names.get(name);
    if (other !== undefined) add("name-twice", `image ${other} has its name ${JSON.stringify(name)} too`);
    names.set(name, id);
  }
}
