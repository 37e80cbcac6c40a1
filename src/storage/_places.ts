import type { Layout } from "./layout.ts";
import { codeOf } from "./_trees.ts";

/**
 * Where layers are: below the graph root, in the image store, or in a read-only store. A `lower` file names what a
 * layer stands on by short names, `l/<name>`, whichever of these places has them.
 */
export class Places {
  readonly #overlays: readonly string[];

  /** @param additional roots of read-only stores, in the order in which they are looked through */
  constructor(private readonly layout: Layout, additional: readonly string[] = []) {
    const overlays = [
      ...layout.layerRoots.map((place) => place.overlay),
      ...additional.map((root) => `${root}/overlay`),
    ];
    this.#overlays = overlays;
  }

  /** Directory of a layer: in the first place that has it, or where a container's would be. */
  async layer(id: string): Promise<string> {
    return await this.#find(id) ?? this.layout.layer(id);
  }

  /** The directory that one item of a `lower` file stands for. */
  async lower(link: string): Promise<string> {
    return await this.#find(link) ?? `${this.layout.overlay}/${link}`;
  }

  /** The directory whose `merged` a layer is mounted on: nothing is made in stores that are not our own to write. */
  async mountDirectory(id: string): Promise<string> {
    const directory = await this.layer(id);
    return this.isOwn(directory) ? directory : `${this.layout.runOverlay}/${id}`;
  }

  /** Whether a layer's directory is below the graph root. */
  isOwn(directory: string): boolean {
    return directory.startsWith(`${this.layout.overlay}/`);
  }

  async #find(name: string): Promise<string | undefined> {
    const [only, ...more] = this.#overlays;
    if (more.length === 0) return `${only}/${name}`;
    for (const overlay of this.#overlays) if (await exists(`${overlay}/${name}`)) return `${overlay}/${name}`;
    return undefined;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    // A read-only store may be on a share that is not there now.
    if (["ENOENT", "ENOTDIR", "ESTALE", "EIO"].includes(codeOf(error) ?? "")) return false;
    throw error;
  }
}
