import { DataLossError } from "../base/errors.ts";
import { openAdditional } from "./_additional.ts";
import { checkContainers } from "./_check_containers.ts";
import { checkImages } from "./_check_images.ts";
import { checkLayers, type LayerFindings } from "./_check_layers.ts";
import { findLeftovers } from "./_check_leftovers.ts";
import type { CheckReport, CheckScope, LayerFiles, StoreProblem } from "./check_types.ts";
import { openTables, type Tables } from "./_index.ts";
import { Layout } from "./layout.ts";
import { number, type RawRecord, text } from "./_records.ts";
import type { StoreOptions } from "./types.ts";
import { entryExists } from "../linux/exists.ts";

const NOTHING: CheckReport = { problems: [], layers: 0, images: 0, containers: 0, verified: 0, unverifiable: [] };

/**
 * Looks for everything in a store that does not fit together, and changes nothing. Records and directories are compared
 * under the store's locks, so a program that is at work is not taken for damage; files of layers are read without.
 *
 * @throws InvalidArgumentError for unusable roots; the signal's reason
 */
export async function checkStore(options: StoreOptions, scope: CheckScope = {}): Promise<CheckReport> {
  const layout = new Layout(options.graphRoot, options.runRoot, options.imageStore);
  if (!await entryExists(layout.layers) || !await entryExists(layout.containers) || !await entryExists(layout.images)) {
    return NOTHING;
  }
  await Deno.mkdir(layout.runLayers, { recursive: true, mode: 0o700 });
  const additional = (options.additionalStores ?? []).map((root) => openAdditional(root, options.logger));
  using tables = openTables(layout, { additional, logger: options.logger });
  try {
    const structure = await checkStructure(tables, scope);
    return await withContent(tables, structure, scope);
  } catch (error) {
    if (!(error instanceof DataLossError)) throw error;
    const problem: StoreProblem = { subject: "store", kind: "records", id: layout.graphRoot, detail: error.message };
    return { ...NOTHING, problems: [problem] };
  }
}

interface Structure {
  readonly report: CheckReport;
  readonly findings: LayerFindings;
}

/** What records and directories say, in the time of a few reads per layer. */
async function checkStructure(tables: Tables, scope: CheckScope): Promise<Structure> {
  using layers = await tables.layers.begin(scope);
  using images = await tables.images.begin(scope);
  using former = await tables.formerImages?.begin(scope);
  using containers = await tables.containers.begin(scope);
  const foreign = await tables.homes.foreignLayers(scope);
  const findings = await checkLayers(tables, { own: layers, foreign });
  const imageProblems = await checkImages(tables, findings);
  const containerProblems = await checkContainers(tables, { layers: findings, images: imageProblems, containers });
  const leftovers = await findLeftovers(tables, { layers, images, former, containers }, scope);
  return {
    findings,
    report: {
      ...NOTHING,
      problems: [...findings.problems, ...imageProblems, ...containerProblems, ...leftovers],
      layers: [...layers.values()].length + foreign.size,
      images: (await Promise.all(tables.homes.all.map((home) => home.records.read()))).reduce(
        (n, map) => n + map.size,
        0,
      ),
      containers: [...containers.values()].length,
    },
  };
}

/** Reads the layers that are sound so far; images and containers share the damage of their layers. */
async function withContent(tables: Tables, structure: Structure, scope: CheckScope): Promise<CheckReport> {
  const { report, findings } = structure;
  if (scope.content === undefined) return report;
  const unverifiable: { id: string; reason: string }[] = [];
  const damaged: StoreProblem[] = [];
  let verified = 0;
  for (const layer of await layersToRead(tables, findings)) {
    scope.signal?.throwIfAborted();
    const verdict = await scope.content(layer.files);
    if (verdict.kind === "sound") verified += 1;
    else if (!await isRecorded(tables, layer.files.id)) continue; // removed meanwhile
    else if (verdict.kind === "unverifiable") unverifiable.push({ id: layer.files.id, reason: verdict.reason });
    else {
      const subject = layer.foreign ? "read-only layer" : "layer";
      damaged.push({ subject, kind: "content", id: layer.files.id, detail: verdict.reason });
    }
  }
  const problems = [...report.problems, ...await withDependents(tables, findings, damaged)];
  return { ...report, problems, verified, unverifiable };
}

/** Damaged layers with the images on them and the containers of these. */
async function withDependents(
  tables: Tables,
  findings: LayerFindings,
  damaged: readonly StoreProblem[],
): Promise<StoreProblem[]> {
  if (damaged.length === 0) return [];
  const ids = new Set(damaged.map((problem) => problem.id));
  const only: LayerFindings = { ...findings, problems: damaged, damaged: ids };
  using containers = await tables.containers.begin();
  const images = (await checkImages(tables, only)).filter(({ kind }) => kind === "layer-damaged");
  const users = await checkContainers(tables, { layers: only, images, containers });
  return [...damaged, ...images, ...users.filter(({ kind }) => kind === "layer-damaged" || kind === "image-damaged")];
}

async function layersToRead(
  tables: Tables,
  findings: LayerFindings,
): Promise<{ readonly files: LayerFiles; readonly foreign: boolean }[]> {
  const list: { files: LayerFiles; foreign: boolean }[] = [];
  const own = await tables.layers.read();
  for (const [id, record] of findings.all) {
    const diffId = text(record, "diff-digest");
    if (diffId === undefined || findings.damaged.has(id)) continue;
    const directory = await tables.places.layer(id);
    const foreign = !own.has(id);
    const tarSplitPath = foreign
      ? `${directory.slice(0, directory.lastIndexOf("/overlay/"))}/overlay-layers/${id}.tar-split.gz`
      : tables.layout.tarSplit(id);
    list.push({ foreign, files: { id, directory: `${directory}/diff`, tarSplitPath, diffId, ...more(record) } });
  }
  return list;
}

function more(record: RawRecord): Pick<LayerFiles, "sizeBytes" | "owners"> {
  const sizeBytes = number(record, "diff-size");
  const owners = record["uidmap"] === undefined && record["gidmap"] === undefined;
  return { owners, ...(sizeBytes === undefined || sizeBytes < 0 ? {} : { sizeBytes }) };
}

async function isRecorded(tables: Tables, id: string): Promise<boolean> {
  return (await tables.homes.layers()).has(id);
}
