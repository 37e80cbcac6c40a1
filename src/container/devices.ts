import { InvalidArgumentError } from "../base/errors.ts";
import { type Annotations, annotationValue } from "../config/annotations.ts";
import type { GrantedDevice } from "../oci/spec/devices.ts";
import { parseDeviceAnnotation, parseDeviceLine } from "../security/devices/device_line.ts";
import { allHostDevices, hostDevices } from "../security/devices/host_devices.ts";
import type { DevicePolicy } from "./ports.ts";
import type { ContainerSpec } from "./types.ts";
import { entryExists } from "../linux/exists.ts";

/** What decides about a container's devices. */
export interface DeviceInput {
  readonly spec: ContainerSpec;
  readonly annotations: Annotations;
  readonly policy: DevicePolicy;
  /** Whether it is privileged and its handler gives such containers the node's devices. */
  readonly allDevices: boolean;
}

/**
 * The devices of a container: those of the configuration, those that its pod asks for by annotation, all of the node's
 * for a privileged one, and those of the request. A later one takes the place of an earlier one at the same path.
 *
 * @throws InvalidArgumentError when one is not there, is no device, or is not allowed
 */
export async function grantedDevices(input: DeviceInput): Promise<GrantedDevice[]> {
  const { spec, annotations, policy, allDevices } = input;
  const source = "additional_devices of [crio.runtime]";
  const wanted = parseDeviceAnnotation(annotationValue(annotations, "devices") ?? "", policy.allowed);
  const byPath = new Map<string, GrantedDevice>();
  const put = (devices: readonly GrantedDevice[]): void => {
    for (const granted of devices) byPath.set(granted.device.path, granted);
  };
  for (const line of policy.additional) put(await hostDevices(parseDeviceLine(line, source)));
  for (const wish of wanted) put(await hostDevices(wish));
  if (allDevices) put(await allHostDevices());
  for (const request of spec.devices) put(await requested(request, input));
  return [...byPath.values()];
}

async function requested(
  request: ContainerSpec["devices"][number],
  { spec, policy, allDevices }: DeviceInput,
): Promise<GrantedDevice[]> {
  const { hostPath, containerPath } = request;
  if (allDevices && hostPath !== containerPath && await entryExists(containerPath)) {
    throw new InvalidArgumentError(
      `device ${hostPath}: a privileged container has the node's own ${containerPath}; choose a path that is free on the node`,
    );
  }
  const { runAsUser = 0, runAsGroup = 0 } = policy.ownedByUser ? spec.security : {};
  return (await hostDevices(request)).map(({ device, permissions }) => {
    // Without a mode the runtime lets everybody in, and the device cgroup decides: who may use the device was decided
    // when it was put into the request, not by the groups that own it on this node.
    const { fileMode: _mode, ...rest } = device;
    return {
      permissions,
      device: {
        ...rest,
        ...(runAsUser > 0 ? { uid: runAsUser } : {}),
        ...(runAsGroup > 0 ? { gid: runAsGroup } : {}),
      },
    };
  });
}
