import assert from "node:assert/strict";
import { ContainerState } from "../../src/cri/gen/api.ts";
import { Lab } from "./harness/lab.ts";
import { execText, PodUnderTest, until } from "./harness/tries.ts";

const MEBI = 1024 * 1024;

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
    const containerId = await pod.start({ command: ["/bin/sh", "-c", HUNGRY] });
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
