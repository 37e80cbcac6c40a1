import { lchown } from "node:fs/promises";
import { hostIdOf, type IdMap, type IdMaps, rootOwner } from "../base/id_maps.ts";
import { Semaphore } from "../base/semaphore.ts";
import { isErrno } from "../linux/errno.ts";
import { bindIdMapped } from "../linux/id_mapped_mount.ts";
import { unmount } from "../linux/mount.ts";
import { getXattr, setXattr } from "../linux/xattr.ts";
import { number, type RawRecord } from "./_records.ts";
import type { RootAttributes } from "./_overlay.ts";

/** Pool threads that a change of owners keeps busy. */
const CHANGES_AT_ONCE = 8;
const SET_ID_BITS = 0o6000;
const PERMISSION_BITS = 0o7777;
const CAPABILITY = "security.capability";

/** Fields of containers/storage on a container or layer whose ids are mapped. */
export function idMapFields(maps: IdMaps | undefined): RawRecord {
  if (maps === undefined) return {};
  const ranges = (list: readonly IdMap[]): unknown[] =>
    list.map(({ containerId, hostId, length }) => ({ container_id: containerId, host_id: hostId, size: length }));
  return { uidmap: ranges(maps.uidMaps), gidmap: ranges(maps.gidMaps) };
}

/** What {@link idMapFields} wrote, also in another program's words; undefined where nothing is mapped. */
export function idMapsOf(record: RawRecord): IdMaps | undefined {
  const ranges = (value: unknown): IdMap[] =>
    (Array.isArray(value) ? value : []).map((entry: RawRecord) => ({
      containerId: number(entry, "container_id") ?? 0,
      hostId: number(entry, "host_id") ?? 0,
      length: number(entry, "size") ?? 0,
    }));
  const maps = { uidMaps: ranges(record["uidmap"]), gidMaps: ranges(record["gidmap"]) };
  return maps.uidMaps.length === 0 || maps.gidMaps.length === 0 ? undefined : maps;
}

/** The root directory's attributes as they are stored in a layer whose ids are mapped. */
export function mappedRoot(root: RootAttributes, maps: IdMaps | undefined): RootAttributes {
  if (maps === undefined) return root;
  const owner = rootOwner(maps);
  return {
    mode: root.mode,
    uid: hostIdOf(maps.uidMaps, root.uid) ?? owner.uid,
    gid: hostIdOf(maps.gidMaps, root.gid) ?? owner.gid,
  };
}

/** Lower directories with mapped ids, to be mounted below an overlay, which keeps its own view of them. */
export interface MappedLowers extends AsyncDisposable {
  readonly paths: readonly string[];
}

/**
 * Mounts directories with mapped ids below `place`, for as long as it takes to mount an overlay of them.
 *
 * @returns undefined when their file system cannot do that
 */
export async function mapLowers(
  lowers: readonly string[],
  { place, userNamespace }: { readonly place: string; readonly userNamespace: string },
): Promise<MappedLowers | undefined> {
  const paths: string[] = [];
  const dispose = async (): Promise<void> => {
    for (const path of paths) await unmount(path, { detach: true });
    await Deno.remove(place, { recursive: true });
  };
  await Deno.mkdir(place, { recursive: true, mode: 0o700 });
  try {
    for (const [index, source] of lowers.entries()) {
      const target = `${place}/${index}`;
      await Deno.mkdir(target, { recursive: true, mode: 0o700 });
      bindIdMapped({ source, target, userNamespace });
      paths.push(target);
    }
  } catch (error) {
    await dispose();
    if (isErrno(error, "EINVAL", "EPERM", "ENOSYS")) return undefined;
    throw error;
  }
  return { paths, [Symbol.asyncDispose]: dispose };
}

/**
 * Gives a tree to the ids that its owners are mapped to: for file systems that cannot show mapped ids. In an overlay this
 * copies every file up.
 */
export async function changeOwners(root: string, maps: IdMaps): Promise<void> {
  const places = new Semaphore(CHANGES_AT_ONCE);
  const walk = async (path: string): Promise<void> => {
    const info = await change(path, { maps, places });
    if (!info.isDirectory) return;
    const names: string[] = [];
    for await (const { name } of Deno.readDir(path)) names.push(name);
    await Promise.all(names.map((name) => walk(`${path}/${name}`)));
  };
  await walk(root);
}

async function change(
  path: string,
  { maps, places }: { readonly maps: IdMaps; readonly places: Semaphore },
): Promise<Deno.FileInfo> {
  using _place = await places.acquire();
  const info = await Deno.lstat(path);
  const uid = hostIdOf(maps.uidMaps, info.uid ?? 0);
  const gid = hostIdOf(maps.gidMaps, info.gid ?? 0);
  if (uid === undefined && gid === undefined) return info;
  const capability = info.isFile ? capabilityOf(path) : undefined;
  await lchown(path, uid ?? info.uid ?? 0, gid ?? info.gid ?? 0);
  // A new owner costs a program its set-id bits and its capabilities.
  const mode = info.mode ?? 0;
  if (!info.isSymlink && (mode & SET_ID_BITS) !== 0) await Deno.chmod(path, mode & PERMISSION_BITS);
  if (capability !== undefined) setXattr(path, CAPABILITY, capability);
  return info;
}

function capabilityOf(path: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return getXattr(path, CAPABILITY);
  } catch (error) {
    if (isErrno(error, "EOPNOTSUPP")) return undefined;
    throw error;
  }
}
