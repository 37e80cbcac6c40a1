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

const PRIVILEGED_RULES: readonly OciDeviceRule[] = [{ allow: true, access: "rwm" }];

/** A device of the node with what the container may do with it. */
export interface GrantedDevice {
  readonly device: OciDevice;
  /** Some of `r`, `w`, `m`. */
  readonly permissions: string;
}

/** Device cgroup rules: everything for a privileged container, else the harmless ones and what was granted. */
export function deviceRules(
  granted: readonly GrantedDevice[],
  options: { readonly privileged: boolean },
): readonly OciDeviceRule[] {
  if (options.privileged) return PRIVILEGED_RULES;
  const own = granted.map(({ device, permissions }): OciDeviceRule => ({
    allow: true,
    type: device.type,
    ...(device.major === undefined ? {} : { major: device.major }),
    ...(device.minor === undefined ? {} : { minor: device.minor }),
    access: permissions,
  }));
  return [...DEFAULT_RULES, ...own];
}
