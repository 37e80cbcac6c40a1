/**
 * The 56 metrics of pods (FEATURES 5.2): the names, labels and units that the kubelet's /metrics/cadvisor has had.
 *
 * @module
 */
import type { MetricSet } from "../../container/metrics.ts";

export interface PodMetricDescriptor {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge";
  /** Undefined: always there. */
  readonly set: MetricSet | undefined;
  /** Those after {@link BASE_LABELS}. */
  readonly labels: readonly string[];
}

/** Whom a metric is about; of a pod itself the container is `POD` and the image empty. */
export const BASE_LABELS = ["id", "image", "namespace", "pod", "container"] as const;

type Row = readonly [key: string, type: "counter" | "gauge", help: string];

const SETS: ReadonlyArray<{ set?: MetricSet; labels?: readonly string[]; rows: readonly Row[] }> = [
  { rows: [["last_seen", "gauge", "When the container was last looked at, in seconds since the epoch."]] },
  {
    set: "cpu",
    rows: [
      ["cpu_user_seconds_total", "counter", "CPU time used in user mode, in seconds."],
      ["cpu_system_seconds_total", "counter", "CPU time used in the kernel, in seconds."],
      ["cpu_cfs_periods_total", "counter", "Periods of the CPU quota that have passed."],
      ["cpu_cfs_throttled_periods_total", "counter", "Periods of the CPU quota in which it was used up."],
      [
        "cpu_cfs_throttled_seconds_total",
        "counter",
        "Time spent waiting for the next period of the quota, in seconds.",
      ],
    ],
  },
  {
    set: "cpu",
    labels: ["cpu"],
    rows: [["cpu_usage_seconds_total", "counter", "CPU time used, in seconds, by CPU or in total."]],
  },
  {
    set: "memory",
    rows: [
      ["memory_cache", "gauge", "Page cache, in bytes."],
      ["memory_rss", "gauge", "Anonymous memory, in bytes."],
      ["memory_kernel_usage", "gauge", "Memory of the kernel for the container, in bytes."],
      ["memory_mapped_file", "gauge", "Mapped files, in bytes."],
      ["memory_swap", "gauge", "Swap in use, in bytes."],
      ["memory_failcnt", "counter", "Times that the memory limit was met."],
      ["memory_usage_bytes", "gauge", "Memory in use, page cache included, in bytes."],
      ["memory_max_usage_bytes", "gauge", "Largest memory use so far, in bytes."],
      ["memory_working_set_bytes", "gauge", "Memory in use without file pages that can be dropped, in bytes."],
    ],
  },
  {
    set: "memory",
    labels: ["failure_type", "scope"],
    rows: [["memory_failures_total", "counter", "Page faults, small and major ones."]],
  },
  {
    set: "disk",
    rows: [
      ["fs_inodes_free", "gauge", "Free inodes of the file system of the container's writable layer."],
      ["fs_inodes_total", "gauge", "Inodes of the file system of the container's writable layer."],
      ["fs_limit_bytes", "gauge", "Size of the file system of the container's writable layer, in bytes."],
      ["fs_usage_bytes", "gauge", "What the container's writable layer takes, in bytes."],
    ],
  },
  {
    set: "diskIO",
    labels: ["device"],
    rows: [
      ["fs_reads_bytes_total", "counter", "Bytes read from a device."],
      ["fs_reads_total", "counter", "Reads from a device."],
      ["fs_writes_bytes_total", "counter", "Bytes written to a device."],
      ["fs_writes_total", "counter", "Writes to a device."],
    ],
  },
  {
    set: "diskIO",
    labels: ["device", "major", "minor", "operation"],
    rows: [["blkio_device_usage_total", "counter", "Bytes moved to and from a device, by kind of operation."]],
  },
  {
    set: "hugetlb",
    labels: ["pagesize"],
    rows: [
      ["hugetlb_usage_bytes", "gauge", "Huge pages in use, in bytes."],
      ["hugetlb_max_usage_bytes", "gauge", "Largest use of huge pages so far, in bytes."],
    ],
  },
  {
    set: "network",
    labels: ["interface"],
    rows: [
      ["network_receive_bytes_total", "counter", "Bytes received."],
      ["network_receive_packets_total", "counter", "Packets received."],
      ["network_receive_packets_dropped_total", "counter", "Received packets that were dropped."],
      ["network_receive_errors_total", "counter", "Errors while receiving."],
      ["network_transmit_bytes_total", "counter", "Bytes sent."],
      ["network_transmit_packets_total", "counter", "Packets sent."],
      ["network_transmit_packets_dropped_total", "counter", "Packets that were dropped instead of being sent."],
      ["network_transmit_errors_total", "counter", "Errors while sending."],
    ],
  },
  {
    set: "oom",
    rows: [["oom_events_total", "counter", "Processes that the kernel has killed for want of memory."]],
  },
  {
    set: "process",
    rows: [
      ["file_descriptors", "gauge", "Open file descriptors of all processes."],
      ["processes", "gauge", "Processes."],
      ["sockets", "gauge", "Open sockets of all processes."],
      ["threads", "gauge", "Threads."],
      ["threads_max", "gauge", "Largest number of threads that is allowed; 0 is no limit."],
    ],
  },
  {
    set: "process",
    labels: ["ulimit"],
    rows: [["ulimits_soft", "gauge", "Soft limit of the first process."]],
  },
  {
    set: "spec",
    rows: [
      ["spec_cpu_period", "gauge", "Period of the CPU quota, in microseconds; 0 when none was asked for."],
      ["spec_cpu_shares", "gauge", "CPU shares; 0 when none were asked for."],
      ["spec_cpu_quota", "gauge", "CPU quota in a period, in microseconds."],
      ["spec_memory_limit_bytes", "gauge", "Memory limit, in bytes; 0 is none."],
      ["spec_memory_reservation_limit_bytes", "gauge", "Memory that is kept for the container, in bytes; 0 is none."],
      ["spec_memory_swap_limit_bytes", "gauge", "Limit of memory and swap together, in bytes; 0 is none."],
      ["start_time_seconds", "gauge", "When the container was started, in seconds since the epoch."],
    ],
  },
  {
    set: "pressure",
    rows: (["cpu", "memory", "io"] as const).flatMap((resource): Row[] => [
      [
        `pressure_${resource}_stalled_seconds_total`,
        "counter",
        `Time in which all tasks waited for ${resource}, in seconds.`,
      ],
      [
        `pressure_${resource}_waiting_seconds_total`,
        "counter",
        `Time in which some task waited for ${resource}, in seconds.`,
      ],
    ]),
  },
];

/** All descriptors by the part of their name after `container_`. */
export const POD_METRICS: ReadonlyMap<string, PodMetricDescriptor> = new Map(
  SETS.flatMap(({ set, labels = [], rows }) =>
    rows.map(([key, type, help]) => [key, { name: `container_${key}`, help, type, set, labels }] as const)
  ),
);

/** Those of these sets, and what is always there. */
export function includedDescriptors(sets: ReadonlySet<MetricSet>): readonly PodMetricDescriptor[] {
  return [...POD_METRICS.values()].filter(({ set }) => set === undefined || sets.has(set));
}
