import type { HugepageLimit, ResourceLimits } from "../../base/resources.ts";
import type { LinuxContainerResources } from "../gen/api.ts";
import { integer, invalid, nameLike, oneLine, quote } from "./_checks.ts";

/** Kernel limits of `cpu.cfs_period_us` and `cpu.max`, in microseconds. */
const CPU_PERIOD = { min: 1000, max: 1_000_000 };
/** Kernel's smallest quota, in microseconds. */
const MIN_CPU_QUOTA = 1000;
const MAX_HUGEPAGE_BYTES = BigInt(Number.MAX_SAFE_INTEGER);

/** Limits of a container or pod. 0 and empty mean "not given", except for the OOM score, where 0 is a score. */
export function resourceLimits(resources: LinuxContainerResources | undefined, field: string): ResourceLimits {
  if (resources === undefined) return {};
  const limits: { -readonly [K in keyof ResourceLimits]: ResourceLimits[K] } = {
    oomScoreAdj: integer(resources.oomScoreAdj, `${field}.oom_score_adj`, { min: -1000, max: 1000 }),
  };
  cpu(resources, limits, field);
  memory(resources, limits, field);
  const hugepages = hugepageLimits(resources, `${field}.hugepage_limits`);
  if (hugepages.length > 0) limits.hugepageLimits = hugepages;
  if (resources.unified.size > 0) limits.unified = unified(resources.unified, `${field}.unified`);
  return limits;
}

type Limits = { -readonly [K in keyof ResourceLimits]: ResourceLimits[K] };

function cpu(resources: LinuxContainerResources, limits: Limits, field: string): void {
  const { cpuPeriod, cpuQuota, cpuShares, cpusetCpus, cpusetMems } = resources;
  if (cpuPeriod !== 0n) limits.cpuPeriodMicros = integer(cpuPeriod, `${field}.cpu_period`, CPU_PERIOD);
  if (cpuQuota === -1n) limits.cpuQuotaMicros = -1;
  else if (cpuQuota !== 0n) limits.cpuQuotaMicros = integer(cpuQuota, `${field}.cpu_quota`, { min: MIN_CPU_QUOTA });
  if (cpuShares !== 0n) limits.cpuShares = integer(cpuShares, `${field}.cpu_shares`, { min: 1 });
  if (cpusetCpus !== "") limits.cpusetCpus = cpuList(cpusetCpus, `${field}.cpuset_cpus`);
  if (cpusetMems !== "") limits.cpusetMems = cpuList(cpusetMems, `${field}.cpuset_mems`);
}

function memory(resources: LinuxContainerResources, limits: Limits, field: string): void {
  const { memoryLimitInBytes, memorySwapLimitInBytes } = resources;
  if (memoryLimitInBytes !== 0n) {
    limits.memoryLimitBytes = integer(memoryLimitInBytes, `${field}.memory_limit_in_bytes`, { min: 1 });
  }
  if (memorySwapLimitInBytes === 0n) return;
  const name = `${field}.memory_swap_limit_in_bytes`;
  limits.memorySwapLimitBytes = integer(memorySwapLimitInBytes, name, { min: -1 });
  if (memorySwapLimitInBytes > 0n && memorySwapLimitInBytes < memoryLimitInBytes) {
    throw invalid(name, `${memorySwapLimitInBytes} is less than the memory limit ${memoryLimitInBytes} it includes`);
  }
}

function hugepageLimits(resources: LinuxContainerResources, field: string): HugepageLimit[] {
  return resources.hugepageLimits.map(({ pageSize, limit }) => {
    if (!/^[1-9]\d*[KMGT]B$/.test(pageSize)) throw invalid(field, `page size ${quote(pageSize)} is not like 2MB`);
    if (limit > MAX_HUGEPAGE_BYTES) throw invalid(field, `${limit} of ${pageSize} pages is too large`);
    return { pageSize, limitBytes: Number(limit) };
  });
}

function unified(map: ReadonlyMap<string, string>, field: string): Record<string, string> {
  for (const [file, value] of map) oneLine(value, `${field}.${nameLike(file, field)}`);
  return Object.fromEntries(map);
}

function cpuList(text: string, field: string): string {
  if (!/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(text)) throw invalid(field, `${quote(text)} is not a list such as 0-2,7`);
  return text;
}

/** The same in the words of the CRI. */
export function linuxResources(limits: ResourceLimits): LinuxContainerResources {
  return {
    cpuPeriod: BigInt(limits.cpuPeriodMicros ?? 0),
    cpuQuota: BigInt(limits.cpuQuotaMicros ?? 0),
    cpuShares: BigInt(limits.cpuShares ?? 0),
    memoryLimitInBytes: BigInt(limits.memoryLimitBytes ?? 0),
    oomScoreAdj: BigInt(limits.oomScoreAdj ?? 0),
    cpusetCpus: limits.cpusetCpus ?? "",
    cpusetMems: limits.cpusetMems ?? "",
    hugepageLimits: (limits.hugepageLimits ?? []).map(({ pageSize, limitBytes }) => ({
      pageSize,
      limit: BigInt(limitBytes),
    })),
    unified: new Map(Object.entries(limits.unified ?? {})),
    memorySwapLimitInBytes: BigInt(limits.memorySwapLimitBytes ?? 0),
  };
}
