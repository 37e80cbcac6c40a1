import { FailedPreconditionError } from "../base/errors.ts";
import { bindMount, unmount } from "../linux/mount.ts";
import { readMounts } from "../linux/mountinfo.ts";

/**
 * Shows a pod's log directory, read-only, in a volume of the pod, so that one of its containers can read the others' logs.
 *
 * @throws FailedPreconditionError when there is no such volume
 */
export async function linkLogs(logDirectory: string, volume: string): Promise<void> {
  const info = await Deno.lstat(volume).catch((cause: unknown) => {
    if (cause instanceof Deno.errors.NotFound) return undefined;
    throw cause;
  });
  if (info?.isDirectory !== true) {
    throw new FailedPreconditionError(`annotation link-logs.crio.io: the pod has no emptyDir volume at ${volume}`);
  }
  bindMount(logDirectory, volume, { readonly: true });
}

/**
 * Takes the logs out of the volume; succeeds when they are not there. What else is mounted there is the kubelet's: a volume in
 * memory is a mount as well.
 */
export async function unlinkLogs(logDirectory: string, volume: string): Promise<void> {
  const name = logDirectory.slice(logDirectory.lastIndexOf("/"));
  const top = (await readMounts()).findLast(({ mountPoint }) => mountPoint === volume);
  if (top?.root.replace(/\/\/deleted$/, "").endsWith(name) === true) await unmount(volume, { detach: true });
}
