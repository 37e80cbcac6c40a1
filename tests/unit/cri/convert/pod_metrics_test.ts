import { deepEqual, equal } from "node:assert/strict";
import { type ContainerMetrics, METRIC_SETS, type MetricSet } from "../../../../src/container/metrics.ts";
import { includedDescriptors, POD_METRICS } from "../../../../src/cri/convert/metric_descriptors.ts";
import { containerMetrics, type MetricValues, podMetrics } from "../../../../src/cri/convert/pod_metrics.ts";
import { containerRecord, sandboxRecord } from "../../../fakes/records.ts";

const ALL: ReadonlySet<MetricSet> = new Set(METRIC_SETS);
const line = (totalMicros: number) => ({ totalMicros, avg10: 0, avg60: 0, avg300: 0 });

const WHOLE: ContainerMetrics = {
  record: containerRecord({
    startedAtNanos: "1700000000999999999",
    resources: {
      cpuPeriodMicros: 100_000,
      cpuQuotaMicros: 50_000,
      cpuShares: 512,
      memoryLimitBytes: 1024,
      memorySwapLimitBytes: -1,
      unified: { "memory.min": "77" },
    },
  }),
  atNanos: 9_999_999_999n,
  stats: {
    atNanos: 2n,
    cpu: { usageNanos: 7_500_000_000n, pressure: { some: line(3_999_999), full: line(1_000_000) } },
    memory: {
      usageBytes: 50,
      workingSetBytes: 40,
      rssBytes: 30,
      pageFaults: 20,
      majorPageFaults: 10,
      pressure: { some: line(5_000_000) },
    },
    swap: { usageBytes: 5 },
    io: { pressure: { some: line(6_000_000), full: line(7_000_000) } },
  },
  details: {
    atNanos: 3n,
    cpu: {
      userNanos: 4_999_999_999n,
      systemNanos: 2_000_000_000n,
      perCpuNanos: [3_000_000_000n, 0n, 4_100_000_000n],
      periods: 11n,
      throttledPeriods: 12n,
      throttledNanos: 13_000_000_000n,
    },
    memory: {
      cacheBytes: 21,
      mappedFileBytes: 22,
      kernelBytes: 23,
      peakBytes: 24,
      limitHits: 25,
      pageFaults: 2,
      majorPageFaults: 1,
    },
    oomKills: 31,
    pids: { current: 41 },
    io: [{
      major: 8,
      minor: 1,
      name: "/dev/sda1",
      bytes: { read: 51n, write: 52n, total: 103n },
      operations: { read: 53n, write: 54n },
    }],
    hugetlb: [{ pageSize: "2MB", usageBytes: 61, peakBytes: 62 }, { pageSize: "1GB", usageBytes: 63 }],
  },
  processes: { atNanos: 4n, processes: 71, fileDescriptors: 72, sockets: 73, openFilesLimit: 74 },
  filesystem: {
    atNanos: 5n,
    totalBytes: 81,
    totalInodes: 82,
    freeInodes: 83,
    used: { bytes: 84, inodes: 0, atNanos: 1n },
  },
};

/** `key{labels}` -> [value, time]. */
function flat(groups: readonly MetricValues[]): Record<string, [number, bigint]> {
  const all = groups.flatMap(({ atNanos, values }) =>
    values.map(({ key, value, labels = [] }): [string, [number, bigint]] => [
      labels.length === 0 ? key : `${key}{${labels.join()}}`,
      [Number(value), atNanos],
    ])
  );
  equal(new Set(all.map(([key]) => key)).size, all.length);
  return Object.fromEntries(all);
}

Deno.test("containerMetrics() gives all that the figures hold, each with the time of its reading", () => {
  deepEqual(flat(containerMetrics(WHOLE, ALL)), {
    last_seen: [9, 9_999_999_999n],
    cpu_user_seconds_total: [4, 3n],
    cpu_system_seconds_total: [2, 3n],
    "cpu_usage_seconds_total{cpu00}": [3, 3n],
    "cpu_usage_seconds_total{cpu02}": [4, 3n],
    cpu_cfs_periods_total: [11, 3n],
    cpu_cfs_throttled_periods_total: [12, 3n],
    cpu_cfs_throttled_seconds_total: [13, 3n],
    memory_rss: [30, 2n],
    memory_swap: [5, 2n],
    memory_usage_bytes: [50, 2n],
    memory_working_set_bytes: [40, 2n],
    memory_cache: [21, 3n],
    memory_mapped_file: [22, 3n],
    memory_kernel_usage: [23, 3n],
    memory_max_usage_bytes: [24, 3n],
    memory_failcnt: [25, 3n],
    "memory_failures_total{pgfault,container}": [2, 3n],
    "memory_failures_total{pgfault,hierarchy}": [20, 3n],
    "memory_failures_total{pgmajfault,container}": [1, 3n],
    "memory_failures_total{pgmajfault,hierarchy}": [10, 3n],
    fs_limit_bytes: [81, 5n],
    fs_inodes_total: [82, 5n],
    fs_inodes_free: [83, 5n],
    fs_usage_bytes: [84, 1n],
    "fs_reads_bytes_total{/dev/sda1}": [51, 3n],
    "fs_writes_bytes_total{/dev/sda1}": [52, 3n],
    "fs_reads_total{/dev/sda1}": [53, 3n],
    "fs_writes_total{/dev/sda1}": [54, 3n],
    "blkio_device_usage_total{/dev/sda1,8,1,read}": [51, 3n],
    "blkio_device_usage_total{/dev/sda1,8,1,write}": [52, 3n],
    "blkio_device_usage_total{/dev/sda1,8,1,total}": [103, 3n],
    "hugetlb_usage_bytes{2MB}": [61, 3n],
    "hugetlb_max_usage_bytes{2MB}": [62, 3n],
    "hugetlb_usage_bytes{1GB}": [63, 3n],
    oom_events_total: [31, 3n],
    processes: [71, 4n],
    file_descriptors: [72, 4n],
    sockets: [73, 4n],
    "ulimits_soft{max_open_files}": [74, 4n],
    threads: [41, 3n],
    threads_max: [0, 3n],
    spec_cpu_period: [100_000, 9_999_999_999n],
    spec_cpu_quota: [50_000, 9_999_999_999n],
    spec_cpu_shares: [512, 9_999_999_999n],
    spec_memory_limit_bytes: [1024, 9_999_999_999n],
    spec_memory_swap_limit_bytes: [0, 9_999_999_999n],
    spec_memory_reservation_limit_bytes: [77, 9_999_999_999n],
    start_time_seconds: [1_700_000_000, 9_999_999_999n],
    pressure_cpu_stalled_seconds_total: [1, 2n],
    pressure_cpu_waiting_seconds_total: [3, 2n],
    pressure_memory_waiting_seconds_total: [5, 2n],
    pressure_io_stalled_seconds_total: [7, 2n],
    pressure_io_waiting_seconds_total: [6, 2n],
  });
});

Deno.test("containerMetrics() gives the sets that are named, and last_seen always", () => {
  for (const set of METRIC_SETS) {
    const keys = Object.keys(flat(containerMetrics(WHOLE, new Set([set])))).map((key) => key.replace(/\{.*/, ""));
    const sets = new Set(keys.map((key) => POD_METRICS.get(key)?.set));
    deepEqual([...sets], set === "network" ? [undefined] : [undefined, set], set);
  }
  deepEqual(Object.keys(flat(containerMetrics(WHOLE, new Set()))), ["last_seen"]);
});

Deno.test("containerMetrics() leaves out what is not known", () => {
  const { record, atNanos } = WHOLE;
  const keys = Object.keys(flat(containerMetrics({ record: { ...record, resources: {} }, atNanos }, ALL)));
  deepEqual(keys, [
    "last_seen",
    "spec_cpu_period",
    "spec_cpu_shares",
    "spec_memory_limit_bytes",
    "spec_memory_reservation_limit_bytes",
    "spec_memory_swap_limit_bytes",
    "start_time_seconds",
  ]);
});

Deno.test("containerMetrics() gives CPU time in total where the kernel does not count by CPU", () => {
  const cpu = { ...WHOLE.details?.cpu, perCpuNanos: [] } as unknown as NonNullable<typeof WHOLE.details>["cpu"];
  const details = { atNanos: 3n, ...(cpu === undefined ? {} : { cpu }) };
  const values = flat(containerMetrics({ ...WHOLE, details }, new Set(["cpu"])));
  deepEqual(values["cpu_usage_seconds_total{total}"], [7, 3n]);
  const { stats: _none, ...alone } = WHOLE;
  deepEqual(flat(containerMetrics({ ...alone, details }, new Set(["cpu"])))["cpu_usage_seconds_total{total}"], [6, 3n]);
});

Deno.test("podMetrics() gives each interface of a pod, and nothing without a network", () => {
  const interfaces = ["eth0", "net1"].map((name, at) => ({
    name,
    rxBytes: at + 1,
    rxPackets: at + 2,
    rxErrors: at + 3,
    rxDropped: at + 4,
    txBytes: at + 5,
    txPackets: at + 6,
    txErrors: at + 7,
    txDropped: at + 8,
  }));
  const values = flat(podMetrics({ record: sandboxRecord(), network: { atNanos: 6n, interfaces }, containers: [] }));
  deepEqual(Object.keys(values).length, 16);
  deepEqual(values["network_receive_packets_dropped_total{eth0}"], [4, 6n]);
  deepEqual(values["network_receive_errors_total{net1}"], [4, 6n]);
  deepEqual(values["network_transmit_packets_total{net1}"], [7, 6n]);
  deepEqual(values["network_transmit_packets_dropped_total{net1}"], [9, 6n]);
  deepEqual(podMetrics({ record: sandboxRecord(), containers: [] }), []);
});

Deno.test("every metric has a descriptor with as many labels as its values have", () => {
  const network = { name: "eth0", rxBytes: 1, rxPackets: 1, rxErrors: 1, rxDropped: 1 };
  const interfaces = [{ ...network, txBytes: 1, txPackets: 1, txErrors: 1, txDropped: 1 }];
  const groups = [
    ...containerMetrics(WHOLE, ALL),
    ...podMetrics({ record: sandboxRecord(), network: { atNanos: 1n, interfaces }, containers: [] }),
  ];
  const seen = new Set<string>();
  for (const { key, labels = [] } of groups.flatMap(({ values }) => values)) {
    equal(labels.length, POD_METRICS.get(key)?.labels.length, key);
    seen.add(key);
  }
  // Everything that is described can come, but pressure of memory here.
  deepEqual([...POD_METRICS.keys()].filter((key) => !seen.has(key)), ["pressure_memory_stalled_seconds_total"]);
});

Deno.test("includedDescriptors() has 56 of them for all sets, and one for none", () => {
  equal(includedDescriptors(ALL).length, 56);
  equal(new Set(includedDescriptors(ALL).map(({ name }) => name)).size, 56);
  deepEqual(includedDescriptors(new Set()).map(({ name }) => name), ["container_last_seen"]);
  deepEqual(includedDescriptors(new Set(["oom"])).map(({ name }) => name), [
    "container_last_seen",
    "container_oom_events_total",
  ]);
});
