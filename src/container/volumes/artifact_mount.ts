import { FailedPreconditionError, NotFoundError } from "../../base/errors.ts";
import { isErrno } from "../../linux/errno.ts";
import { bindMount, isMountPoint, mount, unmount } from "../../linux/mount.ts";

import { relabelVolume } from "../../security/selinux/relabel.ts";

/** A file of an artifact and where it is on the host. */
export interface ArtifactFile {
  /** Relative, checked: no `.`, `..` or absolute name, and no file is another's directory. */
  readonly name: string;
  readonly path: string;
}

/** Directories and empty files of a tmpfs take no data pages; this is for its root. */
const SIZE = "size=64k";

/**
 * Mounts a read-only tree of empty files at `target`, on which the runtime binds the real ones. It appears at once, so that a
 * crash leaves nothing that looks complete.
 *
 * @param options.label SELinux's, for the tree
 * @throws ErrnoError
 */
export async function mountPlaceholders(
  target: string,
  files: readonly ArtifactFile[],
  options: { readonly label: string | undefined },
): Promise<void> {
  const { label } = options;
  const staging = `${target}.new`;
  await Deno.mkdir(staging, { recursive: true, mode: 0o755 });
  if (isMountPoint(staging) !== false) await unmount(staging, { detach: true });
  const inodes = 2 + files.reduce((sum, { name }) => sum + name.split("/").length, 0);
  const data = `mode=0755,${SIZE},nr_inodes=${inodes}`;
  mount({ source: "crio-artifact", target: staging, filesystem: "tmpfs", data });
  try {
    for (const { name } of files) {
      const place = `${staging}/${name}`;
      await Deno.mkdir(place.slice(0, place.lastIndexOf("/")), { recursive: true, mode: 0o755 });
      await Deno.writeFile(place, new Uint8Array(0), { createNew: true, mode: 0o444 });
    }
    if (label !== undefined) await relabelVolume(staging, label, { onlyIfTopDiffers: false });
    bindMount(staging, target, { readonly: true });
  } finally {
    await unmount(staging, { detach: true });
    await Deno.remove(staging).catch(() => {});
  }
}

/** @throws FailedPreconditionError when a file is gone */
export async function checkThere(files: readonly ArtifactFile[]): Promise<void> {
  for (const { name, path } of files) {
    try {
      await Deno.lstat(path);
    } catch (cause) {
      const reason = `file ${
        JSON.stringify(name)
      } of the artifact is gone: somebody removed it meanwhile; pull it again`;
      throw new FailedPreconditionError(reason, { cause });
    }
  }
}

/** Gives the files themselves a label, where their file system has any. One that is only read keeps its own. */
export async function labelFiles(files: readonly ArtifactFile[], label: string): Promise<void> {
  for (const { path } of files) {
    try {
      await relabelVolume(path, label, { onlyIfTopDiffers: true });
    } catch (error) {
      if (!isErrno(error, "EROFS")) throw error;
    }
  }
}

/**
 * What lies at a path of the volume: one file, or the files of a directory under their names from there on.
 *
 * @throws NotFoundError
 */
export function filesAt(files: readonly ArtifactFile[], subPath: string): ArtifactFile | readonly ArtifactFile[] {
  const path = subPath.split("/").filter((part) => part !== "" && part !== ".").join("/");
  if (path === "") return files;
  const file = files.find(({ name }) => name === path);
  if (file !== undefined) return file;
  const below = files.filter(({ name }) => name.startsWith(`${path}/`));
  if (below.length === 0) throw new NotFoundError("path of the artifact", subPath);
  return below.map((one) => ({ ...one, name: one.name.slice(path.length + 1) }));
}
