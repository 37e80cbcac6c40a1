import type { IdMap } from "../../base/id_maps.ts";
import type { NamespaceModes, PidMode } from "../../container/types.ts";
import { type IDMapping, NamespaceMode, type NamespaceOption, type UserNamespace } from "../gen/api.ts";
import { invalid, nonEmpty } from "./_checks.ts";

/** One past the highest id, which is also the most that a map can hold. */
const ID_SPACE = 2 ** 32;
/** user_namespaces(7): lines of a map since Linux 4.15. */
const MAX_MAP_LINES = 340;

/** Namespaces of a pod or container. Absent options are the CRI's zero values: everything is the pod's. */
export function namespaceModes(
  option: NamespaceOption | undefined,
  field: string,
  options: { allowTarget: boolean },
): NamespaceModes {
  const user = userNamespace(option?.usernsOptions, `${field}.userns_options`);
  const pid = pidMode(option, `${field}.pid`);
  if (pid.kind === "target" && !options.allowTarget) throw invalid(`${field}.pid`, "cannot be TARGET for a pod");
  return {
    network: podOrNode(option?.network, `${field}.network`),
    ipc: podOrNode(option?.ipc, `${field}.ipc`),
    pid,
    ...(user === undefined ? {} : { user }),
  };
}

/** The same in the words of the CRI. */
export function namespaceOption(modes: NamespaceModes): NamespaceOption {
  const { network, ipc, pid, user } = modes;
  return {
    network: network === "node" ? NamespaceMode.NODE : NamespaceMode.POD,
    ipc: ipc === "node" ? NamespaceMode.NODE : NamespaceMode.POD,
    pid: PID_MODES[pid.kind],
    targetId: pid.kind === "target" ? pid.containerId : "",
    usernsOptions: userOptions(user),
  };
}

function userOptions(user: NamespaceModes["user"]): UserNamespace | undefined {
  if (user === undefined) return undefined;
  if (user === "node") return { mode: NamespaceMode.NODE, uids: [], gids: [] };
  return { mode: NamespaceMode.POD, uids: user.uidMaps.map(mapping), gids: user.gidMaps.map(mapping) };
}

/** Id maps, each range within the 32-bit space. */
export function idMaps(mappings: readonly IDMapping[], field: string): IdMap[] {
  if (mappings.length > MAX_MAP_LINES) throw invalid(field, `has more than ${MAX_MAP_LINES} ranges`);
  return mappings.map(({ hostId, containerId, length }) => {
    if (length === 0) throw invalid(field, "has a range of length 0");
    if (hostId + length > ID_SPACE || containerId + length > ID_SPACE) {
      throw invalid(field, `has a range beyond 2^32: host ${hostId}, container ${containerId}, length ${length}`);
    }
    return { hostId, containerId, length };
  });
}

/** One range in the words of the CRI. */
export function mapping(map: IdMap): IDMapping {
  return { hostId: map.hostId, containerId: map.containerId, length: map.length };
}

const PID_MODES: Readonly<Record<PidMode["kind"], NamespaceMode>> = {
  pod: NamespaceMode.POD,
  container: NamespaceMode.CONTAINER,
  node: NamespaceMode.NODE,
  target: NamespaceMode.TARGET,
};

function podOrNode(mode: NamespaceMode | undefined, field: string): "pod" | "node" {
  if (mode === undefined || mode === NamespaceMode.POD) return "pod";
  if (mode === NamespaceMode.NODE) return "node";
  throw invalid(field, `mode ${String(mode)} is neither POD nor NODE`);
}

function pidMode(option: NamespaceOption | undefined, field: string): PidMode {
  switch (option?.pid) {
    case undefined:
    case NamespaceMode.POD:
      return { kind: "pod" };
    case NamespaceMode.CONTAINER:
      return { kind: "container" };
    case NamespaceMode.NODE:
      return { kind: "node" };
    case NamespaceMode.TARGET:
      return { kind: "target", containerId: nonEmpty(option?.targetId ?? "", `${field}: target_id`) };
    default:
      throw invalid(field, `mode ${String(option?.pid)} is not known`);
  }
}

function userNamespace(options: UserNamespace | undefined, field: string): NamespaceModes["user"] {
  if (options === undefined) return undefined;
  const uidMaps = idMaps(options.uids, `${field}.uids`);
  const gidMaps = idMaps(options.gids, `${field}.gids`);
  if (options.mode === NamespaceMode.NODE) {
    if (uidMaps.length + gidMaps.length > 0) throw invalid(field, "has mappings although the mode is NODE");
    return "node";
  }
  if (options.mode !== NamespaceMode.POD) throw invalid(field, `mode ${String(options.mode)} is neither POD nor NODE`);
  if (uidMaps.length === 0 || gidMaps.length === 0) throw invalid(field, "of mode POD needs uids and gids");
  // KEP-127: the kubelet gives one range; what several of them would mean for volumes is not said.
  if (uidMaps.length > 1 || gidMaps.length > 1) throw invalid(field, "has more than one range of uids or gids");
  return { uidMaps, gidMaps };
}
