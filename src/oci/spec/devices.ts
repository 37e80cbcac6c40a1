import type { OciDevice, OciDeviceRule } from "./types.ts";

/** Devices that the runtime makes by itself; the rules below allow them. */
const DEFAULT_RULES: readonly OciDeviceRule[] = [
  { allow: false, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 3, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 5, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 7, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 8, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 9, access: "rwm" },
  { allow: true, type: "c", major: 5, minor: 0, access: "rwm" },
  { allow: true, type: "c", major: 5, minor: 2, access: "rwm" },
  { allow: true, type: "c", major: 136, access: "rwm" },
];

const ALL_RULES: readonly OciDeviceRule[] = [{ allow: true, access: "rwm" }];

/** A device of the node with what the container may do with it. */
export interface GrantedDevice {
  readonly device: OciDevice;
  /** Some of `r`, `w`, `m`. */
  readonly permissions: string;
}

/** Device cgroup rules: everything for a container that has all devices, else the harmless ones and what was granted. */
export function deviceRules(
  granted: readonly GrantedDevice[],
  options: { readonly allDevices: boolean },
): readonly OciDeviceRule[] {
  if (options.allDevices) return ALL_RULES;
  return [...DEFAULT_RULES, ...granted.flatMap(grantRule)];
}

/** The rule that lets a container use a device; none for one that is not a device to the kernel, or without permissions. */
export function grantRule({ device, permissions }: GrantedDevice): readonly OciDeviceRule[] {
  if (device.type === "p" || permissions === "") return [];
  return [{
    allow: true,
    type: device.type === "u" ? "c" : device.type,
    ...(device.major === undefined ? {} : { major: device.major }),
    ...(device.minor === undefined ? {} : { minor: device.minor }),
    access: permissions,
  }];
}
