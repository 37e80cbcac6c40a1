import assert from "node:assert/strict";
import { HugepageLimit } from "../../../src/cri/gen/api.ts";
import { message } from "../harness/cri_client.ts";
import { pidOf } from "../harness/tries.ts";
import type { FieldCheck } from "./check.ts";

const MEBI = 1024 * 1024;

const withHugetlb: NonNullable<FieldCheck["skip"]> = ({ hugetlb }) =>
  hugetlb ? "the runtimes have a hugetlb controller here: shown where they have none" : undefined;

export const RESOURCE_FIELDS: readonly FieldCheck[] = [
  {
    field: "LinuxContainerResources.cpuPeriod",
    shows: "the period of the cgroup's CPU limit",
    prove: async (bench) => {
      const id = await bench.limited({ cpuPeriod: 50_000n, cpuQuota: 25_000n });
      const period = await bench.cgroup(id, ["cpu", "cpu.cfs_period_us"], "cpu.max");
      assert.match(period, /(^| )50000$/);
    },
  },
  {
    field: "LinuxContainerResources.cpuQuota",
    shows: "the quota of the cgroup's CPU limit",
    prove: async (bench) => {
      const id = await bench.limited({ cpuPeriod: 50_000n, cpuQuota: 25_000n });
      assert.match(await bench.cgroup(id, ["cpu", "cpu.cfs_quota_us"], "cpu.max"), /^25000( |$)/);
    },
  },
  {
    field: "LinuxContainerResources.cpuShares",
    shows: "the cgroup's shares, or the weight that they mean",
    prove: async (bench) => {
      const id = await bench.limited({ cpuShares: 512n });
      assert.equal(await bench.cgroup(id, ["cpu", "cpu.shares"], "cpu.weight"), bench.host.cgroup2 ? "20" : "512");
    },
  },
  {
    field: "LinuxContainerResources.memoryLimitInBytes",
    shows: "the cgroup's memory limit",
    prove: async (bench) => {
      const id = await bench.limited({ memoryLimitInBytes: BigInt(64 * MEBI) });
      assert.equal(await bench.cgroup(id, ["memory", "memory.limit_in_bytes"], "memory.max"), String(64 * MEBI));
    },
  },
  {
    field: "LinuxContainerResources.memorySwapLimitInBytes",
    shows: "the cgroup's limit of memory and swap together (v1), of swap (v2)",
    skip: ({ swapAccounting }) => swapAccounting ? undefined : "the kernel does not account swap",
    prove: async (bench) => {
      const limits = { memoryLimitInBytes: BigInt(64 * MEBI), memorySwapLimitInBytes: BigInt(96 * MEBI) };
      const swap = await bench.cgroup(
        await bench.limited(limits),
        ["memory", "memory.memsw.limit_in_bytes"],
        "memory.swap.max",
      );
      assert.equal(swap, String((bench.host.cgroup2 ? 32 : 96) * MEBI));
    },
  },
  {
    field: "LinuxContainerResources.oomScoreAdj",
    shows: "/proc/PID/oom_score_adj",
    prove: async (bench) => {
      const pid = await pidOf(bench.lab, await bench.limited({ oomScoreAdj: 777n }));
      assert.equal((await Deno.readTextFile(`/proc/${pid}/oom_score_adj`)).trim(), "777");
    },
  },
  {
    field: "LinuxContainerResources.cpusetCpus",
    shows: "the process may run on that CPU alone",
    skip: ({ processors }) => processors > 1 ? undefined : "the host has one CPU",
    prove: async (bench) => {
      assert.equal(await bench.status(await bench.limited({ cpusetCpus: "0" }), "Cpus_allowed_list"), "0");
    },
  },
  {
    field: "LinuxContainerResources.cpusetMems",
    shows: "a memory node that is not there is refused by the kernel",
    prove: async (bench) => {
      await bench.limited({ cpusetMems: "0" });
      await assert.rejects(bench.limited({ cpusetMems: "63" }));
    },
  },
  {
    field: "LinuxContainerResources.hugepageLimits",
    shows: "a limit above 0 is refused where no controller can keep it",
    skip: withHugetlb,
    prove: async (bench) => {
      const hugepageLimits = [message(HugepageLimit, { pageSize: "2MB", limit: BigInt(2 * MEBI) })];
      await assert.rejects(bench.limited({ hugepageLimits }), /hugetlb/);
    },
  },
  {
    field: "HugepageLimit.limit",
    shows: "0, which the kubelet sends for every size, is met; more is refused where no controller can keep it",
    skip: withHugetlb,
    prove: async (bench) => {
      await bench.limited({ hugepageLimits: [message(HugepageLimit, { pageSize: "2MB", limit: 0n })] });
      const hugepageLimits = [message(HugepageLimit, { pageSize: "2MB", limit: BigInt(2 * MEBI) })];
      await assert.rejects(bench.limited({ hugepageLimits }), /hugetlb/);
    },
  },
  {
    field: "HugepageLimit.pageSize",
    shows: "the refusal names the size",
    skip: withHugetlb,
    prove: async (bench) => {
      const hugepageLimits = [message(HugepageLimit, { pageSize: "2MB", limit: BigInt(2 * MEBI) })];
      await assert.rejects(bench.limited({ hugepageLimits }), /huge pages of 2MB/);
    },
  },
  {
    field: "LinuxContainerResources.unified",
    shows: "a file of the cgroup that has no field of its own",
    skip: ({ cgroup2 }) => cgroup2 ? undefined : "the host has cgroup v1",
    prove: async (bench) => {
      const id = await bench.limited({ unified: new Map([["memory.high", String(48 * MEBI)]]) });
      assert.equal(await bench.cgroup(id, ["memory", ""], "memory.high"), String(48 * MEBI));
    },
  },
];
