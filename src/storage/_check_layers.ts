import { Semaphore } from "../base/semaphore.ts";
import type { ProblemKind, StoreProblem } from "./check_types.ts";
import { isIncomplete, type Tables } from "./_index.ts";
import { bigDataFileName, type LayerRoot } from "./layout.ts";
import { type RawRecord, type RecordTransaction, strings, text } from "./_records.ts";

/** Layers that are looked at together: each takes a few small reads. */
const LOOKS_AT_ONCE = 16;
const LINK = /^[A-Z0-9]{1,64}$/;

/** What is known of the layers of a store and of the read-only stores. */
export interface LayerFindings {
  readonly problems: readonly StoreProblem[];
  /** Layers that cannot be used. */
  readonly damaged: ReadonlySet<string>;
  readonly all: ReadonlyMap<string, RawRecord>;
}

interface Layers {
  readonly own: RecordTransaction;
  readonly foreign: ReadonlyMap<string, RawRecord>;
}

/** Compares the records of layers with each other and with their directories. */
export async function checkLayers(tables: Tables, { own, foreign }: Layers): Promise<LayerFindings> {
  const all = new Map(foreign);
  for (const record of own.values()) all.set(text(record, "id") ?? "", record);
  const problems: StoreProblem[] = [];
  const places = new Semaphore(LOOKS_AT_ONCE);
  await Promise.all([...all].map(async ([id, record]) => {
    using _place = await places.acquire();
    const subject = own.get(id) === undefined ? "read-only layer" as const : "layer" as const;
    const add = (kind: ProblemKind, detail: string): void => void problems.push({ subject, kind, id, detail });
    await checkLayer(tables, record, { all, add, isForeign: subject === "read-only layer" });
  }));
  const damaged = new Set(problems.filter(({ kind }) => kind !== "short-name").map(({ id }) => id));
  return { problems, damaged: withChildren(damaged, all), all };
}

/** A layer on a damaged one is as unusable. */
function withChildren(damaged: ReadonlySet<string>, all: ReadonlyMap<string, RawRecord>): ReadonlySet<string> {
  const whole = new Set(damaged);
  for (let before = -1; before !== whole.size;) {
    before = whole.size;
    for (const [id, record] of all) if (whole.has(text(record, "parent") ?? "")) whole.add(id);
  }
  return whole;
}

interface Look {
  readonly all: ReadonlyMap<string, RawRecord>;
  readonly isForeign: boolean;
  readonly add: (kind: ProblemKind, detail: string) => void;
}

async function checkLayer(tables: Tables, record: RawRecord, look: Look): Promise<void> {
  const id = text(record, "id") ?? "";
  const { add, all, isForeign } = look;
  if (isIncomplete(record) && !isForeign) add("unfinished", "its creation was not finished");
  const parent = text(record, "parent");
  if (parent !== undefined && !all.has(parent)) add("parent-missing", `its parent ${parent} has no record`);
  if (parent !== undefined && isLoop(id, all)) add("parent-loop", "it is among its own parents");
  if (!isForeign) await checkBigData(tables, record, look);
  const directory = await tables.places.layer(id);
  if (!(await kindOf(`${directory}/diff`))?.isDirectory) {
    add("directory-missing", `${directory}/diff is not there`);
    return;
  }
  if (!isForeign) await checkLink(tables, { id, directory }, look);
  await checkLower(tables, { directory, parent }, look);
}

function isLoop(id: string, all: ReadonlyMap<string, RawRecord>): boolean {
  const seen = new Set<string>();
  for (let at: string | undefined = id; at !== undefined; at = text(all.get(at) ?? {}, "parent")) {
    if (seen.has(at)) return true;
    seen.add(at);
  }
  return false;
}

async function checkBigData(tables: Tables, record: RawRecord, { add }: Look): Promise<void> {
  for (const key of strings(record, "big-data-names")) {
    const path = `${tables.layout.layers}/${text(record, "id")}/${bigDataFileName(key)}`;
    if (!(await kindOf(path))?.isFile) add("data", `its data ${JSON.stringify(key)} is not there`);
  }
}

/** The short name: a file that says it, and a link of that name. */
async function checkLink(
  tables: Tables,
  { id, directory }: { readonly id: string; readonly directory: string },
  { add }: Look,
): Promise<void> {
  const link = (await readOptional(`${directory}/link`))?.trim();
  if (link === undefined || !LINK.test(link)) {
    add("lower", "it has no short name, by which layers on it find it");
    return;
  }
  const { links } = rootOf(tables, directory);
  const target = await Deno.readLink(`${links}/${link}`).catch(() => undefined);
  if (target === `../${id}/diff`) return;
  const found = target === undefined ? "is not there" : `leads to ${JSON.stringify(target)}`;
  add("short-name", `its short name ${link} ${found}`);
}

/** Root among the own ones that a layer's directory is in. */
export function rootOf(tables: Tables, directory: string): LayerRoot {
  const { own, forImages } = tables.layout;
  return directory.startsWith(`${forImages.overlay}/`) ? forImages : own;
}

async function checkLower(
  tables: Tables,
  { directory, parent }: { readonly directory: string; readonly parent: string | undefined },
  { add }: Look,
): Promise<void> {
  const lower = ((await readOptional(`${directory}/lower`)) ?? "").trim();
  const links = lower.split(":").filter((link) => link !== "");
  if (parent === undefined && links.length === 0) return;
  if (parent === undefined) add("lower", "it has a `lower` file and no parent");
  else if (links.length === 0) add("lower", "it has a parent and no `lower` file");
  else {
    const expected = (await readOptional(`${await tables.places.layer(parent)}/link`))?.trim();
    if (expected !== undefined && links[0] !== `l/${expected}`) {
      add("lower", `it stands on ${links[0]}, and its parent ${parent} is l/${expected}`);
    }
  }
  for (const link of links) {
    // Through the link: what has to be there is the directory behind it.
    const place = await tables.places.lower(link);
    const there = await Deno.stat(place).then((info) => info.isDirectory, () => false);
    if (!there && !await isRelinkable(tables, link)) add("lower", `${link}, which it stands on, is not there`);
  }
}

/** Whether only the link is missing, and the layer that has this short name is there. */
async function isRelinkable(tables: Tables, link: string): Promise<boolean> {
  const name = link.slice("l/".length);
  for (const id of (await tables.layers.read()).keys()) {
    const directory = await tables.places.layer(id);
    if ((await readOptional(`${directory}/link`))?.trim() === name) return true;
  }
  return false;
}

async function kindOf(path: string): Promise<Deno.FileInfo | undefined> {
  return await Deno.lstat(path).catch(() => undefined);
}

async function readOptional(path: string): Promise<string | undefined> {
  return await Deno.readTextFile(path).catch(() => undefined);
}
