import { deepEqual, equal, ok as assert } from "node:assert/strict";
import fc from "fast-check";
import { CgroupStatsReader, sampleOf } from "../../../../src/cgroup/stats/cgroup_stats.ts";
import { MEMORY_FILES } from "../../../../src/cgroup/stats/memory.ts";
import { filesOf } from "../../../../src/cgroup/stats/sampled_cgroups.ts";
import { SWAP_FILES } from "../../../../src/cgroup/stats/swap.ts";
import type { CgroupLayout } from "../../../../src/linux/host.ts";
import { V1, V1_UNLIMITED, V2 } from "./recorded.ts";

/** A file tree that looks like a host's hierarchies, with one cgroup `/pod/c`. */
class Hierarchies implements AsyncDisposable {
  readonly clock = {
    nanos: 1_700_000_000_000_000_000n,
    ms: 0,
    nowNanos: (): bigint => this.clock.nanos,
    monotonicMs: (): number => this.clock.ms,
    advance: (ms: number): void => {
      this.clock.ms += ms;
      this.clock.nanos += BigInt(ms) * 1_000_000n;
    },
  };

  private constructor(readonly root: string, readonly mode: CgroupLayout["mode"]) {}

  static async make(mode: CgroupLayout["mode"], files: Readonly<Record<string, string>>): Promise<Hierarchies> {
    const made = new Hierarchies(await Deno.makeTempDir({ prefix: "crio-stats-" }), mode);
    for (const [file, text] of Object.entries(files)) await made.write(file, text);
    return made;
  }

  async write(file: string, text: string): Promise<void> {
    const path = this.#path(file);
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(path, text);
  }

  async remove(file: string): Promise<void> {
    await Deno.remove(this.#path(file));
  }

  layout(): CgroupLayout {
    const { root, mode } = this;
    if (mode === "v2") return { mode, v1: {}, unified: root, unifiedControllers: ["cpu", "memory"] };
    const v1 = { cpuacct: `${root}/cpuacct`, memory: `${root}/memory`, pids: `${root}/pids` };
    return mode === "v1"
      ? { mode, v1, unifiedControllers: [] }
      : { mode, v1, unified: `${root}/unified`, unifiedControllers: ["hugetlb"] };
  }

  reader(): CgroupStatsReader {
    return new CgroupStatsReader(this.layout(), this.clock);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.root, { recursive: true });
  }

  #path(file: string): string {
    if (this.mode === "v2") return `${this.root}/pod/c/${file}`;
    return `${this.root}/${file.replace("/", "/pod/c/")}`;
  }
}

for (const mode of ["v1", "hybrid"] as const) {
  Deno.test(`CgroupStatsReader reads a limited cgroup of a ${mode} host`, async () => {
    await using host = await Hierarchies.make(mode, V1);
    deepEqual(await host.reader().read("/pod/c"), {
      atNanos: 1_700_000_000_000_000_000n,
      cpu: { usageNanos: 91507442913n },
      memory: {
        usageBytes: 73400320,
        workingSetBytes: 73400320 - 10485760,
        availableBytes: 134217728 - (73400320 - 10485760),
        rssBytes: 50331648,
        pageFaults: 77700,
        majorPageFaults: 12,
      },
      swap: { usageBytes: 4096, availableBytes: 201326592 - 134217728 - 4096 },
      pids: { current: 17 },
    });
  });
}

Deno.test("CgroupStatsReader says nothing of what is available on v1 without a limit", async () => {
  await using host = await Hierarchies.make("v1", V1_UNLIMITED);
  const stats = await host.reader().read("/pod/c");
  equal(stats?.memory?.availableBytes, undefined);
  deepEqual(stats?.swap, { usageBytes: 4096 });
});

Deno.test("CgroupStatsReader reads a cgroup of a v2 host, with pressure", async () => {
  await using host = await Hierarchies.make("v2", V2);
  deepEqual(await host.reader().read("/pod/c"), {
    atNanos: 1_700_000_000_000_000_000n,
    cpu: {
      usageNanos: 2718281828000n,
      pressure: {
        some: { totalMicros: 9000001, avg10: 1.25, avg60: 0.5, avg300: 0.1 },
        full: { totalMicros: 8000002, avg10: 0.25, avg60: 0, avg300: 0 },
      },
    },
    memory: {
      usageBytes: 62914560,
      workingSetBytes: 62914560 - 15728640,
      rssBytes: 31457280,
      pageFaults: 4242,
      majorPageFaults: 3,
      pressure: {
        some: { totalMicros: 11, avg10: 0, avg60: 0, avg300: 0 },
        full: { totalMicros: 7, avg10: 0, avg60: 0, avg300: 0 },
      },
    },
    swap: { usageBytes: 8192, availableBytes: 1048576 - 8192 },
    pids: { current: 4 },
    io: {
      pressure: {
        some: { totalMicros: 4000000000, avg10: 99, avg60: 12.34, avg300: 5.67 },
        full: { totalMicros: 3999999999, avg10: 98, avg60: 11, avg300: 5 },
      },
    },
  });
});

Deno.test("CgroupStatsReader honours memory.max and leaves out what a v2 kernel does not count", async () => {
  await using host = await Hierarchies.make("v2", V2);
  await host.write("memory.max", "67108864\n");
  for (const file of ["memory.swap.current", "memory.swap.max", "io.pressure", "cpu.pressure", "memory.pressure"]) {
    await host.remove(file);
  }
  const stats = await host.reader().read("/pod/c");
  equal(stats?.memory?.availableBytes, 67108864 - (62914560 - 15728640));
  deepEqual(Object.keys(stats ?? {}), ["atNanos", "cpu", "memory", "pids"]);
  deepEqual(Object.keys(stats?.cpu ?? {}), ["usageNanos"]);
});

Deno.test("CgroupStatsReader reads some pressure of CPUs alone, as before Linux 5.13", async () => {
  await using host = await Hierarchies.make("v2", V2);
  await host.write("cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n");
  const stats = await host.reader().read("/pod/c");
  deepEqual(stats?.cpu?.pressure, { some: { totalMicros: 5, avg10: 0, avg60: 0, avg300: 0 } });
});

Deno.test("CgroupStatsReader counts a working set of less than nothing as nothing", async () => {
  await using host = await Hierarchies.make("v2", V2);
  await host.write("memory.current", "4096\n");
  equal((await host.reader().read("/pod/c"))?.memory?.workingSetBytes, 0);
});

Deno.test("CgroupStatsReader gives nothing for a cgroup that is gone, and takes half of one that goes", async () => {
  await using host = await Hierarchies.make("v1", V1);
  const reader = host.reader();
  equal(await reader.read("/pod/other"), undefined);
  await host.remove("memory/memory.stat");
  await host.remove("cpuacct/cpuacct.usage");
  deepEqual(Object.keys(await reader.read("/pod/c") ?? {}), ["atNanos", "pids"]);
});

Deno.test("CgroupStatsReader reads once a second and tells the rate between two reads", async () => {
  await using host = await Hierarchies.make("v1", V1);
  const reader = host.reader();
  const first = await reader.read("/pod/c");
  await host.write("cpuacct/cpuacct.usage", String(91507442913n + 3_000_000_000n));
  host.clock.advance(999);
  equal(await reader.read("/pod/c"), first);
  host.clock.advance(1001);
  const [second, third] = await Promise.all([reader.read("/pod/c"), reader.read("/pod/c")]);
  equal(second, third, "callers share a read");
  equal(second?.atNanos, host.clock.nanos);
  equal(second?.cpu?.usageNanoCores, 1_500_000_000n);
});

Deno.test("CgroupStatsReader tells no rate when the counter went back", async () => {
  await using host = await Hierarchies.make("v1", V1);
  const reader = host.reader();
  await reader.read("/pod/c");
  await host.write("cpuacct/cpuacct.usage", "5\n");
  host.clock.advance(2000);
  const { cpu } = await reader.read("/pod/c") ?? {};
  deepEqual(cpu, { usageNanos: 5n });
});

Deno.test("CgroupStatsReader keeps CPU time beyond 2^53 nanoseconds exact", async () => {
  await using host = await Hierarchies.make("v1", { ...V1, "cpuacct/cpuacct.usage": "9007199254740993\n" });
  equal((await host.reader().read("/pod/c"))?.cpu?.usageNanos, 9007199254740993n);
});

Deno.test("filesOf() names each file once, and none of a controller that the host lacks", () => {
  const layout: CgroupLayout = { mode: "v1", v1: { memory: "/m" }, unifiedControllers: [] };
  deepEqual(filesOf(layout, [MEMORY_FILES, SWAP_FILES, { v1: { cpu: ["cpu.stat"] }, v2: [] }]), [
    { mount: "/m", name: "memory.usage_in_bytes" },
    { mount: "/m", name: "memory.stat" },
  ]);
});

Deno.test("sampleOf() takes any text", () => {
  const nasty = fc.oneof(
    fc.string(),
    fc.constantFrom(
      "",
      "\n",
      "-1\n",
      "usage_usec\n",
      "usage_usec x\n",
      "some avg10=. avg60=1 avg300=1 total=1\n",
      "1e9",
    ),
  );
  fc.assert(fc.property(fc.dictionary(fc.constantFrom(...Object.keys(V2), "cpuacct.usage"), nasty), (texts) => {
    const { memory, swap, pids } = sampleOf((name) => texts[name], { atNanos: 1n, previous: undefined });
    for (const value of Object.values({ ...memory, ...swap, ...pids })) {
      assert(typeof value === "object" || (Number.isFinite(value) && value >= 0), JSON.stringify(value));
    }
  }));
});
