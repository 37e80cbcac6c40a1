import type { HostFacts } from "./host.ts";
import type { VariantName } from "./variants.ts";

/** A spec that must be skipped, and why. */
export interface ExpectedSkip {
  /** As `SpecResult.name` of junit.ts has it. */
  readonly name: string;
  readonly reason: string;
  /** Default: all. */
  readonly variants?: readonly VariantName[];
  /** Where the host has this, the spec must run. */
  readonly unlessHost?: keyof HostFacts;
}

const NO_APPARMOR = "the kernel of this host has no AppArmor";
const BENCHMARK = "critest leaves its benchmarks out of a run that validates";

/** Every spec that is skipped. A run fails when another one is, and when one of these ran. */
export const EXPECTED_SKIPS: readonly ExpectedSkip[] = [
  ...group({ reason: NO_APPARMOR, unlessHost: "apparmor" }, [
    ...variations("[k8s.io] AppArmor runtime should support deprecated apparmor_profile field ", [
      "should fail with an unloaded apparmor_profile",
      "should enforce a apparmor_profile blocking writes",
      "should enforce a permissive deprecated profile",
    ]),
    ...variations("[k8s.io] AppArmor runtime should support apparmor field ", [
      "should fail with an unloaded apparmor_profile",
      "should enforce a apparmor_profile blocking writes",
      "should enforce a permissive deprecated profile",
    ]),
    ...variations("[k8s.io] AppArmor runtime should prefer new apparmor field ", [
      "should fail with an unloaded apparmor_profile",
      "should enforce a apparmor_profile blocking writes",
      "should work with apparmor profile",
    ]),
  ]),
  ...group({ reason: BENCHMARK }, [
    "[k8s.io] PodSandbox benchmark about operations on PodSandbox benchmark about lifecycle of PodSandbox",
    "[k8s.io] Container benchmark about operations on Container benchmark about basic operations on Container",
    "[k8s.io] Image benchmark about operations on Image benchmark about basic operations on Image",
    "[k8s.io] Image benchmark about operations on Image benchmark about listing Image",
    "[k8s.io] PodSandbox benchmark about start a container from scratch benchmark about start a container from scratch",
  ]),
];

function group(common: Omit<ExpectedSkip, "name">, names: readonly string[]): ExpectedSkip[] {
  return names.map((name) => ({ ...common, name }));
}

function variations(prefix: string, names: readonly string[]): string[] {
  return names.map((name) => `${prefix}${name}`);
}
