import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import {
  type CgroupDetails,
  CgroupDetailsReader,
  detailsOf,
  hugePageSizes,
} from "../../../../src/cgroup/stats/cgroup_details.ts";
import { pageSizeName } from "../../../../src/cgroup/stats/hugetlb_details.ts";
import type { CgroupLayout } from "../../../../src/linux/host.ts";
import { V1, V2 } from "./recorded.ts";

const OPTIONS = {
  pageSizes: ["2MB", "1GB"],
  deviceNames: ({ major, minor }: { major: number; minor: number }): string | undefined =>
    major === 254 && minor === 0 ? "/dev/vda" : undefined,
};

/** Files by their name alone, without their controller. */
function details(files: Readonly<Record<string, string>>): Omit<CgroupDetails, "atNanos"> {
  const byName = new Map(Object.entries(files).map(([path, text]) => [path.slice(path.lastIndexOf("/") + 1), text]));
  return detailsOf((name) => byName.get(name), OPTIONS);
}

Deno.test("detailsOf() reads what v1 counts", () => {
  deepEqual(
    details({
      "cpuacct/cpuacct.usage_user": "2000000001\n",
      "cpuacct/cpuacct.usage_sys": "1000000002\n",
      "cpuacct/cpuacct.usage_percpu": "1547229481173 0 1633296426054 \n",
      "cpu/cpu.stat": "nr_periods 100\nnr_throttled 7\nthrottled_time 31415000\nnr_bursts 0\n",
      "memory/memory.stat":
        `cache 1\nmapped_file 9\npgfault 4\npgmajfault 5\ntotal_cache 20971520\ntotal_mapped_file 8192
total_pgfault 77700\ntotal_active_anon 3\n`,
      "memory/memory.kmem.usage_in_bytes": "4096\n",
      "memory/memory.max_usage_in_bytes": "99999744\n",
      "memory/memory.failcnt": "3\n",
      "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
      "pids/pids.current": "17\n",
      "pids/pids.max": "100\n",
      "hugetlb/hugetlb.2MB.usage_in_bytes": "4194304\n",
      "hugetlb/hugetlb.2MB.max_usage_in_bytes": "8388608\n",
      "blkio/blkio.throttle.io_service_bytes_recursive": `254:0 Read 4096
254:0 Write 8192
254:0 Sync 0
254:0 Async 12288
254:0 Discard 0
254:0 Total 12288
7:1 Read 1
Total 12289
`,
      "blkio/blkio.throttle.io_serviced_recursive": "254:0 Read 1\n254:0 Write 2\n254:0 Total 3\nTotal 3\n",
    }),
    {
      cpu: {
        userNanos: 2000000001n,
        systemNanos: 1000000002n,
        perCpuNanos: [1547229481173n, 0n, 1633296426054n],
        periods: 100n,
        throttledPeriods: 7n,
        throttledNanos: 31415000n,
      },
      memory: {
        cacheBytes: 20971520,
        mappedFileBytes: 8192,
        kernelBytes: 4096,
        peakBytes: 99999744,
        limitHits: 3,
        pageFaults: 4,
        majorPageFaults: 5,
      },
      oomKills: 2,
      pids: { current: 17, max: 100 },
      io: [
        {
          major: 254,
          minor: 0,
          bytes: { read: 4096n, write: 8192n, sync: 0n, async: 12288n, discard: 0n, total: 12288n },
          operations: { read: 1n, write: 2n, total: 3n },
          name: "/dev/vda",
        },
        { major: 7, minor: 1, bytes: { read: 1n }, operations: {}, name: "7:1" },
      ],
      hugetlb: [{ pageSize: "2MB", usageBytes: 4194304, peakBytes: 8388608 }],
    },
  );
});

Deno.test("detailsOf() reads what v2 counts", () => {
  deepEqual(
    details({
      ...V2,
      "memory.peak": "70000000\n",
      "memory.events": "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n",
      "pids.max": "max\n",
      "hugetlb.1GB.current": "1073741824\n",
      "io.stat": "254:0 rbytes=4096 wbytes=18446744073709551615 rios=1 wios=2 dbytes=0 dios=0\n7:0 \n",
    }),
    {
      cpu: {
        userNanos: 2000000000000n,
        systemNanos: 718281828000n,
        perCpuNanos: [],
        periods: 100n,
        throttledPeriods: 7n,
        throttledNanos: 31415000n,
      },
      memory: {
        cacheBytes: 20971520,
        mappedFileBytes: 8192,
        kernelBytes: 1234567,
        peakBytes: 70000000,
        limitHits: 12,
        pageFaults: 4242,
        majorPageFaults: 3,
      },
      oomKills: 1,
      pids: { current: 4 },
      io: [{
        major: 254,
        minor: 0,
        bytes: { read: 4096n, write: 18446744073709551615n, discard: 0n },
        operations: { read: 1n, write: 2n, discard: 0n },
        name: "/dev/vda",
      }],
      hugetlb: [{ pageSize: "1GB", usageBytes: 1073741824 }],
    },
  );
});

Deno.test("detailsOf() adds kernel memory up where the kernel gives no sum", () => {
  const stat = (V2["memory.stat"] ?? "").replace(/^kernel \d+\n/m, "slab 1000\n");
  equal(details({ "memory.stat": stat }).memory?.kernelBytes, 49152 + 102400 + 1000);
});

Deno.test("CgroupDetailsReader reads only what was asked for", async () => {
  const root = await Deno.makeTempDir({ prefix: "crio-details-" });
  try {
    await Deno.mkdir(`${root}/c`);
    for (const [file, text] of Object.entries({ ...V2, "io.stat": "", "memory.events": "oom_kill 4\n" })) {
      await Deno.writeTextFile(`${root}/c/${file}`, text);
    }
    const layout: CgroupLayout = { mode: "v2", v1: {}, unified: root, unifiedControllers: [] };
    const clock = { nowNanos: () => 7n, monotonicMs: () => 0 };
    const reader = (kinds: ConstructorParameters<typeof CgroupDetailsReader>[2]["kinds"]): CgroupDetailsReader =>
      new CgroupDetailsReader(layout, clock, { ...OPTIONS, kinds });
    deepEqual(await reader(["oom"]).read("/c"), { atNanos: 7n, oomKills: 4 });
    deepEqual(Object.keys(await reader(["cpu", "io"]).read("/c") ?? {}), ["atNanos", "cpu", "io"]);
    equal(await reader(["cpu"]).read("/gone"), undefined);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("hugePageSizes() names sizes as cgroup files do, smallest first", async () => {
  deepEqual([64, 2048, 1048576, 16 * 1048576].map(pageSizeName), ["64KB", "2MB", "1GB", "16GB"]);
  const directory = await Deno.makeTempDir({ prefix: "crio-hugepages-" });
  for (const name of ["hugepages-1048576kB", "hugepages-2048kB", "other"]) await Deno.mkdir(`${directory}/${name}`);
  deepEqual(await hugePageSizes(directory), ["2MB", "1GB"]);
  await Deno.remove(directory, { recursive: true });
  deepEqual(await hugePageSizes(directory), []);
});

Deno.test("detailsOf() takes any text", () => {
  const names = [...Object.keys(V1), ...Object.keys(V2), "io.stat", "pids.max", "cpuacct.usage_user"];
  const nasty = fc.oneof(
    fc.string(),
    fc.constantFrom("", "\n", "-1\n", "max\n", "8:0\n", "8:0 rbytes\n", "8:0 Read\n", "1e9\n", "x:y rbytes=1\n"),
  );
  fc.assert(fc.property(fc.dictionary(fc.constantFrom(...names), nasty), (files) => {
    details(files);
  }));
});
