import { InvalidArgumentError } from "../../base/errors.ts";
import type { ResourceLimits } from "../../base/resources.ts";
import type { OciDeviceRule, OciResources } from "./types.ts";

export interface ResourceContext {
  readonly deviceRules: readonly OciDeviceRule[];
  /** Most processes; 0 or less: no limit of ours. */
  readonly pidsLimit: number;
  /** Whether the runtimes find a hugetlb controller; without one a limit of 0 is met by doing nothing. */
  readonly hasHugetlb: boolean;
}

/**
 * Limits in the form of the runtime's configuration. Zero means "not set" in the CRI, so zeros are left out.
 *
 * @throws InvalidArgumentError for a huge page limit that this node cannot enforce
 */
export function ociResources(limits: ResourceLimits, context: ResourceContext): OciResources {
  const cpu = compact({
    shares: set(limits.cpuShares),
    quota: set(limits.cpuQuotaMicros),
    period: set(limits.cpuPeriodMicros),
    cpus: text(limits.cpusetCpus),
    mems: text(limits.cpusetMems),
  });
  const memory = compact({ limit: set(limits.memoryLimitBytes), swap: swapOf(limits) });
  const hugepages = hugepageLimits(limits, context);
  return {
    devices: context.deviceRules,
    ...(cpu === undefined ? {} : { cpu }),
    ...(memory === undefined ? {} : { memory }),
    ...(context.pidsLimit > 0 ? { pids: { limit: context.pidsLimit } } : {}),
    ...(hugepages.length === 0 ? {} : { hugepageLimits: hugepages }),
    ...(limits.unified === undefined || Object.keys(limits.unified).length === 0 ? {} : { unified: limits.unified }),
  };
}

function swapOf(limits: ResourceLimits): number | undefined {
  const swap = set(limits.memorySwapLimitBytes);
  const memory = set(limits.memoryLimitBytes);
  if (swap === undefined || swap < 0 || memory === undefined || swap >= memory) return swap;
  throw new InvalidArgumentError(`memory and swap limit ${swap} is below the memory limit ${memory}`);
}

function hugepageLimits(
  limits: ResourceLimits,
  context: ResourceContext,
): ReadonlyArray<{ readonly pageSize: string; readonly limit: number }> {
  const wanted = limits.hugepageLimits ?? [];
  if (context.hasHugetlb) return wanted.map(({ pageSize, limitBytes }) => ({ pageSize, limit: limitBytes }));
  const above = wanted.find(({ limitBytes }) => limitBytes > 0);
  if (above === undefined) return [];
  throw new InvalidArgumentError(
    `huge pages of ${above.pageSize}: this node has no hugetlb cgroup controller, so a limit of ${above.limitBytes} ` +
      "bytes cannot be kept; mount the controller or remove the request",
  );
}

function set(value: number | undefined): number | undefined {
  return value === 0 ? undefined : value;
}

function text(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}

/** Without the undefined fields; undefined when none is left. */
function compact<T extends object>(fields: { [K in keyof T]: T[K] | undefined }): Partial<T> | undefined {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return entries.length === 0 ? undefined : Object.fromEntries(entries) as Partial<T>;
}
