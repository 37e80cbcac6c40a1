import { FailedPreconditionError, messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { parseYaml } from "../../config/yaml.ts";
import { type CdiDocument, readCdiDocument } from "./document.ts";
import type { ContainerEdits } from "./edits.ts";
import { parseCdiName } from "./names.ts";

/** One file as it was last read. */
interface KnownFile {
  readonly path: string;
  /** Changes when the file does. */
  readonly stamp: string;
  readonly document?: CdiDocument;
  /** Why it cannot be used. */
  readonly problem?: string;
}

/** Where a device stands; several of one directory with the same name cancel each other. */
interface Place {
  readonly document: CdiDocument;
  readonly edits: ContainerEdits;
  readonly paths: readonly string[];
}

/**
 * The CDI devices of this node. The directories are looked at whenever a container asks for devices, which is rare and costs a few
 * stat calls; only files that changed are read again. So there is nothing to watch, and a device that was
 * announced a moment ago is there.
 */
export class CdiRegistry {
  #files: ReadonlyMap<string, KnownFile> = new Map();

  /** @param options.source.cdiSpecDirs directories, which may change; a device in a later one wins */
  constructor(
    private readonly options: { readonly source: { readonly cdiSpecDirs: readonly string[] }; readonly log: Logger },
  ) {}

  /**
   * What these devices change in a container, in their order; what a file changes for all its devices comes before its
   * first device, once.
   *
   * @throws InvalidArgumentError for a name that is none, FailedPreconditionError for devices that are not there
   */
  async edits(names: readonly string[]): Promise<readonly ContainerEdits[]> {
    const unique = [...new Set(names)];
    for (const name of unique) parseCdiName(name);
    if (unique.length === 0) return [];
    const devices = await this.#look();
    const places = unique.map((name) => devices.get(name));
    const missing = unique.filter((_, index) => (places[index]?.paths.length ?? 0) !== 1);
    if (missing.length > 0) throw this.#unresolvable(missing, devices);
    const seen = new Set<CdiDocument>();
    return places.flatMap((place) => {
      if (place === undefined) return [];
      const first = !seen.has(place.document);
      seen.add(place.document);
      return first ? [place.document.edits, place.edits] : [place.edits];
    });
  }

  #unresolvable(names: readonly string[], devices: ReadonlyMap<string, Place>): FailedPreconditionError {
    const reasons = names.map((name) => {
      const paths = devices.get(name)?.paths ?? [];
      return paths.length > 1 ? `${name} (both in ${paths.join(" and ")})` : name;
    });
    const broken = [...this.#files.values()].filter(({ problem }) => problem !== undefined);
    const hint = broken.length === 0
      ? ""
      : `; left out: ${broken.map(({ path, problem }) => `${path}: ${problem}`).join("; ")}`;
    const where = this.options.source.cdiSpecDirs.join(", ");
    return new FailedPreconditionError(
      `unresolvable CDI devices ${reasons.join(", ")}: not described in ${where}${hint}`,
    );
  }

  /** Each caller looks for itself: one that began earlier may have passed the place where a file has appeared since. */
  async #look(): Promise<ReadonlyMap<string, Place>> {
    const files = new Map<string, KnownFile>();
    const devices = new Map<string, Place>();
    for (const directory of this.options.source.cdiSpecDirs) {
      const own = new Map<string, Place>();
      for (const path of await this.#specFiles(directory)) {
        const file = await this.#read(path);
        if (file === undefined) continue;
        files.set(path, file);
        if (file.document !== undefined) addDevices(own, file.document, path);
      }
      for (const [name, place] of own) devices.set(name, place);
    }
    this.#files = files;
    return devices;
  }

  async #specFiles(directory: string): Promise<string[]> {
    const names: string[] = [];
    try {
      for await (const { name, isDirectory } of Deno.readDir(directory)) {
        if (!isDirectory && /\.(json|yaml)$/.test(name)) names.push(name);
      }
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      this.options.log.warn(`CDI directory ${directory} cannot be read: ${messageOf(error)}`);
    }
    return names.sort().map((name) => `${directory}/${name}`);
  }

  /** Undefined when it went away meanwhile. */
  async #read(path: string): Promise<KnownFile | undefined> {
    let stamp = "";
    try {
      const { ino, size, mtime, ctime } = await Deno.stat(path);
      stamp = [ino, size, mtime?.getTime(), ctime?.getTime()].join(" ");
      const known = this.#files.get(path);
      if (known?.stamp === stamp) return known;
      return { path, stamp, document: readCdiDocument(await parse(path)) };
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      const problem = messageOf(error);
      this.options.log.warn(`CDI file ${path} is left out: ${problem}`);
      return { path, stamp, problem };
    }
  }
}

function addDevices(devices: Map<string, Place>, document: CdiDocument, path: string): void {
  for (const [name, edits] of document.devices) {
    const full = `${document.kind}=${name}`;
    devices.set(full, { document, edits, paths: [...devices.get(full)?.paths ?? [], path] });
  }
}

async function parse(path: string): Promise<unknown> {
  const source = await Deno.readTextFile(path);
  return path.endsWith(".json") ? JSON.parse(source) : await parseYaml(source);
}
