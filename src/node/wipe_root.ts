import { FailedPreconditionError } from "../base/errors.ts";
import { unmount } from "../linux/mount.ts";
import { isBelow, readMounts } from "../linux/mountinfo.ts";

/**
 * Empties a graph root: images, layers, containers, podman's too. The directory itself stays, it may be a mount point.
 *
 * @throws FailedPreconditionError while a file system of a container is mounted below it
 */
export async function wipeGraphRoot(graphRoot: string): Promise<void> {
  const root = await Deno.realPath(graphRoot).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
  if (root === undefined) return;
  await refuseMounted(root);
  for (let left = await ownMounts(root); left.length > 0; left = await ownMounts(root)) {
    for (const path of left) await unmount(path);
  }
  for await (const { name } of Deno.readDir(root)) await Deno.remove(`${root}/${name}`, { recursive: true });
}

/** The driver's directory is bound on itself, once by each tool that came after another had unmounted it. */
async function ownMounts(root: string): Promise<string[]> {
  return (await readMounts()).map(({ mountPoint }) => mountPoint).filter((path) => path === `${root}/overlay`);
}

async function refuseMounted(root: string): Promise<void> {
  const used = (await readMounts()).map(({ mountPoint }) => mountPoint)
    .filter((path) => path !== root && path !== `${root}/overlay` && isBelow(path, root));
  if (used.length === 0) return;
  throw new FailedPreconditionError(
    `wipe ${root}: ${used.length} file systems are mounted below it (the first: ${used[0]}): stop and remove the ` +
      "containers that use them, of podman too, and wipe then",
  );
}
