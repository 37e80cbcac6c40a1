import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { CpuFiles } from "../../../src/performance/cpu_files.ts";

interface Bench {
  readonly files: CpuFiles;
  read(file: string): Promise<string>;
}

async function withCpus(body: (bench: Bench) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    for (const cpu of [0, 1, 2]) {
      const directory = `${root}/sys/cpu${cpu}`;
      for (const part of ["power", "cpufreq", "topology"]) {
        await Deno.mkdir(`${directory}/${part}`, { recursive: true });
      }
      await Deno.writeTextFile(`${directory}/power/pm_qos_resume_latency_us`, `${cpu * 10}\n`);
      await Deno.writeTextFile(`${directory}/cpufreq/scaling_governor`, "powersave\n");
      const governors = cpu === 2 ? "powersave\n" : "performance powersave\n";
      await Deno.writeTextFile(`${directory}/cpufreq/scaling_available_governors`, governors);
      await Deno.writeTextFile(`${directory}/topology/thread_siblings_list`, "0,2\n");
    }
    await Deno.writeTextFile(`${root}/sys/online`, "0-2\n");
    await body({
      files: new CpuFiles({ cpuDirectory: `${root}/sys`, saveDirectory: `${root}/save` }),
      read: (file) => Deno.readTextFile(`${root}/${file}`),
    });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("CpuFiles sets latencies, and restores what was there before the first change, once", async () => {
  await withCpus(async ({ files, read }) => {
    const latency = (cpu: number): Promise<string> => read(`sys/cpu${cpu}/power/pm_qos_resume_latency_us`);
    await files.setLatency("1-2", "n/a");
    await files.setLatency("1", "5");
    deepStrictEqual([await latency(0), await latency(1), await latency(2)], ["0\n", "5", "n/a"]);
    strictEqual(await read("save/cpu1/power/pm_qos_resume_latency_us"), "10\n");
    await files.restoreLatency("1-2");
    deepStrictEqual([await latency(1), await latency(2)], ["10", "20"]);
    await files.restoreLatency("1-2");
    await rejects(read("save/cpu1/power/pm_qos_resume_latency_us"), Deno.errors.NotFound);
  });
});

Deno.test("CpuFiles sets a governor on all CPUs or on none", async () => {
  await withCpus(async ({ files, read }) => {
    const governor = (cpu: number): Promise<string> => read(`sys/cpu${cpu}/cpufreq/scaling_governor`);
    await rejects(
      files.setGovernor("0,2", "performance"),
      /CPU 2 has no frequency governor performance \(it has: powersave\)/,
    );
    strictEqual(await governor(0), "powersave\n");
    await files.setGovernor("0-1", "performance");
    strictEqual(await governor(1), "performance");
    await files.restoreGovernor("0-1");
    strictEqual(await governor(1), "powersave");
    strictEqual(await files.siblings(0), "0,2");
    strictEqual(await files.online(), "0-2");
  });
});
