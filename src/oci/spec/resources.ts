import { InvalidArgumentError } from "../../base/errors.ts";
import type { ResourceLimits } from "../../base/resources.ts";
import type { OciDeviceRule, OciResources } from "./types.ts";

/** Which limits the runtimes can set on this node. */
export interface LimitSupport {
  /** Whether the runtimes find a hugetlb controller; without one a limit of 0 is met by doing nothing. */
  readonly hasHugetlb: boolean;
  readonly hasCpuset: boolean;
  /** Whether the kernel counts a cgroup's swap. */
  readonly hasSwap: boolean;
  /** Whether cgroups have the files of cgroup v2 that `unified` names. */
  readonly hasUnified: boolean;
  /** Whether every runtime can take a CPU quota away again: crun 1.8 on cgroup v1 writes -1 as an unsigned number. */
  readonly unsetsQuota: boolean;
}

/** What bounds a container's limits. */
export interface LimitContext extends LimitSupport {
  /** A memory limit below it would not let a container start. */
  readonly minMemoryBytes: number;
}

export interface ResourceContext extends LimitContext {
  readonly deviceRules: readonly OciDeviceRule[];
  /** Most processes; 0 or less: no limit of ours. */
  readonly pidsLimit: number;
}

/**
 * The resources of a new container in the form of the runtime's configuration.
 *
 * @throws InvalidArgumentError for a limit that this node cannot enforce, or with which nothing could start
 */
export function ociResources(limits: ResourceLimits, context: ResourceContext): OciResources {
  return {
    devices: context.deviceRules,
    // A new cgroup has no quota.
    ...ociLimits(limits, { ...context, unsetsQuota: false }),
    ...(context.pidsLimit > 0 ? { pids: { limit: context.pidsLimit } } : {}),
  };
}

/**
 * Limits in the form of the runtime's configuration. Zero means "not set" in the CRI, so zeros are left out.
 *
 * @throws InvalidArgumentError as {@link ociResources}
 */
export function ociLimits(limits: ResourceLimits, context: LimitContext): OciResources {
  const cpu = compact({
    shares: set(limits.cpuShares),
    quota: quotaOf(limits, context),
    period: set(limits.cpuPeriodMicros),
    cpus: cpusetOf(limits.cpusetCpus, context),
    mems: cpusetOf(limits.cpusetMems, context),
  });
  const memory = memoryLimits(limits, context);
  const hugepages = hugepageLimits(limits, context);
  const unified = unifiedFiles(limits, context);
  return {
    ...(cpu === undefined ? {} : { cpu }),
    ...(memory === undefined ? {} : { memory }),
    ...(hugepages.length === 0 ? {} : { hugepageLimits: hugepages }),
    ...(unified === undefined ? {} : { unified }),
  };
}

function quotaOf({ cpuQuotaMicros }: ResourceLimits, { unsetsQuota }: LimitContext): number | undefined {
  return cpuQuotaMicros !== undefined && cpuQuotaMicros < 0 && !unsetsQuota ? undefined : set(cpuQuotaMicros);
}

/** A swap limit counts memory too, so without a memory limit it means nothing; the kubelet relies on that. */
function memoryLimits(
  limits: ResourceLimits,
  { minMemoryBytes, hasSwap }: LimitContext,
): OciResources["memory"] {
  const limit = set(limits.memoryLimitBytes);
  if (limit === undefined) return undefined;
  if (limit >= 0 && limit < minMemoryBytes) {
    throw new InvalidArgumentError(
      `a memory limit of ${limit} bytes is too low: with less than ${minMemoryBytes} bytes no container starts here ` +
        "(container_min_memory of the runtime handler)",
    );
  }
  const swap = set(limits.memorySwapLimitBytes);
  if (swap === undefined || !hasSwap) return { limit };
  if (swap >= limit || swap < 0) return { limit, swap };
  throw new InvalidArgumentError(`memory and swap limit ${swap} is below the memory limit ${limit}`);
}

function hugepageLimits(
  limits: ResourceLimits,
  context: LimitContext,
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

function unifiedFiles(limits: ResourceLimits, { hasUnified }: LimitContext): ResourceLimits["unified"] {
  const files = Object.keys(limits.unified ?? {});
  if (files.length === 0) return undefined;
  if (hasUnified) return limits.unified;
  throw new InvalidArgumentError(
    `unified resources ${files.join(", ")}: these are files of cgroup v2, and this node's controllers are on cgroup v1`,
  );
}

function set(value: number | undefined): number | undefined {
  return value === 0 ? undefined : value;
}

function cpusetOf(list: string | undefined, { hasCpuset }: LimitContext): string | undefined {
  if (list === undefined || list === "") return undefined;
  if (hasCpuset) return list;
  throw new InvalidArgumentError(`cpuset ${list}: this node has no cpuset cgroup controller; do not ask for one`);
}

/** Without the undefined fields; undefined when none is left. */
function compact<T extends object>(fields: { [K in keyof T]: T[K] | undefined }): Partial<T> | undefined {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return entries.length === 0 ? undefined : Object.fromEntries(entries) as Partial<T>;
}
