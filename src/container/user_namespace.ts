import { FailedPreconditionError, InvalidArgumentError } from "../base/errors.ts";
import { hostIdOf, type IdMap, type IdMaps, sameIdMaps } from "../base/id_maps.ts";
import type { HandlerFeatures } from "../oci/runtime/handler_features.ts";
import type { OciIdMapping, OciLinux, OciMount, OciNamespace } from "../oci/spec/types.ts";
import type { PodContext } from "./ports.ts";
import type { ContainerSpec } from "./types.ts";
import type { ResolvedUser } from "./user.ts";

/** A pod's user namespace. */
export interface PodUserNamespace {
  readonly path: string;
  readonly maps: IdMaps;
}

/** The user namespace of a pod that has one of its own. */
export function userNamespaceOf({ namespaces, userMaps }: PodContext): PodUserNamespace | undefined {
  return namespaces.user === undefined || userMaps === undefined
    ? undefined
    : { path: namespaces.user, maps: userMaps };
}

/**
 * @throws InvalidArgumentError when the container asks for other maps than its pod, or runs as an id that is not mapped;
 *   FailedPreconditionError when its runtime cannot have it
 */
export function checkUserNamespace(
  pod: PodContext,
  { spec, user, handler }: { spec: ContainerSpec; user: ResolvedUser; handler: HandlerFeatures },
): void {
  const asked = spec.security.namespaces.user;
  const maps = pod.userMaps;
  if (asked !== undefined && asked !== "node" && (maps === undefined || !sameIdMaps(asked, maps))) {
    throw new InvalidArgumentError("the container asks for other user namespace mappings than its pod has");
  }
  if (maps === undefined) return;
  if (!handler.userNamespaces) {
    throw new FailedPreconditionError(
      "the pod has a user namespace, which its OCI runtime or this kernel does not support",
    );
  }
  const ids: Array<[string, readonly IdMap[], number]> = [
    ["user", maps.uidMaps, user.uid],
    ...[user.gid, ...user.supplementalGroups].map((id) => ["group", maps.gidMaps, id] as [string, IdMap[], number]),
  ];
  for (const [what, list, id] of ids) {
    if (hostIdOf(list, id) !== undefined) continue;
    throw new InvalidArgumentError(`the container runs as ${what} ${id}, which the pod's user namespace does not map`);
  }
}

/** The namespace to join. */
export function userNamespaces(pod: Pick<PodContext, "namespaces">): OciNamespace[] {
  const { user } = pod.namespaces;
  return user === undefined ? [] : [{ type: "user", path: user }];
}

/** The maps once more, for runtimes that do not read them from the namespace. */
export function idMappings(
  { userMaps }: Pick<PodContext, "userMaps">,
  { wantsIdMappings }: Pick<HandlerFeatures, "wantsIdMappings">,
): Pick<OciLinux, "uidMappings" | "gidMappings"> {
  if (userMaps === undefined || !wantsIdMappings) return {};
  const ranges = (maps: readonly IdMap[]): OciIdMapping[] =>
    maps.map(({ containerId, hostId, length }) => ({ containerID: containerId, hostID: hostId, size: length }));
  return { uidMappings: ranges(userMaps.uidMaps), gidMappings: ranges(userMaps.gidMaps) };
}

/**
 * Default mounts that a user namespace can have: `/sys` and `/proc` belong to the network and PID namespaces, so where
 * those are the node's the node's mounts are bound instead.
 */
export function userNamespaceMounts(
  mounts: readonly OciMount[],
  { pod, nodePid }: { readonly pod: PodContext; readonly nodePid: boolean },
): readonly OciMount[] {
  if (pod.namespaces.user === undefined) return mounts;
  const bound = (destination: string, access: string): OciMount => ({
    destination,
    type: "bind",
    source: destination,
    options: ["rbind", "rprivate", "nosuid", "noexec", "nodev", access],
  });
  return mounts.map((mount) => {
    if (mount.destination === "/sys" && pod.namespaces.network === undefined) return bound("/sys", "ro");
    if (mount.destination === "/proc" && nodePid) return bound("/proc", "rw");
    return mount;
  });
}
