import type { CgroupStats } from "../../cgroup/stats/cgroup_stats.ts";
import type { Pressure, PressureLine } from "../../cgroup/stats/pressure.ts";
import type { ContainerStats as ContainerFigures, WritableLayer } from "../../container/stats.ts";
import type { ContainerRecord } from "../../container/types.ts";
import type { InterfaceStats, NetworkStats } from "../../network/interface_stats.ts";
import type { SandboxStats as SandboxFigures } from "../../sandbox/stats.ts";
import type { SandboxRecord } from "../../sandbox/types.ts";
import type {
  ContainerAttributes,
  ContainerStats,
  CpuUsage,
  FilesystemUsage,
  IoUsage,
  LinuxPodSandboxStats,
  MemoryUsage,
  NetworkInterfaceUsage,
  NetworkUsage,
  PodSandboxAttributes,
  ProcessUsage,
  PsiData,
  PsiStats,
  SwapUsage,
  UInt64Value,
} from "../gen/api.ts";

/** The interface that holds a pod's address; every CNI runtime calls it so. */
const DEFAULT_INTERFACE = "eth0";

/** Who a container's figures are about. */
export function containerAttributes({ id, spec }: ContainerRecord): ContainerAttributes {
  return {
    id,
    metadata: { name: spec.metadata.name, attempt: spec.metadata.attempt },
    labels: new Map(Object.entries(spec.labels)),
    annotations: new Map(Object.entries(spec.annotations)),
  };
}

/** Who a pod's figures are about. */
export function sandboxAttributes({ id, spec }: SandboxRecord): PodSandboxAttributes {
  const { name, uid, namespace, attempt } = spec.metadata;
  return {
    id,
    metadata: { name, uid, namespace, attempt },
    labels: new Map(Object.entries(spec.labels)),
    annotations: new Map(Object.entries(spec.annotations)),
  };
}

/** The changing part of a container's figures; the attributes are encoded once and for all. */
export function containerUsage({ cgroup, writableLayer }: ContainerFigures): Omit<ContainerStats, "attributes"> {
  return {
    cpu: cpu(cgroup),
    memory: memory(cgroup),
    writableLayer: layer(writableLayer),
    swap: swap(cgroup),
    io: io(cgroup),
  };
}

/** The changing part of a pod's figures, without its containers. */
export function sandboxUsage({ cgroup, network }: SandboxFigures): Omit<LinuxPodSandboxStats, "containers"> {
  return {
    cpu: cpu(cgroup),
    memory: memory(cgroup),
    network: network === undefined ? undefined : networkUsage(network),
    process: processes(cgroup),
    io: io(cgroup),
  };
}

function cpu(stats: CgroupStats | undefined): CpuUsage | undefined {
  if (stats?.cpu === undefined) return undefined;
  const { usageNanos, usageNanoCores, pressure } = stats.cpu;
  return {
    timestamp: stats.atNanos,
    usageCoreNanoSeconds: { value: usageNanos },
    usageNanoCores: usageNanoCores === undefined ? undefined : { value: usageNanoCores },
    psi: psi(pressure),
  };
}

function memory(stats: CgroupStats | undefined): MemoryUsage | undefined {
  if (stats?.memory === undefined) return undefined;
  const { workingSetBytes, availableBytes, usageBytes, rssBytes, pageFaults, majorPageFaults } = stats.memory;
  return {
    timestamp: stats.atNanos,
    workingSetBytes: value(workingSetBytes),
    availableBytes: value(availableBytes),
    usageBytes: value(usageBytes),
    rssBytes: value(rssBytes),
    pageFaults: value(pageFaults),
    majorPageFaults: value(majorPageFaults),
    psi: psi(stats.memory.pressure),
  };
}

function swap(stats: CgroupStats | undefined): SwapUsage | undefined {
  if (stats?.swap === undefined) return undefined;
  const { availableBytes, usageBytes } = stats.swap;
  return {
    timestamp: stats.atNanos,
    swapAvailableBytes: value(availableBytes),
    swapUsageBytes: value(usageBytes),
  };
}

function io(stats: CgroupStats | undefined): IoUsage | undefined {
  if (stats?.io === undefined) return undefined;
  return { timestamp: stats.atNanos, psi: psi(stats.io.pressure) };
}

function processes(stats: CgroupStats | undefined): ProcessUsage | undefined {
  if (stats?.pids === undefined) return undefined;
  return { timestamp: stats.atNanos, processCount: value(stats.pids.current) };
}

function layer({ atNanos, mountpoint, usage }: WritableLayer): FilesystemUsage {
  return {
    timestamp: atNanos,
    fsId: { mountpoint },
    usedBytes: value(usage?.bytes),
    inodesUsed: value(usage?.inodes),
  };
}

/**
 * `interfaces` are those beside the default one, as the CRI says. Undefined for a pod that has none (any more): a kubelet
 * that takes figures by CRI (1.34) reads the default interface of whatever network it is given, and dies without one.
 */
function networkUsage({ atNanos, interfaces }: NetworkStats): NetworkUsage | undefined {
  const main = interfaces.find(({ name }) => name === DEFAULT_INTERFACE) ?? interfaces[0];
  if (main === undefined) return undefined;
  return {
    timestamp: atNanos,
    defaultInterface: interfaceUsage(main),
    interfaces: interfaces.filter((one) => one !== main).map(interfaceUsage),
  };
}

function interfaceUsage({ name, rxBytes, rxErrors, txBytes, txErrors }: InterfaceStats): NetworkInterfaceUsage {
  return {
    name,
    rxBytes: value(rxBytes),
    rxErrors: value(rxErrors),
    txBytes: value(txBytes),
    txErrors: value(txErrors),
  };
}

function psi(pressure: Pressure | undefined): PsiStats | undefined {
  if (pressure === undefined) return undefined;
  return { Full: pressure.full === undefined ? undefined : psiData(pressure.full), Some: psiData(pressure.some) };
}

function psiData({ totalMicros, avg10, avg60, avg300 }: PressureLine): PsiData {
  return { Total: BigInt(totalMicros), Avg10: avg10, Avg60: avg60, Avg300: avg300 };
}

function value(number: number | undefined): UInt64Value | undefined {
  return number === undefined ? undefined : { value: BigInt(Math.round(number)) };
}
