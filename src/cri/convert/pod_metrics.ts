import type { CpuDetails } from "../../cgroup/stats/cpu_details.ts";
import type { Pressure } from "../../cgroup/stats/pressure.ts";
import type { ContainerMetrics, MetricSet } from "../../container/metrics.ts";
import type { PodMetrics } from "../../sandbox/metrics.ts";

/** One value of a metric. */
export interface MetricValue {
  /** The part of its name after `container_`. */
  readonly key: string;
  readonly value: number | bigint;
  /** Of the labels after the base ones. */
  readonly labels?: readonly string[];
}

/** Values that were read at one moment. */
export interface MetricValues {
  readonly atNanos: bigint;
  readonly values: readonly MetricValue[];
}

const NANOS_PER_SECOND = 1_000_000_000n;
const MICROS_PER_SECOND = 1_000_000;

/** The metrics of a container that these sets name. What the host does not count is left out. */
export function containerMetrics(metrics: ContainerMetrics, sets: ReadonlySet<MetricSet>): MetricValues[] {
  const always = at(metrics.atNanos, [{ key: "last_seen", value: metrics.atNanos / NANOS_PER_SECOND }]);
  return [always, ...[...sets].flatMap((set) => GENERATORS[set]?.(metrics) ?? [])];
}

/** The metrics of a pod itself: its network, where the set is named. */
export function podMetrics({ network }: PodMetrics): MetricValues[] {
  if (network === undefined) return [];
  const values = network.interfaces.flatMap((one) =>
    ([
      ["receive_bytes", one.rxBytes],
      ["receive_packets", one.rxPackets],
      ["receive_packets_dropped", one.rxDropped],
      ["receive_errors", one.rxErrors],
      ["transmit_bytes", one.txBytes],
      ["transmit_packets", one.txPackets],
      ["transmit_packets_dropped", one.txDropped],
      ["transmit_errors", one.txErrors],
    ] as const).map(([key, value]) => ({ key: `network_${key}_total`, value, labels: [one.name] }))
  );
  return [at(network.atNanos, values)];
}

const GENERATORS: Readonly<Partial<Record<MetricSet, (metrics: ContainerMetrics) => MetricValues[]>>> = {
  cpu,
  memory,
  disk,
  diskIO: io,
  hugetlb,
  oom,
  process: processes,
  spec,
  pressure,
};

function cpu({ details, stats }: ContainerMetrics): MetricValues[] {
  const figures = details?.cpu;
  if (details === undefined || figures === undefined) return [];
  return [at(details.atNanos, [
    { key: "cpu_user_seconds_total", value: figures.userNanos / NANOS_PER_SECOND },
    { key: "cpu_system_seconds_total", value: figures.systemNanos / NANOS_PER_SECOND },
    ...cpuUsage(figures, stats?.cpu?.usageNanos),
    { key: "cpu_cfs_periods_total", value: figures.periods },
    { key: "cpu_cfs_throttled_periods_total", value: figures.throttledPeriods },
    { key: "cpu_cfs_throttled_seconds_total", value: figures.throttledNanos / NANOS_PER_SECOND },
  ])];
}

/** By CPU where the kernel counts so (one that was never used is left out, as in cAdvisor), else in total. */
function cpuUsage({ perCpuNanos, userNanos, systemNanos }: CpuDetails, totalNanos: bigint | undefined): MetricValue[] {
  const key = "cpu_usage_seconds_total";
  const used = perCpuNanos.flatMap((nanos, number): MetricValue[] =>
    nanos === 0n ? [] : [{ key, value: nanos / NANOS_PER_SECOND, labels: [`cpu${String(number).padStart(2, "0")}`] }]
  );
  if (used.length > 0) return used;
  return [{ key, value: (totalNanos ?? userNanos + systemNanos) / NANOS_PER_SECOND, labels: ["total"] }];
}

function memory({ stats, details }: ContainerMetrics): MetricValues[] {
  const basic = stats?.memory;
  const more = details?.memory;
  if (stats === undefined || basic === undefined || details === undefined || more === undefined) return [];
  const faults = [
    ["pgfault", "container", more.pageFaults],
    ["pgfault", "hierarchy", basic.pageFaults],
    ["pgmajfault", "container", more.majorPageFaults],
    ["pgmajfault", "hierarchy", basic.majorPageFaults],
  ] as const;
  return [
    at(stats.atNanos, [
      { key: "memory_rss", value: basic.rssBytes },
      { key: "memory_swap", value: stats.swap?.usageBytes ?? 0 },
      { key: "memory_usage_bytes", value: basic.usageBytes },
      { key: "memory_working_set_bytes", value: basic.workingSetBytes },
    ]),
    at(details.atNanos, [
      { key: "memory_cache", value: more.cacheBytes },
      { key: "memory_kernel_usage", value: more.kernelBytes },
      { key: "memory_mapped_file", value: more.mappedFileBytes },
      { key: "memory_failcnt", value: more.limitHits },
      { key: "memory_max_usage_bytes", value: more.peakBytes },
      ...faults.map(([type, scope, value]) => ({ key: "memory_failures_total", value, labels: [type, scope] })),
    ]),
  ];
}

function disk({ filesystem }: ContainerMetrics): MetricValues[] {
  if (filesystem === undefined) return [];
  const { atNanos, totalBytes, totalInodes, freeInodes, used } = filesystem;
  const size = at(atNanos, [
    { key: "fs_inodes_free", value: freeInodes },
    { key: "fs_inodes_total", value: totalInodes },
    { key: "fs_limit_bytes", value: totalBytes },
  ]);
  return used === undefined ? [size] : [size, at(used.atNanos, [{ key: "fs_usage_bytes", value: used.bytes }])];
}

function io({ details }: ContainerMetrics): MetricValues[] {
  if (details?.io === undefined) return [];
  const values = details.io.flatMap(({ major, minor, name, bytes, operations }): MetricValue[] => {
    const of = (key: string, value: bigint | undefined): MetricValue[] =>
      value === undefined ? [] : [{ key, value, labels: [name] }];
    return [
      ...of("fs_reads_bytes_total", bytes["read"]),
      ...of("fs_reads_total", operations["read"]),
      ...of("fs_writes_bytes_total", bytes["write"]),
      ...of("fs_writes_total", operations["write"]),
      ...Object.entries(bytes).map(([operation, value]) => ({
        key: "blkio_device_usage_total",
        value,
        labels: [name, String(major), String(minor), operation],
      })),
    ];
  });
  return [at(details.atNanos, values)];
}

function hugetlb({ details }: ContainerMetrics): MetricValues[] {
  if (details?.hugetlb === undefined) return [];
  const values = details.hugetlb.flatMap(({ pageSize, usageBytes, peakBytes }): MetricValue[] => {
    const usage = { key: "hugetlb_usage_bytes", value: usageBytes, labels: [pageSize] };
    if (peakBytes === undefined) return [usage];
    return [usage, { key: "hugetlb_max_usage_bytes", value: peakBytes, labels: [pageSize] }];
  });
  return [at(details.atNanos, values)];
}

function oom({ details }: ContainerMetrics): MetricValues[] {
  if (details?.oomKills === undefined) return [];
  return [at(details.atNanos, [{ key: "oom_events_total", value: details.oomKills }])];
}

function processes({ processes: census, details }: ContainerMetrics): MetricValues[] {
  const counted = census === undefined ? [] : [at(census.atNanos, [
    { key: "file_descriptors", value: census.fileDescriptors },
    { key: "processes", value: census.processes },
    { key: "sockets", value: census.sockets },
    ...(census.openFilesLimit === undefined
      ? []
      : [{ key: "ulimits_soft", value: census.openFilesLimit, labels: ["max_open_files"] }]),
  ])];
  if (details?.pids === undefined) return counted;
  const { current, max } = details.pids;
  return [
    ...counted,
    at(details.atNanos, [{ key: "threads", value: current }, { key: "threads_max", value: max ?? 0 }]),
  ];
}

function spec({ atNanos, record }: ContainerMetrics): MetricValues[] {
  const { cpuPeriodMicros, cpuQuotaMicros, cpuShares, memoryLimitBytes, memorySwapLimitBytes, unified } =
    record.resources;
  const startedAt = record.startedAtNanos === "0" ? record.createdAtNanos : record.startedAtNanos;
  return [at(atNanos, [
    { key: "spec_cpu_period", value: cpuPeriodMicros ?? 0 },
    { key: "spec_cpu_shares", value: cpuShares ?? 0 },
    ...(cpuQuotaMicros !== undefined && cpuQuotaMicros > 0 ? [{ key: "spec_cpu_quota", value: cpuQuotaMicros }] : []),
    { key: "spec_memory_limit_bytes", value: limitOrZero(memoryLimitBytes) },
    { key: "spec_memory_reservation_limit_bytes", value: limitOrZero(Number(unified?.["memory.min"] ?? 0)) },
    { key: "spec_memory_swap_limit_bytes", value: limitOrZero(memorySwapLimitBytes) },
    { key: "start_time_seconds", value: BigInt(startedAt) / NANOS_PER_SECOND },
  ])];
}

/** The kernel rounds "no limit" down to a page; cAdvisor shows 0 for it. */
const UNLIMITED_BYTES = 2 ** 62;

function limitOrZero(bytes: number | undefined): number {
  return bytes !== undefined && bytes > 0 && bytes < UNLIMITED_BYTES ? bytes : 0;
}

function pressure({ stats }: ContainerMetrics): MetricValues[] {
  if (stats === undefined) return [];
  const of = (resource: string, waits: Pressure | undefined): MetricValue[] => {
    if (waits === undefined) return [];
    const seconds = (micros: number): number => Math.floor(micros / MICROS_PER_SECOND);
    return [
      ...(waits.full === undefined
        ? []
        : [{ key: `pressure_${resource}_stalled_seconds_total`, value: seconds(waits.full.totalMicros) }]),
      { key: `pressure_${resource}_waiting_seconds_total`, value: seconds(waits.some.totalMicros) },
    ];
  };
  return [at(stats.atNanos, [
    ...of("cpu", stats.cpu?.pressure),
    ...of("memory", stats.memory?.pressure),
    ...of("io", stats.io?.pressure),
  ])];
}

function at(atNanos: bigint, values: readonly MetricValue[]): MetricValues {
  return { atNanos, values };
}
