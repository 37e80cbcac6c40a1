import type { ResourceLimits } from "../base/resources.ts";
import { LinuxCPU, LinuxMemory, LinuxResources } from "../nri/gen/nri.ts";
import { message } from "../nri/message.ts";
import type { OciResources } from "../oci/spec/types.ts";

/** Limits as the CRI gives them, for plugins. Zeros are left out: they mean "not set" there. */
export function limitsMessage(limits: ResourceLimits): LinuxResources {
  return message(LinuxResources, {
    cpu: message(LinuxCPU, {
      period: optional(limits.cpuPeriodMicros),
      quota: optional(limits.cpuQuotaMicros),
      shares: optional(limits.cpuShares),
      cpus: limits.cpusetCpus ?? "",
      mems: limits.cpusetMems ?? "",
    }),
    memory: message(LinuxMemory, {
      limit: optional(limits.memoryLimitBytes),
      swap: optional(limits.memorySwapLimitBytes),
    }),
    hugepageLimits: (limits.hugepageLimits ?? []).map(({ pageSize, limitBytes }) => ({
      pageSize,
      limit: BigInt(limitBytes),
    })),
    unified: new Map(Object.entries(limits.unified ?? {})),
  });
}

/** Resources of a runtime specification, for plugins. */
export function resourcesMessage({ cpu, memory, pids, ...rest }: OciResources): LinuxResources {
  return message(LinuxResources, {
    cpu: cpu && message(LinuxCPU, {
      period: integer(cpu.period),
      quota: integer(cpu.quota),
      shares: integer(cpu.shares),
      realtimeRuntime: integer(cpu.realtimeRuntime),
      realtimePeriod: integer(cpu.realtimePeriod),
      cpus: cpu.cpus ?? "",
      mems: cpu.mems ?? "",
    }),
    memory: memory && message(LinuxMemory, {
      limit: integer(memory.limit),
      reservation: integer(memory.reservation),
      swap: integer(memory.swap),
      kernel: integer(memory.kernel),
      kernelTcp: integer(memory.kernelTCP),
      swappiness: integer(memory.swappiness),
      disableOomKiller: boolean(memory.disableOOMKiller),
      useHierarchy: boolean(memory.useHierarchy),
    }),
    hugepageLimits: (rest.hugepageLimits ?? []).map(({ pageSize, limit }) => ({ pageSize, limit: BigInt(limit) })),
    devices: (rest.devices ?? []).map(({ allow, type = "", major, minor, access }) => ({
      allow,
      type,
      major: integer(major),
      minor: integer(minor),
      access,
    })),
    pids: pids && { limit: BigInt(pids.limit) },
    unified: new Map(Object.entries(rest.unified ?? {})),
  });
}

/** What plugins want of resources, as limits of the CRI. What those cannot say is left out. */
export function limitsOf({ cpu, memory, hugepageLimits, unified }: LinuxResources): ResourceLimits {
  const limits = {
    cpuPeriodMicros: number(cpu?.period),
    cpuQuotaMicros: number(cpu?.quota),
    cpuShares: number(cpu?.shares),
    cpusetCpus: cpu?.cpus || undefined,
    cpusetMems: cpu?.mems || undefined,
    memoryLimitBytes: number(memory?.limit),
    memorySwapLimitBytes: number(memory?.swap),
    hugepageLimits: hugepageLimits.length === 0
      ? undefined
      : hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limitBytes: Number(limit) })),
    unified: unified.size === 0 ? undefined : Object.fromEntries(unified),
  };
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
}

function optional(value: number | undefined): { value: bigint } | undefined {
  return value === 0 ? undefined : integer(value);
}

function integer(value: number | undefined): { value: bigint } | undefined {
  return value === undefined ? undefined : { value: BigInt(value) };
}

function boolean(value: boolean | undefined): { value: boolean } | undefined {
  return value === undefined ? undefined : { value };
}

function number(wrapped: { value: bigint } | undefined): number | undefined {
  return wrapped === undefined ? undefined : Number(wrapped.value);
}
