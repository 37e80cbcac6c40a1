import assert from "node:assert/strict";
import type { ContainerId } from "../../../src/base/ids.ts";
import { newSandboxId } from "../../../src/base/ids.ts";
import { abortable } from "../../../src/base/keyed_mutex.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { Containers } from "../../../src/container/containers.ts";
import type { ContainerDeps } from "../../../src/container/deps.ts";
import { ContainerExits } from "../../../src/container/exits.ts";
import type { MountRules } from "../../../src/container/mount_rules.ts";
import type { ContainerRuntime, PodContext } from "../../../src/container/ports.ts";
import type { ContainerRecord, ContainerSpec } from "../../../src/container/types.ts";
import type { OciSpec } from "../../../src/oci/spec/types.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { RecordStore } from "../../../src/state/record_store.ts";
import { containerSpec } from "../../fakes/records.ts";

openLibraries();

/** The host that the fakes pretend to be: what is left on it. */
class FakeHost {
  readonly rootfs = new Set<string>();
  readonly inRuntime = new Map<string, "created" | "running">();
  readonly alive = new Set<number>();
  readonly calls: string[] = [];
  fail: string | undefined;
  gate: Promise<void> = Promise.resolve();
  #nextPid = 1000;

  step(name: string): void {
    this.calls.push(name);
    if (this.fail === name) throw new Error(`${name} failed`);
  }

  spawn(): { pid: number; startTime: string } {
    const pid = this.#nextPid++;
    this.alive.add(pid);
    return { pid, startTime: "1" };
  }
}

interface Bench {
  readonly host: FakeHost;
  readonly containers: Containers;
  readonly deps: ContainerDeps;
  readonly pod: PodContext;
  readonly directory: string;
}

const signal = new AbortController().signal;

const RULES: MountRules = {
  bindMountPrefix: "",
  absentSourcesToReject: [],
  storageRoot: "/var/lib/containers/storage",
  readOnly: false,
  imageVolumes: "mkdir",
  defaultMountsFiles: [],
};

async function withContainers(body: (bench: Bench) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const host = new FakeHost();
    const deps = await fakeDeps(directory, host);
    await body({ host, deps, containers: new Containers(deps), pod: fakePod(directory), directory });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function openRecords(directory: string): Promise<RecordStore<ContainerRecord>> {
  return await RecordStore.open<ContainerRecord>({
    directory: `${directory}/records`,
    what: "container",
    log: silentLogger,
    parse: (json) => json as ContainerRecord,
  });
}

async function fakeDeps(directory: string, host: FakeHost): Promise<ContainerDeps> {
  const records = await openRecords(directory);
  const exits = new ContainerExits({ records, log: silentLogger });
  const runtime: ContainerRuntime = {
    name: "crun",
    features: { ociVersion: "1.0.2", recursiveReadOnly: true, readonlySysfs: "mount" },
    create: async ({ id }, { signal }) => {
      await abortable(host.gate, signal);
      host.step("runtime create");
      host.inRuntime.set(id, "created");
      return { process: host.spawn(), monitor: host.spawn() };
    },
    start: async (id, { signal }) => {
      await abortable(host.gate, signal);
      host.step("start");
      host.inRuntime.set(id, "running");
    },
    delete: (id) => {
      host.step("runtime delete");
      host.inRuntime.delete(id);
      return Promise.resolve();
    },
    pause: () => Promise.resolve(),
    resume: () => Promise.resolve(),
    minMemoryBytes: 1000,
    update: () => Promise.resolve(),
    checkpoint: () => Promise.reject(new Error("not here")),
    execSync: () => Promise.reject(new Error("not here")),
    execStream: () => Promise.reject(new Error("not here")),
    attachPoint: () => ({ socketPath: "/nowhere/attach", resize: () => {} }),
    reopenLog: () => Promise.resolve(),
    wasStarted: (id) => Promise.resolve(host.inRuntime.get(id) === "running"),
  };
  return {
    records,
    exits,
    images: {
      resolve: () => {
        host.step("image");
        const defaults = {
          env: ["A=image", "B=image"],
          entrypoint: ["/entry"],
          cmd: ["cmd"],
          user: "",
          workingDir: "/work",
          stopSignal: "SIGUSR2",
          volumes: ["/data"],
        };
        return Promise.resolve({ id: "f".repeat(64), ref: "f".repeat(64), name: "img:1", defaults, annotations: {} });
      },
    },
    rootfs: {
      places: (id) => ({ directory: `${directory}/${id}`, runDirectory: `${directory}/${id}/run` }),
      create: async ({ id }) => {
        host.step("rootfs create");
        host.rootfs.add(id);
        await Deno.mkdir(`${directory}/${id}/rootfs/etc`, { recursive: true });
        await Deno.mkdir(`${directory}/${id}/run`);
      },
      mount: (id) => {
        host.step("mount");
        return Promise.resolve(`${directory}/${id}/rootfs`);
      },
      layers: () => Promise.reject(new Error("not here")),
      withImage: () => Promise.reject(new Error("not here")),
      remove: async (id) => {
        host.step("rootfs remove");
        host.rootfs.delete(id);
        await Deno.remove(`${directory}/${id}`, { recursive: true }).catch(() => {});
      },
    },
    runtimes: { find: () => runtime },
    checkpoints: { refusal: () => undefined, stagingDirectory: `${directory}/staging` },
    cgroups: {
      containerPath: (parent, id) => `${parent}/crio-${id}`,
      killAll: () => Promise.resolve(),
      memoryUsageBytes: () => Promise.resolve(0),
      holdLimits: () => Promise.resolve(() => Promise.resolve([])),
      finishLimits: () => Promise.resolve(),
      remove: () => Promise.resolve(),
    },
    annotations: { forContainer: (own, pod) => ({ ...pod.annotations, ...own }) },
    processes: {
      isAlive: ({ pid }) => host.alive.has(pid),
      signal: ({ pid }, number) => {
        host.step(`signal ${number}`);
        if (number !== 9) return true;
        host.alive.delete(pid);
        const record = [...records.values()].find((one) => one.process?.pid === pid);
        if (record !== undefined) {
          void exits.handle({ id: record.id, exitCode: 137, finishedAtNanos: 9n, oomKilled: false });
        }
        return true;
      },
      killNaming: () => Promise.resolve(host.step("kill naming")),
    },
    node: {
      defaultCapabilities: ["CHOWN"],
      availableCapabilities: new Set(["CAP_CHOWN"]),
      addInheritableCapabilities: false,
      rules: RULES,
      cgroupNamespaces: false,
      defaultEnv: ["A=node", "C=node"],
      defaultUlimits: [],
      pidsLimit: -1,
      readOnly: false,
      minOomScoreAdj: 0,
      hasHugetlb: false,
      hasSwap: true,
      hasUnified: true,
      unsetsQuota: true,
      createTimeoutMs: 60_000,
      devices: { additional: [], allowed: [], ownedByUser: false },
      handlers: new Map(),
    },
    cdi: { edits: () => Promise.resolve([]) },
    clock: { nowNanos: () => 5n, monotonicMs: () => performance.now() },
    log: silentLogger,
    readExit: () => Promise.resolve(undefined),
    exitsDirectory: directory,
  };
}

function fakePod(directory: string): PodContext {
  return {
    id: newSandboxId(),
    ready: true,
    privileged: false,
    name: "pod",
    namespace: "ns",
    uid: "uid",
    annotations: {},
    runtimeHandler: "crun",
    hostname: "pod-host",
    hostNetwork: false,
    namespaces: { network: "/ns/net", ipc: "/ns/ipc", uts: "/ns/uts" },
    cgroupParent: "/pods",
    logDirectory: `${directory}/logs`,
    resolvConf: "/pod/resolv.conf",
    hostnameFile: "/pod/hostname",
    hostsFile: "/pod/hosts",
    shmPath: "/pod/shm",
  };
}

function named(name: string, changes: Partial<ContainerSpec> = {}): ContainerSpec {
  return containerSpec({ metadata: { name, attempt: 0 }, ...changes });
}

async function configOf(bench: Bench, id: ContainerId): Promise<OciSpec> {
  return JSON.parse(await Deno.readTextFile(`${bench.directory}/${id}/run/config.json`));
}

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

Deno.test("Containers.create() refuses a seccomp profile that it could not apply", async () => {
  await withContainers(async (bench) => {
    const { security } = containerSpec();
    const spec = named("a", { security: { ...security, seccomp: { kind: "localhost", ref: "strict.json" } } });
    await assert.rejects(
      bench.containers.create(bench.pod, spec, { signal }),
      /seccomp profile strict.json: not supported/,
    );
    assert.equal(bench.deps.records.size, 0);
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
