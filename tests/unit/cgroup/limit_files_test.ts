import assert from "node:assert/strict";
import { finishLimits, holdLimits, limitFiles } from "../../../src/cgroup/limit_files.ts";
import { memoryUsageBytes } from "../../../src/cgroup/memory.ts";
import type { CgroupLayout } from "../../../src/linux/host.ts";

const V1: CgroupLayout = {
  mode: "v1",
  v1: { cpu: "/c/cpu", cpuset: "/c/cpuset", memory: "/c/memory", hugetlb: "/c/hugetlb" },
  unifiedControllers: [],
};
const V2: CgroupLayout = {
  mode: "v2",
  v1: {},
  unified: "/c",
  unifiedControllers: ["cpu", "cpuset", "memory", "hugetlb"],
};
const ALL = {
  oomScoreAdj: 1,
  cpuShares: 1,
  cpuQuotaMicros: 1,
  cpuPeriodMicros: 1,
  cpusetCpus: "0",
  cpusetMems: "0",
  memoryLimitBytes: 1,
  memorySwapLimitBytes: 1,
  hugepageLimits: [{ pageSize: "2MB", limitBytes: 1 }],
  unified: { "memory.high": "1" },
};

Deno.test("limitFiles() names the file of each limit", () => {
  assert.deepEqual(limitFiles(V1, "/a", ALL), [
    "/c/cpu/a/cpu.shares",
    "/c/cpu/a/cpu.cfs_period_us",
    "/c/cpu/a/cpu.cfs_quota_us",
    "/c/cpuset/a/cpuset.cpus",
    "/c/cpuset/a/cpuset.mems",
    "/c/memory/a/memory.limit_in_bytes",
    "/c/memory/a/memory.memsw.limit_in_bytes",
    "/c/hugetlb/a/hugetlb.2MB.limit_in_bytes",
  ]);
  assert.deepEqual(limitFiles(V2, "/a", ALL), [
    "/c/a/cpu.weight",
    "/c/a/cpu.max",
    "/c/a/cpuset.cpus",
    "/c/a/cpuset.mems",
    "/c/a/memory.max",
    "/c/a/memory.swap.max",
    "/c/a/hugetlb.2MB.max",
    "/c/a/memory.high",
  ]);
  assert.deepEqual(limitFiles({ ...V2, unifiedControllers: ["memory"] }, "/a", { cpuShares: 1, memoryLimitBytes: 1 }), [
    "/c/a/memory.max",
  ]);
});

async function withCgroup(body: (layout: CgroupLayout, directory: string) => Promise<void>): Promise<void> {
  const unified = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${unified}/a`);
    await body({ ...V2, unified }, `${unified}/a`);
  } finally {
    await Deno.remove(unified, { recursive: true });
  }
}

Deno.test("holdLimits() writes back what was there, and names what it could not", async () => {
  await withCgroup(async (layout, directory) => {
    await Deno.writeTextFile(`${directory}/memory.max`, "100\n");
    await Deno.writeTextFile(`${directory}/cpu.weight`, "39\n");
    const restore = await holdLimits(layout, "/a", { memoryLimitBytes: 1, cpuShares: 1, cpusetCpus: "0" });
    await Deno.writeTextFile(`${directory}/memory.max`, "7\n");
    assert.deepEqual(await restore(), []);
    assert.equal((await Deno.readTextFile(`${directory}/memory.max`)).trim(), "100");
    assert.equal(await Deno.readTextFile(`${directory}/cpu.weight`), "39\n");
    // A file that takes no write any more.
    await Deno.remove(`${directory}/cpu.weight`);
    await Deno.symlink("/proc/version", `${directory}/cpu.weight`);
    assert.deepEqual(await restore(), [`${directory}/cpu.weight`]);
  });
});

Deno.test("finishLimits() writes each size of huge pages, and the end of a quota on v1", async () => {
  await withCgroup(async (layout, directory) => {
    await Deno.writeTextFile(`${directory}/hugetlb.2MB.max`, "max");
    await finishLimits(layout, "/a", { hugepageLimits: [{ pageSize: "2MB", limitBytes: 4096 }] });
    assert.equal(await Deno.readTextFile(`${directory}/hugetlb.2MB.max`), "4096");
    const huge = { hugepageLimits: [{ pageSize: "1GB", limitBytes: 1 }] };
    await assert.rejects(finishLimits(layout, "/a", huge), Deno.errors.NotFound);
    const without = { ...layout, unifiedControllers: [] };
    await finishLimits(without, "/a", huge);
    await Deno.writeTextFile(`${directory}/cpu.cfs_quota_us`, "5000");
    const v1: CgroupLayout = { mode: "v1", v1: { cpu: layout.unified ?? "" }, unifiedControllers: [] };
    await finishLimits(v1, "/a", { cpuQuotaMicros: 4000 });
    assert.equal(await Deno.readTextFile(`${directory}/cpu.cfs_quota_us`), "5000");
    await finishLimits(v1, "/a", { cpuQuotaMicros: -1 });
    assert.equal(await Deno.readTextFile(`${directory}/cpu.cfs_quota_us`), "-1");
  });
});

Deno.test("memoryUsageBytes() reads what is used, undefined once the cgroup is gone", async () => {
  await withCgroup(async (layout, directory) => {
    await Deno.writeTextFile(`${directory}/memory.current`, "4096\n");
    assert.equal(await memoryUsageBytes(layout, "/a"), 4096);
    assert.equal(await memoryUsageBytes(layout, "/b"), undefined);
  });
});
