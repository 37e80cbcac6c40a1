import { deepEqual, equal, ok as assert } from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { hasController } from "../../src/cgroup/hierarchies.ts";
import { CgroupStatsReader } from "../../src/cgroup/stats/cgroup_stats.ts";
import { CgroupTree } from "../../src/cgroup/tree.ts";
import { ContainerStatsReader } from "../../src/container/stats.ts";
import { type CgroupLayout, inspectHost } from "../../src/linux/host.ts";
import { pinNamespaces, unpinNamespace } from "../../src/linux/namespaces.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { InterfaceStatsReader } from "../../src/network/interface_stats.ts";
import { SandboxStatsReader } from "../../src/sandbox/stats.ts";
import { someContainer, somePod } from "../fakes/cri_operations.ts";

openLibraries();

const MEBI = 1024 * 1024;
const { cgroup: own } = await inspectHost();
/** The host as it is; and on a hybrid one its v2 hierarchy alone, as if there were no other. */
const LAYOUTS: readonly CgroupLayout[] = own.mode === "hybrid" ? [own, { ...own, mode: "v2", v1: {} }] : [own];
/** The kernel can be started without pressure stall information. */
const PRESSURE = await Deno.readTextFile("/proc/pressure/cpu").then(() => true, () => false);
let serial = 0;

/** Real time for stamps; a clock of our own for the age of what is remembered. */
class Clock {
  #aheadMs = 0;
  nowNanos = systemClock.nowNanos;
  monotonicMs = (): number => performance.now() + this.#aheadMs;
  skip(ms: number): void {
    this.#aheadMs += ms;
  }
}

/** A shell that does one step for each line it gets, and answers each with a line. */
class Shell implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #stdout: ReadableStreamDefaultReader<Uint8Array>;

  constructor(script: string) {
    const args = ["-c", script];
    this.#child = new Deno.Command("/bin/sh", { args, stdin: "piped", stdout: "piped" }).spawn();
    this.#stdin = this.#child.stdin.getWriter();
    this.#stdout = this.#child.stdout.getReader();
  }

  get pid(): number {
    return this.#child.pid;
  }

  async step(): Promise<void> {
    await this.#stdin.write(new TextEncoder().encode("\n"));
    const { done } = await this.#stdout.read();
    assert(!done, "the shell has ended");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#stdin.abort().catch(() => {});
    await this.#stdout.cancel();
  }
}

const BURN = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";

async function withTree(
  layout: CgroupLayout,
  body: (tree: CgroupTree, parent: string) => Promise<void>,
): Promise<void> {
  const tree = new CgroupTree(layout);
  const parent = `/crio-test-stats-${Deno.pid}-${serial++}`;
  try {
    await body(tree, parent);
  } finally {
    await tree.kill(parent);
    await tree.remove(parent);
  }
}

for (const layout of LAYOUTS) {
  Deno.test(`${layout.mode}: CgroupStatsReader sees 50 MiB that a process takes, and the CPU time that it burns`, async () => {
    await withTree(layout, async (tree, parent) => {
      await tree.create(`${parent}/c`);
      const clock = new Clock();
      const reader = new CgroupStatsReader(layout, clock);
      await using shell = new Shell(
        `read _; echo in; read _; x=$(head -c ${
          50 * MEBI
        } /dev/zero | tr '\\0' x); echo full; read _; ${BURN}; echo hot; read _`,
      );
      await tree.addProcess(`${parent}/c`, shell.pid);
      await shell.step();
      const before = await reader.read(`${parent}/c`);
      await shell.step();
      clock.skip(1000);
      const full = await reader.read(`${parent}/c`);
      await shell.step();
      clock.skip(1000);
      const hot = await reader.read(`${parent}/c`);
      assert(before?.cpu !== undefined && full?.cpu !== undefined && hot?.cpu !== undefined);
      equal(before.cpu.usageNanoCores, undefined);
      const used = hot.cpu.usageNanos - full.cpu.usageNanos;
      assert(used > 10_000_000n, `${used} ns`);
      equal(hot.cpu.usageNanoCores, used * 1_000_000_000n / (hot.atNanos - full.atNanos));
      assert(BigInt(Date.now()) * 1_000_000n - hot.atNanos < 5_000_000_000n, "stamped with the time of the read");
      if (hasController(layout, "memory")) {
        assert(before.memory !== undefined && full.memory !== undefined);
        for (const key of ["usageBytes", "workingSetBytes", "rssBytes"] as const) {
          const grown: number = full.memory[key] - before.memory[key];
          assert(grown > 45 * MEBI, `${key} grew by ${grown}`);
        }
        assert(full.memory.pageFaults > before.memory.pageFaults);
        equal(full.memory.availableBytes, undefined);
      }
      if (hasController(layout, "pids")) assert((full.pids?.current ?? 0) >= 1);
      if (layout.mode === "v2" && PRESSURE) assert((hot.cpu.pressure?.some.totalMicros ?? -1) >= 0);
    });
  });

  Deno.test(`${layout.mode}: CgroupStatsReader gives nothing once the cgroup is removed`, async () => {
    await withTree(layout, async (tree, parent) => {
      await tree.create(`${parent}/c`);
      const clock = new Clock();
      const reader = new CgroupStatsReader(layout, clock);
      assert(await reader.read(`${parent}/c`) !== undefined);
      await tree.remove(`${parent}/c`);
      clock.skip(1000);
      equal(await reader.read(`${parent}/c`), undefined);
    });
  });
}

Deno.test("a limit shows as what is available", async () => {
  if (!hasController(own, "memory")) return;
  await withTree(own, async (tree, parent) => {
    await tree.create(parent);
    const [directory, file] = own.mode === "v2"
      ? [own.unified, "memory.max"]
      : [own.v1["memory"], "memory.limit_in_bytes"];
    await Deno.writeTextFile(`${directory}${parent}/${file}`, String(64 * MEBI));
    const { memory } = await new CgroupStatsReader(own, new Clock()).read(parent) ?? {};
    equal(memory?.availableBytes, 64 * MEBI - (memory?.workingSetBytes ?? 0));
  });
});

Deno.test("lists of 50 pods and their containers come from the kernel, without those whose cgroup goes", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-stats-" });
  await using cleanUp = new AsyncDisposableStack();
  cleanUp.defer(() => Deno.remove(directory, { recursive: true }));
  await withTree(own, async (tree, parent) => {
    const pods = Array.from({ length: 50 }, (_, i) => {
      const { network = "" } = pinNamespaces({ directory, name: `pod${i}`, kinds: ["network"] });
      cleanUp.defer(() => unpinNamespace(network));
      const cgroupParent = `${parent}/pod${i}`;
      const pod = somePod({ cgroupParent, namespaces: { network } });
      return { ...pod, spec: { ...pod.spec, cgroupParent } };
    });
    const containers = pods.map(({ id, cgroupParent }) =>
      someContainer({ sandboxId: id, state: "running", cgroupParent })
    );
    for (const { id, cgroupParent } of containers) await tree.create(`${cgroupParent}/crio-${id}`);
    const clock = new Clock();
    const cgroups = new CgroupStatsReader(own, clock);
    const containerStats = new ContainerStatsReader({
      driver: "cgroupfs",
      cgroups,
      layers: { mountpoint: "/", usage: () => Promise.resolve({ bytes: 0, inodes: 0, atNanos: 0n }) },
      clock,
      log: silentLogger,
    });
    const sandboxStats = new SandboxStatsReader({
      driver: "cgroupfs",
      cgroups,
      interfaces: new InterfaceStatsReader(clock),
      containerStats,
      containers: { list: () => containers },
      sandboxes: { list: () => pods },
      clock,
      log: silentLogger,
    });
    const listed = await sandboxStats.list(pods);
    deepEqual(listed.map((pod) => pod.containers.length), pods.map(() => 1));
    assert(listed.every(({ network, cgroup }) => network !== undefined && cgroup?.cpu !== undefined));
    const gone = containers.filter((_, i) => i % 2 === 0);
    clock.skip(1000);
    const [during] = await Promise.all([
      containerStats.list(containers),
      ...gone.map(({ id, cgroupParent }) => tree.remove(`${cgroupParent}/crio-${id}`)),
    ]);
    assert(during.length >= 25, "those that stay are there, whatever happens to the others");
    clock.skip(1000);
    const left = await containerStats.list(containers);
    deepEqual(left.map(({ record }) => record.id), containers.filter((one) => !gone.includes(one)).map(({ id }) => id));
  });
});
