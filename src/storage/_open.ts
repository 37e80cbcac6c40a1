import { FailedPreconditionError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { bindMount, isMountPoint, setPropagation } from "../linux/mount.ts";
import { readMounts } from "../linux/mountinfo.ts";
import type { Layout } from "./layout.ts";
import { StoreLock } from "./_store_lock.ts";
import { codeOf } from "./_trees.ts";

/** Other drivers of containers/storage, which put their images beside ours. */
const OTHER_DRIVERS = ["vfs", "btrfs", "zfs", "aufs", "devicemapper", "overlay2"];

/**
 * Makes the directories of a store, as containers/storage does, and the private bind mount of `overlay`.
 *
 * @throws FailedPreconditionError when the graph root holds another driver's store
 */
export async function prepareRoots(
  layout: Layout,
  options: { readonly logger: Logger; readonly signal?: AbortSignal },
): Promise<void> {
  await Deno.mkdir(layout.graphRoot, { recursive: true, mode: 0o700 });
  await Deno.mkdir(layout.runRoot, { recursive: true, mode: 0o700 });
  await refuseOtherDriver(layout);
  using lock = new StoreLock(`${layout.graphRoot}/storage.lock`, options.logger);
  using _held = await lock.acquire("write", options);
  const directories = [
    `${layout.graphRoot}/mounts`,
    layout.temporary,
    layout.overlay,
    layout.layers,
    layout.images,
    layout.containers,
    layout.runOverlay,
    layout.runLayers,
    layout.runContainers,
    `${layout.runRoot}/overlay-locks`,
  ];
  for (const directory of directories) await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  await Deno.mkdir(layout.links, { recursive: true, mode: 0o755 });
  await prepareImageStore(layout, options.logger);
  await makePrivate(layout.overlay);
}

async function prepareImageStore(layout: Layout, logger: Logger): Promise<void> {
  const { forImages, formerImages } = layout;
  if (formerImages === undefined) return;
  const layers = `${forImages.root}/overlay-layers`;
  for (const directory of [forImages.overlay, forImages.temporary, layers, layout.images, formerImages]) {
    await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  }
  await Deno.mkdir(forImages.links, { recursive: true, mode: 0o755 });
  // The records stay below the graph root; tools that take the image store for an additional one want to lock this.
  new StoreLock(`${layers}/layers.lock`, logger)[Symbol.dispose]();
}

/**
 * Sees to it that `overlay` is a private mount point. Other tools bind it on itself when they start, which would hide
 * the mounts of our containers below it, and unmount it when they end and no container is recorded as mounted (under
 * the lock of the layers): so this is looked at before every container's mount.
 */
export async function ensurePrivate(
  layout: Layout,
  options: { readonly logger: Logger; readonly signal?: AbortSignal },
): Promise<void> {
  if (isMountPoint(layout.overlay) === true) return;
  using lock = new StoreLock(`${layout.graphRoot}/storage.lock`, options.logger);
  using _held = await lock.acquire("write", options);
  await makePrivate(layout.overlay);
}

async function makePrivate(overlay: string): Promise<void> {
  const directory = await Deno.realPath(overlay);
  const mounted = isMountPoint(directory) ?? (await readMounts()).some((mount) => mount.mountPoint === directory);
  if (!mounted) bindMount(directory, directory);
  setPropagation(directory, "private");
}

async function refuseOtherDriver(layout: Layout): Promise<void> {
  if (await hasEntries(layout.layers)) return;
  for (const driver of OTHER_DRIVERS) {
    if (!await hasEntries(`${layout.graphRoot}/${driver}-images`)) continue;
    throw new FailedPreconditionError(
      `${layout.graphRoot} holds a store of the storage driver ${driver}, and only overlay is supported: set \`root\` ` +
        `in crio.conf to another directory, or empty this one with \`podman --storage-driver ${driver} system reset\``,
    );
  }
}

async function hasEntries(directory: string): Promise<boolean> {
  try {
    for await (const _entry of Deno.readDir(directory)) return true;
    return false;
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return false;
    throw error;
  }
}
