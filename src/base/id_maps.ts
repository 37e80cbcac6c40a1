/** One range of a user namespace's id map, user_namespaces(7). */
export interface IdMap {
  readonly hostId: number;
  readonly containerId: number;
  readonly length: number;
}

/** The two maps of a user namespace. */
export interface IdMaps {
  readonly uidMaps: readonly IdMap[];
  readonly gidMaps: readonly IdMap[];
}

/** The host's id for one inside a user namespace; undefined where it is not mapped. */
export function hostIdOf(maps: readonly IdMap[], id: number): number | undefined {
  const map = maps.find(({ containerId, length }) => id >= containerId && id < containerId + length);
  return map === undefined ? undefined : map.hostId + (id - map.containerId);
}

/** The host's ids of root in a user namespace; those of the node where it is not mapped, or there is none. */
export function rootOwner(maps: IdMaps | undefined): { readonly uid: number; readonly gid: number } {
  return { uid: hostIdOf(maps?.uidMaps ?? [], 0) ?? 0, gid: hostIdOf(maps?.gidMaps ?? [], 0) ?? 0 };
}

/** Whether two pairs of maps say the same, range by range. */
export function sameIdMaps(a: IdMaps, b: IdMaps): boolean {
  return idMapText(a.uidMaps) === idMapText(b.uidMaps) && idMapText(a.gidMaps) === idMapText(b.gidMaps);
}

/** The content of a `uid_map` or `gid_map` file: one line for each range. */
export function idMapText(maps: readonly IdMap[]): string {
  return maps.map(({ containerId, hostId, length }) => `${containerId} ${hostId} ${length}\n`).join("");
}
