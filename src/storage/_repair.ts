import { messageOf } from "../base/errors.ts";
import { rootOf } from "./_check_layers.ts";
import { findLeftovers } from "./_check_leftovers.ts";
import type { CheckReport, ProblemSubject, RepairReport, StoreProblem } from "./check_types.ts";
import { deleteContainer } from "./_containers.ts";
import { type Index, topLayers } from "./_index.ts";
import { deleteImage, dropLayers, ownImages } from "./_removal.ts";
import { isLayerMounted } from "./_overlay.ts";
import { strings, text } from "./_records.ts";
import type { Stage } from "./_stage.ts";
import { detachBelow } from "./_trees.ts";
import { resolves } from "../linux/exists.ts";

interface RepairOptions {
  readonly session: Stage;
  /** Whether damaged containers are removed; mounted ones never are. */
  readonly removeContainers: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Puts right what a check found, and touches nothing else: short names are linked again; damaged containers (where that
 * is asked for), images and layers are removed, the users of a layer before it; leftovers are deleted.
 */
export async function repair(index: Index, report: CheckReport, options: RepairOptions): Promise<RepairReport> {
  const run = new Repair(index, options);
  for (const problem of report.problems.filter(({ kind }) => kind === "short-name")) await run.relink(problem);
  for (const problem of report.problems.filter(({ kind }) => kind === "name-twice")) await run.takeTwiceName(problem);
  if (options.removeContainers) { for (const id of ids(report, "container")) await run.removeContainer(id); }
  const removable = report.problems.filter(({ subject, kind }) => subject === "image" && kind !== "name-twice");
  for (const id of new Set(removable.map((problem) => problem.id))) await run.removeImage(id);
  await run.removeLayers(ids(report, "layer", (problem) => problem.kind !== "short-name"));
  await run.removeLeftovers(new Set(ids(report, "leftover")));
  return run;
}

function ids(
  report: CheckReport,
  subject: ProblemSubject,
  fits: (problem: StoreProblem) => boolean = () => true,
): string[] {
  return [...new Set(report.problems.filter((item) => item.subject === subject && fits(item)).map(({ id }) => id))];
}

/** One repair on its way: each step is tried, whatever the others came to. */
class Repair implements RepairReport {
  readonly done: string[] = [];
  readonly failed: string[] = [];

  constructor(private readonly index: Index, private readonly options: RepairOptions) {}

  async relink({ id }: StoreProblem): Promise<void> {
    await this.#step(`linked the short name of layer ${id} again`, async () => {
      using _layers = await this.index.layers.begin(this.options);
      const directory = await this.index.places.layer(id);
      const path = `${rootOf(this.index, directory).links}/${(await Deno.readTextFile(`${directory}/link`)).trim()}`;
      await Deno.remove(path).catch(() => {}); // absent as a rule
      await Deno.symlink(`../${id}/diff`, path);
    });
  }

  /** Of two images with one name the one that was listed first keeps it. */
  async takeTwiceName({ id }: StoreProblem): Promise<void> {
    await this.#step(`took from image ${id} the names that another image has as well`, async () => {
      using images = await this.index.images.begin(this.options);
      const image = images.get(id);
      if (image === undefined) return;
      const taken = new Set<string>();
      for (const other of images.values()) {
        if (other === image) break;
        for (const name of strings(other, "names")) taken.add(name);
      }
      images.put({ ...image, id, names: strings(image, "names").filter((name) => !taken.has(name)) });
      await images.save();
    });
  }

  async removeContainer(id: string): Promise<void> {
    await this.#step(`removed container ${id}`, async () => {
      const record = (await this.index.containers.read(this.options)).get(id);
      const layer = text(record ?? {}, "layer");
      if (layer !== undefined && await isLayerMounted(await this.index.places.mountDirectory(layer))) {
        throw new Error("its root file system is mounted: stop and remove the container first");
      }
      await deleteContainer(this.index, id, this.options);
    });
  }

  async removeImage(id: string): Promise<void> {
    await this.#step(`removed image ${id}: pull it anew`, () => deleteImage(this.index, id, this.options));
  }

  /** Those that went with their images are passed over; what something that stays still uses is kept. */
  async removeLayers(layerIds: readonly string[]): Promise<void> {
    if (layerIds.length === 0) return;
    using layers = await this.index.layers.begin(this.options);
    const containers = await this.index.containers.read();
    const used = new Set([
      ...(await ownImages(this.index)).flatMap(topLayers),
      ...[...containers.values()].map((container) => text(container, "layer") ?? ""),
    ]);
    const left = layerIds.filter((id) => layers.get(id) !== undefined);
    const going = new Set(left.filter((id) => !used.has(id)));
    for (let before = -1; before !== going.size;) {
      before = going.size;
      for (const layer of layers.values()) {
        if (!going.has(text(layer, "id") ?? "")) going.delete(text(layer, "parent") ?? "");
      }
    }
    await this.options.session.noteReap([...going]);
    await dropLayers(this.index, layers, [...going]);
    this.done.push(...[...going].map((id) => `removed layer ${id}`));
    for (const id of left) {
      if (!going.has(id)) this.failed.push(`layer ${id} stays: an image, a container or another layer uses it`);
    }
  }

  /** Under the locks, and only what is one still: since the check somebody may have pulled what such a directory is for. */
  async removeLeftovers(found: ReadonlySet<string>): Promise<void> {
    if (found.size === 0) return;
    using layers = await this.index.layers.begin(this.options);
    using images = await this.index.images.begin(this.options);
    using former = await this.index.formerImages?.begin(this.options);
    using containers = await this.index.containers.begin(this.options);
    for (const { id, subject } of await findLeftovers(this.index, { layers, images, former, containers })) {
      if (subject === "leftover" && found.has(id)) await this.#removeLeftover(id);
    }
  }

  async #removeLeftover(path: string): Promise<void> {
    await this.#step(`deleted ${path}`, async () => {
      await detachBelow([path]);
      const info = await Deno.lstat(path).catch(() => undefined);
      if (info === undefined || (info.isSymlink && await resolves(path))) return;
      if (info.isDirectory) await this.index.trash.discard(path);
      else await Deno.remove(path);
    });
  }

  async #step(what: string, act: () => Promise<void>): Promise<void> {
    this.options.signal?.throwIfAborted();
    try {
      await act();
      this.done.push(what);
    } catch (error) {
      this.options.signal?.throwIfAborted();
      this.failed.push(`not ${what}: ${messageOf(error)}`);
    }
  }
}
