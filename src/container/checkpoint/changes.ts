import { getXattr } from "../../linux/xattr.ts";
import type { LayerDirectories } from "../ports.ts";
import { OWN_MOUNTS } from "./files.ts";

/** How a container's root file system differs from its image. Paths are relative, without a leading slash. */
export interface RootfsChanges {
  /** What was written or changed, parents before children: all of the writable layer but whiteouts and mount points. */
  readonly kept: readonly string[];
  /** What is gone, with a leading slash, as `deleted.files` has it. */
  readonly deleted: readonly string[];
}

const OPAQUE = "trusted.overlay.opaque";
const YES = "y".charCodeAt(0);

/**
 * Looks through the writable layer of a container that does not run: nothing below it may change meanwhile. Symbolic
 * links are never followed.
 *
 * @param mountPoints destinations of the container's mounts: what is there in the layer is only what they stand on
 */
export async function rootfsChanges(
  layers: LayerDirectories,
  options: { readonly mountPoints: readonly string[]; readonly signal: AbortSignal },
): Promise<RootfsChanges> {
  const skipped = new Set([...OWN_MOUNTS, ...options.mountPoints].map((path) => path.replace(/^\/+/, "")));
  const [kept, deleted]: [string[], string[]] = [[], []];
  const walk = async (path: string, parent: { readonly isCovered: boolean }): Promise<void> => {
    options.signal.throwIfAborted();
    const directory = path === "" ? layers.upper : `${layers.upper}/${path}`;
    const present = new Set<string>();
    const isCovered = parent.isCovered || isOpaque(directory);
    for await (const { name } of Deno.readDir(directory)) {
      const below = path === "" ? name : `${path}/${name}`;
      if (skipped.has(below)) {
        present.add(name);
        continue;
      }
      const info = await Deno.lstat(`${directory}/${name}`);
      if (info.isCharDevice === true && info.rdev === 0) {
        if (!isCovered) deleted.push(`/${below}`);
        continue;
      }
      present.add(name);
      kept.push(below);
      if (info.isDirectory) await walk(below, { isCovered });
    }
    if (isCovered) {
      for (const name of await namesBelow(layers.lowers, path)) {
        if (!present.has(name)) deleted.push(`/${path}/${name}`);
      }
    }
  };
  await walk("", { isCovered: false });
  return { kept, deleted: deleted.sort() };
}

/** A directory that hides all of the layers below: the container removed it and made it anew. */
function isOpaque(directory: string): boolean {
  const value = getXattr(directory, OPAQUE);
  return value !== undefined && value[0] === YES;
}

/** Names that the layers below have in a directory; those that one of them hides may be among them. */
async function namesBelow(lowers: readonly string[], path: string): Promise<Set<string>> {
  const names = new Set<string>();
  for (const lower of lowers) {
    const directory = `${lower}/${path}`;
    try {
      if (!(await Deno.lstat(directory)).isDirectory) continue;
      for await (const { name } of Deno.readDir(directory)) names.add(name);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound) && !(error instanceof Deno.errors.NotADirectory)) throw error;
    }
  }
  return names;
}
