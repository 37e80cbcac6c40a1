import assert from "node:assert/strict";
import type { ContainerId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { Containers } from "../../../src/container/containers.ts";
import type { ContainerDeps } from "../../../src/container/deps.ts";
import { ContainerExits } from "../../../src/container/exits.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

import { type Bench, configOf, named, openRecords, signal, withContainers } from "./containers_bench.ts";

Deno.test("Containers.create() writes what image, node and request say together", async () => {
  await withContainers(async (bench) => {
    const env = [{ key: "B", value: "request" }];
    const id = await bench.containers.create(bench.pod, named("a", { command: [], args: [], env }), { signal });
    const config = await configOf(bench, id);
    assert.deepEqual(config.process.args, ["/entry", "cmd"]);
    assert.equal(config.process.cwd, "/work");
    const environment = new Set(config.process.env);
    for (const line of ["A=image", "B=request", "C=node", "HOSTNAME=pod-host"]) assert.ok(environment.has(line), line);
    assert.deepEqual(config.linux.namespaces, [
      { type: "mount" },
      { type: "pid" },
      { type: "network", path: "/ns/net" },
      { type: "ipc", path: "/ns/ipc" },
      { type: "uts", path: "/ns/uts" },
    ]);
    assert.ok((await Deno.stat(`${bench.directory}/${id}/rootfs/work`)).isDirectory);
    assert.ok((await Deno.stat(`${bench.directory}/${id}/rootfs/data`)).isDirectory);
    const record = bench.containers.require(id);
    assert.deepEqual([record.state, record.stopSignal, record.exitCode], ["created", "SIGUSR2", 0]);
  });
});

Deno.test("Containers.create() lets a command replace the entrypoint and arguments only the image's", async () => {
  await withContainers(async (bench) => {
    const one = await bench.containers.create(bench.pod, named("a", { command: ["/c"], args: [] }), { signal });
    const two = await bench.containers.create(bench.pod, named("b", { command: [], args: ["x"] }), { signal });
    assert.deepEqual((await configOf(bench, one)).process.args, ["/c"]);
    assert.deepEqual((await configOf(bench, two)).process.args, ["/entry", "x"]);
  });
});

Deno.test("Containers.create() refuses a privileged container in a pod that is not", async () => {
  await withContainers(async (bench) => {
    const plain = named("a");
    const spec = { ...plain, security: { ...plain.security, privileged: true } };
    await assert.rejects(bench.containers.create(bench.pod, spec, { signal }), /set privileged for the pod as well/);
    assert.equal(bench.deps.records.size, 0);
    await bench.containers.create({ ...bench.pod, privileged: true }, spec, { signal });
  });
});

for (const step of ["image", "rootfs create", "mount", "runtime create"]) {
  Deno.test(`Containers.create() leaves nothing behind when ${step} fails, and can be repeated`, async () => {
    await withContainers(async (bench) => {
      bench.host.fail = step;
      await assert.rejects(bench.containers.create(bench.pod, named("a"), { signal }), new RegExp(`${step} failed`));
      assert.deepEqual([bench.host.rootfs.size, bench.host.inRuntime.size, bench.deps.records.size], [0, 0, 0]);
      bench.host.fail = undefined;
      assert.equal(
        bench.containers.require(await bench.containers.create(bench.pod, named("a"), { signal })).state,
        "created",
      );
    });
  });
}

Deno.test("Containers.create() gives retries the container that is there, and joins one that is being made", async () => {
  await withContainers(async (bench) => {
    const gate = Promise.withResolvers<void>();
    bench.host.gate = gate.promise;
    const both = [1, 2].map(() => bench.containers.create(bench.pod, named("a"), { signal }));
    gate.resolve();
    const [first, second] = await Promise.all(both);
    const third = await bench.containers.create(bench.pod, named("a"), { signal });
    assert.deepEqual([second, third], [first, first]);
    assert.equal(bench.host.calls.filter((call) => call === "runtime create").length, 1);
  });
});

Deno.test("Containers.create() tells of a request that comes again, with the stage that the first one is at", async () => {
  await withContainers(async (bench) => {
    const stalled: string[] = [];
    const containers = new Containers({ ...bench.deps, stalled: (stage) => stalled.push(stage) });
    const gate = Promise.withResolvers<void>();
    bench.host.gate = gate.promise;
    const first = containers.create(bench.pod, named("a"), { signal });
    while (![...containers.stages()].some(({ stage }) => stage === "container runtime creation")) {
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    const again = containers.create(bench.pod, named("a"), { signal });
    gate.resolve();
    assert.equal(await again, await first);
    await containers.create(bench.pod, named("a"), { signal });
    assert.deepEqual(stalled, ["container runtime creation"]);
  });
});

Deno.test("Containers.create() refuses a pod that is not ready", async () => {
  await withContainers(async (bench) => {
    await assert.rejects(bench.containers.create({ ...bench.pod, ready: false }, named("a"), { signal }), /not ready/);
  });
});

Deno.test("Containers.ofSandbox() ends the creates that run, and leaves nothing of them", async () => {
  await withContainers(async (bench) => {
    const present = await bench.containers.create(bench.pod, named("present"), { signal });
    bench.host.gate = new Promise(() => {});
    const create = bench.containers.create(bench.pod, named("a"), { signal });
    const refused = assert.rejects(create, /pod sandbox [0-9a-f]{64} is being stopped/);
    const all = await bench.containers.ofSandbox(bench.pod.id);
    await refused;
    assert.deepEqual(all.map((record) => record.id), [present]);
    assert.deepEqual([...bench.host.rootfs], [present]);
  });
});

Deno.test("Containers.start() goes on without its caller, and a retry joins it", async () => {
  await withContainers(async (bench) => {
    const id = await bench.containers.create(bench.pod, named("a"), { signal });
    const gate = Promise.withResolvers<void>();
    bench.host.gate = gate.promise;
    const first = bench.containers.start(id, { signal: AbortSignal.timeout(1) });
    await assert.rejects(first, { name: "DeadlineError", message: /container runtime start; it goes on/ });
    assert.equal(bench.containers.require(id).state, "created");
    const second = bench.containers.start(id, { signal });
    gate.resolve();
    await second;
    assert.equal(bench.containers.require(id).state, "running");
  });
});

Deno.test("Containers.start() works once, and a failure ends the container with its reason", async () => {
  await withContainers(async (bench) => {
    const id = await bench.containers.create(bench.pod, named("a"), { signal });
    await bench.containers.start(id, { signal });
    await assert.rejects(bench.containers.start(id, { signal }), /is running: start is not possible/);
    const other = await bench.containers.create(bench.pod, named("b"), { signal });
    bench.host.fail = "start";
    await assert.rejects(bench.containers.start(other, { signal }), /start failed/);
    const record = bench.containers.require(other);
    assert.deepEqual([record.state, record.exitCode, record.message], ["exited", 128, "start failed"]);
  });
});

Deno.test("Containers.remove() kills a running container and leaves nothing; absent ones are fine", async () => {
  await withContainers(async (bench) => {
    const id = await bench.containers.create(bench.pod, named("a"), { signal });
    await bench.containers.start(id, { signal });
    await bench.containers.remove(id, { signal });
    await bench.containers.remove(id, { signal });
    await bench.containers.stop(id, { timeoutMs: 0, signal });
    assert.ok(bench.host.calls.includes("signal 9"));
    assert.deepEqual([bench.host.rootfs.size, bench.host.inRuntime.size, bench.deps.records.size], [0, 0, 0]);
  });
});

/** A new daemon on what the old one left. */
async function restarted(bench: Bench, readExit: ContainerDeps["readExit"]): Promise<Containers> {
  const records = await openRecords(bench.directory);
  return new Containers({
    ...bench.deps,
    records,
    readExit,
    exits: new ContainerExits({ records, log: silentLogger }),
  });
}

for (const verb of ["restore", "sweepMonitors"] as const) {
  Deno.test(`Containers.${verb}() takes an exit code that is written while it looks`, async () => {
    await withContainers(async (bench) => {
      const id = await bench.containers.create(bench.pod, named("brief"), { signal });
      await bench.containers.start(id, { signal });
      let looks = verb === "restore" ? 0 : 1;
      // The monitor writes the exit file and leaves between two looks.
      const again = await restarted(bench, () => {
        if (looks++ > 0) return Promise.resolve({ id, exitCode: 84, finishedAtNanos: 8n, oomKilled: false });
        bench.host.alive.clear();
        return Promise.resolve(undefined);
      });
      if (verb === "sweepMonitors") bench.host.alive.clear();
      await again[verb]();
      assert.deepEqual([again.require(id).state, again.require(id).exitCode], ["exited", 84]);
    });
  });
}

Deno.test("Containers.sweepMonitors() tells once of a container that runs without its monitor", async () => {
  await withContainers(async (bench) => {
    const lost: string[] = [];
    const containers = new Containers({ ...bench.deps, monitorLost: (name) => void lost.push(name) });
    const id = await containers.create(bench.pod, named("alone"), { signal });
    await containers.start(id, { signal });
    await containers.sweepMonitors();
    assert.deepEqual(lost, []);
    bench.host.alive.delete(containers.require(id).monitor?.pid ?? 0);
    await containers.sweepMonitors();
    await containers.sweepMonitors();
    assert.deepEqual(lost, [containers.require(id).name]);
    assert.equal(containers.require(id).state, "running");
  });
});

Deno.test("Containers.retryCleanups() takes down what a failed clean-up left, and no create that runs", async () => {
  await withContainers(async (bench) => {
    bench.host.fail = "rootfs remove";
    const failing = {
      ...named("a"),
      command: ["/x"],
      devices: [{ hostPath: "/none", containerPath: "/d", permissions: "r" }],
    };
    await assert.rejects(bench.containers.create(bench.pod, failing, { signal }), /\/none/);
    assert.deepEqual([bench.deps.records.size, bench.host.rootfs.size], [1, 1]);
    await bench.containers.retryCleanups();
    assert.equal(bench.deps.records.size, 1);
    bench.host.fail = undefined;
    const gate = Promise.withResolvers<void>();
    bench.host.gate = gate.promise;
    const running = bench.containers.create(bench.pod, named("b"), { signal });
    await bench.containers.retryCleanups();
    gate.resolve();
    const id = await running;
    assert.deepEqual([...bench.deps.records.values()].map((record) => record.id), [id]);
    assert.deepEqual([...bench.host.rootfs], [id]);
  });
});

Deno.test("Containers.restore() removes exit files of containers that are gone", async () => {
  await withContainers(async (bench) => {
    const id = await bench.containers.create(bench.pod, named("a"), { signal });
    const exits = `${bench.directory}/exits`;
    await Deno.mkdir(exits);
    const gone = "9".repeat(64);
    for (const name of [id, `${id}.AB12`, gone, `${gone}.CD34`, "other"]) {
      await Deno.writeTextFile(`${exits}/${name}`, "0");
    }
    await new Containers({ ...bench.deps, exitsDirectory: exits }).restore();
    const left = await Array.fromAsync(Deno.readDir(exits), ({ name }) => name);
    assert.deepEqual(left.sort(), [id, `${id}.AB12`, "other"].sort());
  });
});

Deno.test("Containers.restore() takes down what was being made and notes what ended, was started, or is lost", async () => {
  await withContainers(async (bench) => {
    const make = async (name: string): Promise<ContainerId> =>
      await bench.containers.create(bench.pod, named(name), { signal });
    const [half, ended, started, lost, fine] = [
      await make("half"),
      await make("ended"),
      await make("started"),
      await make("lost"),
      await make("fine"),
    ];
    await bench.deps.records.update(half, (record) => ({ ...record, state: "creating" }));
    bench.host.inRuntime.set(started, "running");
    for (const id of [ended, lost, fine]) await bench.containers.start(id, { signal });
    for (const process of [bench.containers.require(lost).process, bench.containers.require(lost).monitor]) {
      bench.host.alive.delete(process?.pid ?? 0);
    }
    const again = await restarted(bench, (record) => {
      const exit = { id: record.id, exitCode: 3, finishedAtNanos: 8n, oomKilled: true };
      return Promise.resolve(record.id === ended ? exit : undefined);
    });
    await again.restore();
    assert.equal(again.find(half), undefined);
    assert.ok(!bench.host.rootfs.has(half));
    const view = (id: string): unknown[] => {
      const { state, exitCode, oomKilled } = again.require(id);
      return [state, exitCode, oomKilled];
    };
    assert.deepEqual(view(ended), ["exited", 3, true]);
    assert.deepEqual(view(started), ["running", 0, false]);
    assert.deepEqual(view(lost), ["exited", 255, false]);
    assert.deepEqual(view(fine), ["running", 0, false]);
  });
});
