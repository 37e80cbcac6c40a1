import { FailedPreconditionError } from "../../base/errors.ts";

/** As many links in a path as the kernel follows. */
const MAX_LINKS = 40;

/**
 * A path of the node without symbolic links, as this daemon sees it: below `prefix` where the node's root is mounted
 * there. Absolute links stay below the prefix.
 *
 * @returns undefined when it does not exist
 * @throws FailedPreconditionError when it cannot be looked at
 */
export async function resolveHostPath(path: string, prefix: string): Promise<string | undefined> {
  try {
    return prefix === "" ? await Deno.realPath(path) : await walk(path, prefix);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new FailedPreconditionError(`host path ${path} cannot be looked at`, { cause: error });
  }
}

async function walk(path: string, prefix: string): Promise<string> {
  const left = parts(path);
  let done: string[] = [];
  let links = 0;
  while (left.length > 0) {
    const name = left.shift() ?? "";
    if (name === "..") {
      done = done.slice(0, -1);
      continue;
    }
    const here = `${prefix}/${[...done, name].join("/")}`;
    if (!(await Deno.lstat(here)).isSymlink) {
      done = [...done, name];
      continue;
    }
    if (++links > MAX_LINKS) throw new Error(`${path} has more than ${MAX_LINKS} symbolic links`);
    const target = await Deno.readLink(here);
    if (target.startsWith("/")) done = [];
    left.unshift(...parts(target));
  }
  return `${prefix}/${done.join("/")}`;
}

function parts(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}
