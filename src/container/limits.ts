import type { HugepageLimit, ResourceLimits } from "../base/resources.ts";

/**
 * A new container's limits as they are set and reported. One with a memory limit and none for swap may not swap
 * (CRI-O's rule): where the kernel counts swap, its limit is the memory limit.
 */
export function initialLimits(limits: ResourceLimits, node: { readonly hasSwap: boolean }): ResourceLimits {
  const { memoryLimitBytes: memory, memorySwapLimitBytes: swap } = limits;
  if (!node.hasSwap || memory === undefined || swap !== undefined) return limits;
  return { ...limits, memorySwapLimitBytes: memory };
}

/**
 * What a request to change limits sets: those that it names, and those that must go with them. Quota and period are one
 * value for the kernel, and so are memory and swap: a new memory limit leaves the container as much swap as it had. The
 * OOM score is a process's, not a cgroup's, and is not changed; 0 stands for "not given" there too.
 */
export function changedLimits(
  now: ResourceLimits,
  { oomScoreAdj: _score, ...asked }: ResourceLimits,
  node: { readonly hasSwap: boolean },
): ResourceLimits {
  const quota = asked.cpuQuotaMicros ?? now.cpuQuotaMicros;
  const period = asked.cpuPeriodMicros ?? now.cpuPeriodMicros;
  const hasCfs = asked.cpuQuotaMicros !== undefined || asked.cpuPeriodMicros !== undefined;
  return {
    ...asked,
    ...(hasCfs && quota !== undefined ? { cpuQuotaMicros: quota } : {}),
    ...(hasCfs && period !== undefined ? { cpuPeriodMicros: period } : {}),
    ...memoryChange(now, asked, node),
  };
}

function memoryChange(
  now: ResourceLimits,
  asked: ResourceLimits,
  { hasSwap }: { readonly hasSwap: boolean },
): ResourceLimits {
  const memory = asked.memoryLimitBytes ?? now.memoryLimitBytes;
  const isNamed = asked.memoryLimitBytes !== undefined || asked.memorySwapLimitBytes !== undefined;
  if (!isNamed || memory === undefined || !hasSwap) return {};
  const swap = asked.memorySwapLimitBytes ?? keptSwap(now, memory);
  return { memoryLimitBytes: memory, memorySwapLimitBytes: swap };
}

function keptSwap(now: ResourceLimits, memory: number): number {
  const { memoryLimitBytes: before, memorySwapLimitBytes: both } = now;
  if (both === undefined || before === undefined) return memory;
  return both < 0 ? both : memory + (both - before);
}

/** The limits of a container after a change; those that it does not name stay. */
export function mergedLimits(now: ResourceLimits, change: ResourceLimits): ResourceLimits {
  const hugepages = mergedHugepages(now.hugepageLimits ?? [], change.hugepageLimits ?? []);
  const unified = { ...now.unified, ...change.unified };
  return {
    ...now,
    ...change,
    ...(hugepages.length === 0 ? {} : { hugepageLimits: hugepages }),
    ...(Object.keys(unified).length === 0 ? {} : { unified }),
  };
}

function mergedHugepages(now: readonly HugepageLimit[], change: readonly HugepageLimit[]): HugepageLimit[] {
  return [...new Map([...now, ...change].map((limit) => [limit.pageSize, limit])).values()];
}

/** What a change that failed half-way is taken back with: the limits before, or none where there was none. */
export function previousLimits(now: ResourceLimits, change: ResourceLimits): ResourceLimits {
  const { hugepageLimits: _pages, unified: _files, ...names } = change;
  const before = { ...NO_LIMITS, ...now };
  return Object.fromEntries(Object.keys(names).map((name) => [name, before[name as keyof typeof names]]));
}

/** The kernel's values for a cgroup that was given none. A CPU set is its parent's, which has no word. */
const NO_LIMITS: ResourceLimits = {
  cpuShares: 1024,
  cpuQuotaMicros: -1,
  cpuPeriodMicros: 100_000,
  memoryLimitBytes: -1,
  memorySwapLimitBytes: -1,
};
