import assert from "node:assert/strict";
import { ContainerState, LinuxContainerConfig, LinuxContainerResources } from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Crictl } from "./harness/crictl.ts";
import { KernelCgroup, keyed, near } from "./harness/kernel_cgroup.ts";
import { Lab } from "./harness/lab.ts";
import { execText, pidOf, PodUnderTest, until } from "./harness/tries.ts";

const MEBI = 1024 * 1024;
const LIMIT_BYTES = BigInt(128 * MEBI);

/** Takes 50 MiB, writes 5 MiB into its root file system, then says so and waits. */
const HUNGRY = `x=$(head -c ${50 * MEBI} /dev/zero | tr '\\0' x); head -c ${5 * MEBI} /dev/zero > /data; ` +
  "touch /done; while :; do sleep 1; done";

/** At once: what runs here does not listen to the stop signal. */
async function remove(lab: Lab, pod: PodUnderTest): Promise<void> {
  await lab.daemon.client.call("removePodSandbox", { podSandboxId: pod.id });
}

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: stats show what containers and pods use`, async (t) => {
    await using lab = await Lab.start({ defaultRuntime: runtime });
    const { client } = lab.daemon;
    await lab.pull();
    const pod = await PodUnderTest.run(lab, "hungry");
    const containerId = await pod.start({
      command: ["/bin/sh", "-c", HUNGRY],
      change: (config) => {
        const resources = message(LinuxContainerResources, { memoryLimitInBytes: LIMIT_BYTES });
        config.linux = message(LinuxContainerConfig, { ...config.linux, resources });
      },
    });
    await until(
      "the container to be fed",
      async () => await execText(lab, containerId, "ls", "/done") === "/done" ? true : undefined,
    );

    await t.step("memory, CPU time and the writable layer of a container", async () => {
      const { stats } = await client.call("containerStats", { containerId });
      assert.equal(stats?.attributes?.id, containerId);
      assert.ok(Number(stats.memory?.workingSetBytes?.value) > 45 * MEBI, `${stats.memory?.workingSetBytes?.value}`);
      assert.ok(Number(stats.memory?.rssBytes?.value) > 45 * MEBI);
      assert.ok((stats.cpu?.usageCoreNanoSeconds?.value ?? 0n) > 0n);
      assert.ok(Number(stats.writableLayer?.usedBytes?.value) >= 5 * MEBI);
      const ageNanos = BigInt(Date.now()) * 1_000_000n - (stats.cpu?.timestamp ?? 0n);
      assert.ok(ageNanos < 2_000_000_000n, `${ageNanos} ns old`);
    });

    await t.step("each figure of a container, as the kernel has it", async () => {
      const { stats } = await client.call("containerStats", { containerId });
      const pid = await pidOf(lab, containerId);
      const cgroup = await KernelCgroup.of(pid);
      const { memory, cpu, writableLayer } = stats ?? {};
      const usage = Number(await cgroup.read("memory", { v1: "memory.usage_in_bytes", v2: "memory.current" }));
      const stat = await cgroup.read("memory", { v1: "memory.stat", v2: "memory.stat" });
      const of = (v1: string, v2: string): number => keyed(stat, cgroup.isUnified ? v2 : v1);
      near(Number(memory?.usageBytes?.value), usage, 2 * MEBI);
      near(Number(memory?.workingSetBytes?.value), usage - of("total_inactive_file", "inactive_file"), 2 * MEBI);
      near(Number(memory?.rssBytes?.value), of("total_rss", "anon"), 2 * MEBI);
      near(Number(memory?.pageFaults?.value), of("total_pgfault", "pgfault"), 5000);
      near(Number(memory?.majorPageFaults?.value), of("total_pgmajfault", "pgmajfault"), 100);
      assert.equal((memory?.availableBytes?.value ?? 0n) + (memory?.workingSetBytes?.value ?? 0n), LIMIT_BYTES);
      const time = await cgroup.read("cpuacct", { v1: "cpuacct.usage", v2: "cpu.stat" });
      const nanos = cgroup.isUnified ? keyed(time, "usage_usec") * 1000 : Number(time);
      near(Number(cpu?.usageCoreNanoSeconds?.value), nanos, 1e9);
      const upper = /upperdir=([^,\s]+)/.exec(await Deno.readTextFile(`/proc/${pid}/mountinfo`))?.[1] ?? "";
      const du = async (unit: string): Promise<number> => {
        const { stdout } = await new Deno.Command("du", { args: ["-s", unit, upper] }).output();
        return Number(new TextDecoder().decode(stdout).split("\t")[0]);
      };
      assert.equal(Number(writableLayer?.usedBytes?.value), await du("--block-size=1"));
      assert.equal(Number(writableLayer?.inodesUsed?.value), await du("--inodes"));
      assert.equal(writableLayer?.fsId?.mountpoint, `${lab.directory}/root/overlay-images`);
    });

    await t.step("network and processes of a pod, as the pod itself sees them", async () => {
      const { stats } = await client.call("podSandboxStats", { podSandboxId: pod.id });
      const seen = await execText(lab, containerId, "cat", "/sys/class/net/eth0/statistics/rx_bytes");
      const { name, rxBytes } = stats?.linux?.network?.defaultInterface ?? {};
      assert.equal(name, "eth0");
      assert.ok(Number(rxBytes?.value) > 0 && Number(rxBytes?.value) <= Number(seen), `${rxBytes?.value} of ${seen}`);
      assert.ok(Number(stats?.linux?.process?.processCount?.value) >= 1);
      assert.deepEqual(stats?.linux?.containers.map((one) => one.attributes?.id), [containerId]);
      assert.ok(Number(stats?.linux?.memory?.workingSetBytes?.value) > 45 * MEBI);
    });

    await t.step("lists hold what runs", async () => {
      const ended = await pod.start({ command: ["/bin/true"] });
      const created = await pod.create({});
      await until("the short one to end", async () => {
        const { containers } = await client.call("listContainers", {});
        return containers.find(({ id, state }) => id === ended && state === ContainerState.CONTAINER_EXITED);
      });
      const ids = (await client.call("listContainerStats", {})).stats.map(({ attributes }) => attributes?.id);
      assert.deepEqual(ids, [containerId]);
      assert.notEqual(created, containerId);
      await remove(lab, pod);
      assert.deepEqual((await client.call("listContainerStats", {})).stats, []);
      assert.deepEqual((await client.call("listPodSandboxStats", {})).stats, []);
    });

    await t.step("lists hold each of several pods", async () => {
      const names = ["a", "b", "c", "d"];
      const pods = await Promise.all(names.map((name) => PodUnderTest.run(lab, name)));
      await Promise.all(pods.map((one) => one.start({})));
      const listed = (await client.call("listPodSandboxStats", {})).stats;
      assert.deepEqual(listed.map(({ attributes }) => attributes?.id).sort(), pods.map(({ id }) => id).sort());
      assert.deepEqual(listed.map(({ linux }) => linux?.containers.length), [1, 1, 1, 1]);
      await Promise.all(pods.map((one) => remove(lab, one)));
    });
    assert.deepEqual(await lab.leaks(), []);
  });
}

Deno.test("collection_period: stats are read ahead, and no more often", async () => {
  const PERIOD_MS = 2000;
  await using lab = await Lab.start({ environment: { COLLECTION_PERIOD: String(PERIOD_MS / 1000) } });
  const { client } = lab.daemon;
  await lab.pull();
  const pod = await PodUnderTest.run(lab, "one");
  const containerId = await pod.start({});
  const readMs = async (): Promise<number> => {
    const { stats } = await client.call("containerStats", { containerId });
    return Number((stats?.cpu?.timestamp ?? 0n) / 1_000_000n);
  };
  const later = (before: number): Promise<number> =>
    until("the next reading", async () => {
      const now = await readMs();
      return now > before ? now : undefined;
    });
  const first = await readMs();
  const second = await later(first);
  const third = await later(second);
  // Nine tenths of a period: what is older is read again.
  const least = 0.9 * PERIOD_MS - 50;
  assert.ok(second - first >= least && third - second >= least, `${first} ${second} ${third}`);
  assert.ok(third - second < 2 * PERIOD_MS, `${second} ${third}`);
  await pod.remove();
});

Deno.test({ name: "crictl stats and statsp", ignore: !await Crictl.isAvailable() }, async () => {
  await using lab = await Lab.start();
  const crictl = await Crictl.for(lab.daemon.spec.socketPath);
  await lab.pull();
  const pod = await PodUnderTest.run(lab, "seen");
  const name = "eater";
  const containerId = await pod.start({ name, command: ["/bin/sh", "-c", HUNGRY] });
  await until(
    "the container to be fed",
    async () => await execText(lab, containerId, "ls", "/done") === "/done" ? true : undefined,
  );
  const { stats } = await crictl.json("stats", "--output", "json");
  assert.deepEqual(stats.map((one: { attributes: { id: string } }) => one.attributes.id), [containerId]);
  assert.ok(Number(stats[0].memory.workingSetBytes.value) > 45 * MEBI);
  const table = (await crictl.run("stats", "--id", containerId)).split("\n").at(-1)?.trim().split(/\s+/) ?? [];
  assert.equal(table[0], containerId.slice(0, 13));
  assert.equal(table[1], name);
  const pods = await crictl.json("statsp", "--output", "json", "--id", pod.id);
  const [seen] = pods.stats;
  assert.equal(seen.attributes.id, pod.id);
  assert.ok(Number(seen.linux.memory.usageBytes.value) > 45 * MEBI);
  assert.ok(Number(seen.linux.network.defaultInterface.rxBytes.value) > 0);
  assert.ok((await crictl.run("statsp")).includes("seen"));
  await remove(lab, pod);
  assert.deepEqual((await crictl.json("stats", "--output", "json")).stats, []);
});
