import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { ContainerExits } from "../../../src/container/exits.ts";
import { CpuTuning, cpuVariables, withSharedCpus } from "../../../src/container/performance.ts";
import type { ContainerRecord } from "../../../src/container/types.ts";
import { CpuFiles } from "../../../src/performance/cpu_files.ts";
import { Interrupts } from "../../../src/performance/interrupts.ts";
import type { PerformancePlan } from "../../../src/performance/plan.ts";
import { RecordStore } from "../../../src/state/record_store.ts";
import { containerRecord } from "../../fakes/records.ts";

const RUNS = Promise.resolve(1 > 0);
const runs = (): Promise<boolean> => RUNS;

interface Bench {
  readonly tuning: CpuTuning;
  readonly exits: ContainerExits;
  readonly records: RecordStore<ContainerRecord>;
  readonly root: string;
  read(file: string): Promise<string>;
}

async function withNode(body: (bench: Bench) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${root}/sys/cpu1/power`, { recursive: true });
    await Deno.mkdir(`${root}/sys/cpu1/topology`, { recursive: true });
    await Deno.writeTextFile(`${root}/sys/online`, "0-3\n");
    await Deno.writeTextFile(`${root}/sys/cpu1/power/pm_qos_resume_latency_us`, "7\n");
    await Deno.writeTextFile(`${root}/sys/cpu1/topology/thread_siblings_list`, "0-1\n");
    await Deno.writeTextFile(`${root}/affinity`, "f\n");
    const records = await RecordStore.open<ContainerRecord>({
      directory: `${root}/records`,
      what: "container",
      log: silentLogger,
      parse: (json) => json as ContainerRecord,
    });
    const exits = new ContainerExits({ records, log: silentLogger });
    const places = { affinityFile: `${root}/affinity`, balanceFile: `${root}/none`, bannedFile: "disable" };
    const tuning = new CpuTuning({
      driver: "cgroupfs",
      layout: { mode: "v1", v1: { cpu: `${root}/cpu`, cpuset: `${root}/cpuset` }, unifiedControllers: [] },
      cpuFiles: new CpuFiles({ cpuDirectory: `${root}/sys`, saveDirectory: `${root}/save` }),
      interrupts: new Interrupts(places, { run: runs, log: silentLogger }),
      records,
      exits,
      log: silentLogger,
    });
    await body({
      tuning,
      exits,
      records,
      root,
      read: async (file) => (await Deno.readTextFile(`${root}/${file}`)).trim(),
    });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

const PLAN: PerformancePlan = { cpus: "1-2", interrupts: "housekeeping", housekeepingCpus: "1", resumeLatency: "n/a" };

async function tuned(
  { records }: Bench,
  performance: PerformancePlan = { ...PLAN, cpus: "1" },
): Promise<ContainerRecord> {
  const record = containerRecord({ performance, state: "created" });
  await records.insert(record);
  return record;
}

/** Until the listeners of an end have done their work. */
async function untuned({ records }: Bench, id: string): Promise<void> {
  while (records.get(id)?.tuned !== undefined) await new Promise((resolve) => setTimeout(resolve, 1));
}

Deno.test("CpuTuning tunes before the start and takes it back at the end, whoever records it", async () => {
  await withNode(async (bench) => {
    const { tuning, exits, records, read } = bench;
    const record = await tuned(bench, { cpus: "1", interrupts: "disable", resumeLatency: "n/a" });
    await tuning.apply(record);
    ok(records.get(record.id)?.tuned);
    strictEqual(await read("affinity"), "0000000d");
    strictEqual(await read("sys/cpu1/power/pm_qos_resume_latency_us"), "n/a");
    await exits.handle({ id: record.id, exitCode: 0, finishedAtNanos: 9n, oomKilled: false });
    await untuned(bench, record.id);
    strictEqual(await read("affinity"), "0000000f");
    strictEqual(await read("sys/cpu1/power/pm_qos_resume_latency_us"), "7");
    // A second time would give a CPU back that is another container's by now.
    await Deno.writeTextFile(`${bench.root}/affinity`, "0");
    await tuning.undo(record.id);
    strictEqual(await read("affinity"), "0");
  });
});

Deno.test("CpuTuning takes back after a restart what a former daemon did", async () => {
  await withNode(async (bench) => {
    const { tuning, records, read } = bench;
    const record = { ...await tuned(bench, { cpus: "2", interrupts: "disable" }), tuned: true as const };
    await records.update(record.id, (now) => ({ ...now, tuned: true, state: "exited" }));
    tuning.watch(record);
    await untuned(bench, record.id);
    strictEqual(await read("affinity"), "0000000f");
  });
});

Deno.test("CpuTuning.plan() leaves interrupts to the first core's CPUs of the container", async () => {
  await withNode(async ({ tuning }) => {
    const plan = await tuning.plan({
      annotations: { "irq-load-balancing.crio.io": "housekeeping" },
      container: "main",
      handler: "crun",
      cgroupParent: "/pod",
      limits: { cpuShares: 2048, cpusetCpus: "1-2" },
      sharedCpuset: "",
      execCpuAffinity: "",
    });
    deepStrictEqual(plan, { cpus: "1-2", interrupts: "housekeeping", housekeepingCpus: "1" });
    deepStrictEqual(cpuVariables(plan), ["OPENSHIFT_HOUSEKEEPING_CPUS=1"]);
  });
});

Deno.test("CpuTuning.apply() fails where the kernel has no such file, and says so in the record", async () => {
  await withNode(async (bench) => {
    const record = await tuned(bench, { cpus: "3", resumeLatency: "0" });
    await rejects(bench.tuning.apply(record), Deno.errors.NotFound);
    ok(bench.records.get(record.id)?.tuned);
  });
});

Deno.test("withSharedCpus() and cpuVariables() know the CPUs of both kinds", () => {
  const plan = { cpus: "2", sharedCpus: "0" };
  deepStrictEqual(withSharedCpus({ cpusetCpus: "2", cpuShares: 1 }, plan), { cpusetCpus: "0,2", cpuShares: 1 });
  deepStrictEqual(withSharedCpus({ cpuShares: 1 }, plan), { cpuShares: 1 });
  deepStrictEqual(cpuVariables(plan), ["OPENSHIFT_ISOLATED_CPUS=2", "OPENSHIFT_SHARED_CPUS=0"]);
  deepStrictEqual(cpuVariables(undefined), []);
});
