import { deepStrictEqual, strictEqual } from "node:assert/strict";
import {
  addSharedQuota,
  type CpuDirectories,
  isolateCpus,
  releaseCpus,
  removeQuotas,
} from "../../../src/performance/cpu_cgroups.ts";

interface Bench {
  readonly directories: CpuDirectories;
  read(file: string): Promise<string>;
  write(file: string, text: string): Promise<void>;
  remove(directory: string): Promise<void>;
}

async function withCgroups(isV2: boolean, body: (bench: Bench) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${root}/top/pod/ctr`, { recursive: true });
    for (const directory of ["top", "top/pod", "top/pod/ctr"]) {
      for (const file of ["cpuset.cpus", "cpuset.cpus.exclusive", "cpuset.sched_load_balance"]) {
        await Deno.writeTextFile(`${root}/${directory}/${file}`, "\n");
      }
    }
    const at = (path: string): string => `${root}/${path}`;
    await body({
      directories: {
        isV2,
        cpusetParents: [at("top"), at("top/pod")],
        cpuset: [at("top/pod/ctr")],
        podCpu: at("top/pod"),
        cpu: [at("top/pod/ctr")],
      },
      read: (file) => Deno.readTextFile(at(file)),
      write: (file, text) => Deno.writeTextFile(at(file), text),
      remove: (directory) => Deno.remove(at(directory), { recursive: true }),
    });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

const V1 = { isV2: false } as const;
const V2 = { isV2: true } as const;

Deno.test("isolateCpus() switches the container's balancing off on v1", async () => {
  await withCgroups(V1.isV2, async ({ directories, read }) => {
    await isolateCpus(directories, { cpus: "2-3", online: "0-3" });
    strictEqual(await read("top/pod/ctr/cpuset.sched_load_balance"), "0");
    strictEqual(await read("top/pod/cpuset.sched_load_balance"), "\n");
  });
});

Deno.test("isolateCpus() hands CPUs down on v2, and releaseCpus() takes them back, also when the container is gone", async () => {
  await withCgroups(V2.isV2, async ({ directories, read, write, remove }) => {
    await write("top/cpuset.cpus.exclusive", "7\n");
    await isolateCpus(directories, { cpus: "2-3", online: "0-7" });
    const state = [];
    for (const part of ["top", "top/pod", "top/pod/ctr"]) {
      state.push([await read(`${part}/cpuset.cpus`), await read(`${part}/cpuset.cpus.exclusive`)]);
    }
    deepStrictEqual(state, [["0-7", "2-3,7"], ["0-7", "2-3"], ["2-3", "2-3"]]);
    strictEqual(await read("top/pod/ctr/cpuset.cpus.partition"), "isolated");
    await remove("top/pod/ctr");
    await releaseCpus(directories, "2-3");
    strictEqual(await read("top/cpuset.cpus.exclusive"), "7");
    strictEqual(await read("top/pod/cpuset.cpus.exclusive"), "\n");
  });
});

Deno.test("removeQuotas() and addSharedQuota() write what each version of cgroups understands", async () => {
  const shared = { cpus: "2-3", sharedCpus: "0-2" };
  await withCgroups(V1.isV2, async ({ directories, read, write }) => {
    for (const part of ["top/pod", "top/pod/ctr"]) {
      await write(`${part}/cpu.cfs_quota_us`, "200000\n");
      await write(`${part}/cpu.cfs_period_us`, "100000\n");
    }
    await addSharedQuota(directories, shared);
    strictEqual(await read("top/pod/cpu.cfs_quota_us"), "400000");
    strictEqual(await read("top/pod/ctr/cpu.cfs_quota_us"), "400000");
    await removeQuotas(directories);
    strictEqual(await read("top/pod/ctr/cpu.cfs_quota_us"), "-1");
    await addSharedQuota(directories, shared);
    strictEqual(await read("top/pod/cpu.cfs_quota_us"), "-1");
  });
  await withCgroups(V2.isV2, async ({ directories, read, write }) => {
    await write("top/pod/cpu.max", "max 100000\n");
    await write("top/pod/ctr/cpu.max", "200000 50000\n");
    await addSharedQuota(directories, shared);
    strictEqual(await read("top/pod/cpu.max"), "max 100000\n");
    strictEqual(await read("top/pod/ctr/cpu.max"), "300000");
    await removeQuotas(directories);
    strictEqual(await read("top/pod/cpu.max"), "max");
  });
});
