import { InvalidArgumentError, UnimplementedError } from "../base/errors.ts";
import { type GrantedDevice, grantRule } from "../oci/spec/devices.ts";
import { mergeMounts } from "../oci/spec/mounts.ts";
import type { OciDevice, OciHook, OciMount, OciSpec } from "../oci/spec/types.ts";
import type { CdiDeviceNode, CdiMount, ContainerEdits } from "../security/cdi/edits.ts";
import { annotatedCdiDevices } from "../security/cdi/names.ts";
import { hostDevices } from "../security/devices/host_devices.ts";
import type { ContainerSpec } from "./types.ts";

/** Where CDI devices come from. */
export interface CdiSource {
  /** @throws FailedPreconditionError for devices that are not there */
  edits(names: readonly string[]): Promise<readonly ContainerEdits[]>;
}

/**
 * The CDI devices that a container asks for: in the request, and in its own annotations, which device plugins write through the kubelet.
 * Annotations of pods, which users write, do not count.
 *
 * @throws InvalidArgumentError for an annotation that lists no devices
 */
export function requestedCdiDevices(spec: ContainerSpec): string[] {
  return [...new Set([...spec.cdiDevices, ...annotatedCdiDevices(spec.annotations)])];
}

/**
 * The runtime configuration with what these CDI devices change in it.
 *
 * @throws InvalidArgumentError, FailedPreconditionError for a device that cannot be had; UnimplementedError
 */
export async function withCdiDevices(
  oci: OciSpec,
  devices: readonly string[],
  source: CdiSource,
): Promise<OciSpec> {
  let edited = oci;
  for (const one of await source.edits(devices)) edited = await edit(edited, one);
  return edited;
}

async function edit(oci: OciSpec, edits: ContainerEdits): Promise<OciSpec> {
  if (edits.netDevices !== undefined) {
    throw new UnimplementedError(
      `CDI device with network interfaces (${edits.netDevices.map(({ name }) => name).join(", ")}): not supported yet`,
    );
  }
  const { process, linux } = oci;
  const gids = [...process.user.additionalGids ?? [], ...edits.additionalGids ?? []];
  const nodes: GrantedDevice[] = [];
  for (const node of edits.deviceNodes ?? []) nodes.push(await granted(node, process.user));
  const hooks = withHooks(oci.hooks, edits);
  return {
    ...oci,
    process: {
      ...process,
      env: withVariables(process.env, edits.env ?? []),
      user: { ...process.user, additionalGids: [...new Set(gids)].filter((gid) => gid !== 0) },
    },
    mounts: mergeMounts(oci.mounts, (edits.mounts ?? []).map(mountOf)),
    ...(hooks === undefined ? {} : { hooks }),
    linux: {
      ...linux,
      devices: withDevices(linux.devices ?? [], nodes.map(({ device }) => device)),
      resources: {
        ...linux.resources,
        devices: [...linux.resources?.devices ?? [], ...nodes.flatMap(grantRule)],
      },
      ...(edits.intelRdt === undefined ? {} : { intelRdt: edits.intelRdt }),
    },
  };
}

/** A device node with what its file leaves to the node's own device of that path. */
async function granted(node: CdiDeviceNode, user: { uid: number; gid: number }): Promise<GrantedDevice> {
  const { path, hostPath = path, type, major, minor, fileMode, permissions = "rwm" } = node;
  const uid = node.uid ?? (user.uid > 0 ? user.uid : undefined);
  const gid = node.gid ?? (user.gid > 0 ? user.gid : undefined);
  const own = {
    path,
    ...(fileMode === undefined ? {} : { fileMode }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  };
  const rights = permissions === "none" ? "" : permissions;
  if (type === "p") return { device: { ...own, type }, permissions: rights };
  if (type !== undefined && major !== undefined && major > 0) {
    return { device: { ...own, type, major, minor: minor ?? 0 }, permissions: rights };
  }
  const [found, ...more] = await hostDevices({ hostPath, containerPath: path, permissions: rights });
  if (found === undefined || more.length > 0) throw new InvalidArgumentError(`CDI device ${hostPath} is a directory`);
  const { device } = found;
  if (type !== undefined && type !== device.type && !(type === "u" && device.type === "c")) {
    throw new InvalidArgumentError(`CDI device ${hostPath} is of type ${device.type} on this node, not ${type}`);
  }
  return { device: { ...own, type: device.type, major: device.major, minor: device.minor }, permissions: rights };
}

function withDevices(devices: readonly OciDevice[], more: readonly OciDevice[]): OciDevice[] {
  return [...new Map([...devices, ...more].map((device) => [device.path, device])).values()];
}

/** A later value takes an earlier one's place. */
function withVariables(env: readonly string[], more: readonly string[]): string[] {
  return [...new Map([...env, ...more].map((line) => [line.split("=", 1)[0] ?? line, line])).values()];
}

/** Vendors leave the type out and write `bind` among the options, or nothing at all. */
function mountOf({ hostPath, containerPath, options, type }: CdiMount): OciMount {
  const binds = options.includes("bind") || options.includes("rbind");
  const isBind = binds || type === undefined || type === "bind" || type === "none";
  return {
    destination: containerPath,
    source: hostPath,
    type: isBind ? "bind" : type,
    options: isBind && !binds ? ["rbind", ...options] : options,
  };
}

function withHooks(hooks: OciSpec["hooks"], { hooks: more }: ContainerEdits): OciSpec["hooks"] {
  if (more === undefined) return hooks;
  const stages: Record<string, readonly OciHook[]> = { ...hooks };
  for (const { hookName, ...hook } of more) stages[hookName] = [...stages[hookName] ?? [], hook];
  return stages;
}
