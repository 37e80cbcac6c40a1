import assert from "node:assert/strict";
import type { SandboxId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import type { SandboxDeps } from "../../../src/sandbox/deps.ts";
import { Sandboxes } from "../../../src/sandbox/sandboxes.ts";
import type { SandboxRecord } from "../../../src/sandbox/types.ts";
import { RecordStore } from "../../../src/state/record_store.ts";
import { containerRecord, sandboxSpec } from "../../fakes/records.ts";

interface Bench {
  readonly sandboxes: Sandboxes;
  readonly deps: SandboxDeps;
  readonly directory: string;
  /** What was done to the host, in order. */
  readonly log: string[];
  readonly pins: Set<string>;
  readonly shm: Set<string>;
  /** Cgroups that stand for pods. */
  readonly marks: Set<string>;
  fail: string | undefined;
  gate: Promise<void> | undefined;
}

async function open(directory: string): Promise<RecordStore<SandboxRecord>> {
  return await RecordStore.open<SandboxRecord>({
    directory: `${directory}/records`,
    what: "sandbox",
    log: silentLogger,
    parse: (json) => json as SandboxRecord,
  });
}

async function withSandboxes(body: (bench: Bench) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const log: string[] = [];
    const pins = new Set<string>();
    const shm = new Set<string>();
    const marks = new Set<string>();
    const step = (name: string): void => {
      log.push(name);
      if (bench.fail === name) throw new Error(`${name} failed`);
    };
    const paths = (name: string): string[] => ["net", "uts", "ipc"].map((kind) => `/pins/${kind}/${name}`);
    const deps: SandboxDeps = {
      records: await open(directory),
      containers: {
        ofSandbox: () => Promise.resolve([]),
        stop: () => Promise.resolve(),
        remove: () => Promise.resolve(),
      },
      network: {
        waitReady: () => Promise.resolve(step("wait")),
        attach: async () => {
          await bench.gate;
          step("attach");
          return { ips: ["10.0.0.2"] };
        },
        detach: () => Promise.resolve(step("detach")),
      },
      namespaces: {
        pin: async ({ name }) => {
          await Promise.resolve();
          const [network = "", uts = "", ipc = ""] = paths(name);
          for (const path of [network, uts, ipc]) pins.add(path);
          step("pin");
          return { network, uts, ipc };
        },
        paths,
        unpin: (path) => void pins.delete(path),
        isPinned: (path) => pins.has(path),
      },
      userNamespaces: { mapsOf: () => Promise.resolve(undefined) },
      infra: {
        start: () => {
          step("infra");
          return Promise.resolve({ pid: 77, startTime: "1" });
        },
        remove: () => Promise.resolve(),
        isAlive: () => true,
      },
      mounts: {
        mountShm: (path) => {
          shm.add(path);
          step("shm");
        },
        unmountShm: (path) => Promise.resolve(void shm.delete(path)),
        linkLogs: () => Promise.resolve(),
        unlinkLogs: () => Promise.resolve(),
      },
      killNaming: () => Promise.resolve(step("kill naming")),
      cgroups: {
        parent: (requested) => requested || "/crio",
        mark: (parent, id) => {
          marks.add(`${parent}/${id}`);
          return Promise.resolve(step("mark"));
        },
        unmark: (parent, id) => Promise.resolve(void marks.delete(`${parent}/${id}`)),
      },
      clock: { nowNanos: () => 1n, monotonicMs: () => performance.now() },
      log: silentLogger,
      runDirectory: `${directory}/run`,
      kubeletPods: "/nonexistent/pods",
      annotations: { forPod: (annotations) => annotations },
      logDirectory: () => `${directory}/logs`,
      resolveHandler: (name) => name || "crun",
      defaultSysctls: () => ({}),
      shmSizeBytes: 1,
      stopTimeoutMs: 1,
      runLimitMs: 60_000,
    };
    const bench: Bench = {
      sandboxes: new Sandboxes(deps),
      deps,
      directory,
      log,
      pins,
      shm,
      marks,
      fail: undefined,
      gate: undefined,
    };
    await body(bench);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const signal = new AbortController().signal;

async function isClean(bench: Bench): Promise<void> {
  assert.equal(bench.pins.size, 0);
  assert.equal(bench.shm.size, 0);
  assert.equal(bench.marks.size, 0);
  assert.equal(bench.deps.records.size, 0);
  const left = await Array.fromAsync(Deno.readDir(`${bench.directory}/run`), (entry) => entry.name).catch(() => []);
  assert.deepEqual(left, []);
}

Deno.test("a pod that names no log directory gets one of its own, which goes with it", async () => {
  await withSandboxes(async (bench) => {
    const id = await bench.sandboxes.run({ ...sandboxSpec(), logDirectory: "" }, { signal });
    const { logDirectory } = bench.sandboxes.contextOf(bench.sandboxes.require(id));
    assert.equal(logDirectory, `${bench.directory}/logs/${id}`);
    assert.equal((await Deno.stat(logDirectory)).mode, 0o40700);
    await bench.sandboxes.remove(id, { signal });
    assert.deepEqual(await Array.fromAsync(Deno.readDir(`${bench.directory}/logs`)), []);

    const named = `${bench.directory}/kubelet`;
    const other = await bench.sandboxes.run({ ...sandboxSpec(), logDirectory: named }, { signal });
    assert.equal(bench.sandboxes.contextOf(bench.sandboxes.require(other)).logDirectory, named);
    await bench.sandboxes.remove(other, { signal });
    assert.ok((await Deno.stat(named)).isDirectory, "the kubelet's own stays");
  });
});

Deno.test("Sandboxes.run() makes a ready pod with its address, and the same again for the same request", async () => {
  await withSandboxes(async (bench) => {
    const id = await bench.sandboxes.run(sandboxSpec(), { signal });
    assert.equal(await bench.sandboxes.run(sandboxSpec(), { signal }), id);
    const record = bench.sandboxes.require(id);
    assert.deepEqual([record.state, record.ips], ["ready", ["10.0.0.2"]]);
    assert.match(await Deno.readTextFile(record.hostsFile), /10\.0\.0\.2\t/);
  });
});

Deno.test("Sandboxes.run() marks a pod without infra process by a cgroup, until it is stopped", async () => {
  await withSandboxes(async (bench) => {
    const id = await bench.sandboxes.run(sandboxSpec(), { signal });
    const { cgroupParent } = bench.sandboxes.require(id);
    assert.deepEqual([...bench.marks], [`${cgroupParent}/${id}`]);
    await bench.sandboxes.stop(id, { signal });
    assert.deepEqual([...bench.marks], []);
    const base = sandboxSpec().security;
    const security = { ...base, namespaces: { ...base.namespaces, pid: { kind: "pod" } } } as const;
    const metadata = { ...sandboxSpec().metadata, name: "shared" };
    await bench.sandboxes.run(sandboxSpec({ metadata, security }), { signal });
    assert.deepEqual([...bench.marks], [], "the runtime makes that of an infra process");
  });
});

Deno.test("Sandboxes.find() does not show a pod that is being made, findKnown() does", async () => {
  await withSandboxes(async (bench) => {
    const gate = Promise.withResolvers<void>();
    bench.gate = gate.promise;
    const running = bench.sandboxes.run(sandboxSpec(), { signal });
    while (!bench.log.includes("mark")) await new Promise((resolve) => setTimeout(resolve, 1));
    const [mark = ""] = bench.marks;
    const id = mark.slice(mark.lastIndexOf("/") + 1);
    assert.equal(bench.sandboxes.find(id), undefined);
    assert.equal(bench.sandboxes.findKnown(id)?.state, "creating");
    gate.resolve();
    assert.equal(await running, id);
  });
});

for (const step of ["wait", "pin", "attach", "shm", "infra"]) {
  Deno.test(`Sandboxes.run() leaves nothing behind when ${step} fails, and can be repeated`, async () => {
    await withSandboxes(async (bench) => {
      bench.fail = step;
      const base = sandboxSpec().security;
      const spec = sandboxSpec({ security: { ...base, namespaces: { ...base.namespaces, pid: { kind: "pod" } } } });
      await assert.rejects(
        bench.sandboxes.run(spec, { signal }),
        new RegExp(`run pod sandbox k8s_pod_ns_uid_0: ${step} failed`),
      );
      await isClean(bench);
      bench.fail = undefined;
      assert.equal(
        bench.sandboxes.require(await bench.sandboxes.run(spec, { signal })).namespaces.pid,
        "/proc/77/ns/pid",
      );
    });
  });
}

Deno.test("Sandboxes.run() keeps the record when the cleanup fails, and the retry cleans up first", async () => {
  await withSandboxes(async (bench) => {
    let broken = true;
    const detach = bench.deps.network.detach;
    Object.assign(bench.deps.network, {
      detach: (): Promise<void> =>
        broken ? Promise.reject(new Error("plugin is broken")) : detach({} as never, { signal }),
    });
    bench.fail = "attach";
    await assert.rejects(bench.sandboxes.run(sandboxSpec(), { signal }), /attach failed/);
    assert.equal(bench.deps.records.size, 1);
    assert.deepEqual([...bench.sandboxes.list()], []);
    broken = false;
    bench.fail = undefined;
    await bench.sandboxes.run(sandboxSpec(), { signal });
    assert.equal(bench.deps.records.size, 1);
    assert.equal(bench.log.filter((name) => name === "detach").length, 1);
  });
});

Deno.test("Sandboxes.run() that ran out of time goes on, and the retry gets its pod", async () => {
  await withSandboxes(async (bench) => {
    const gate = Promise.withResolvers<void>();
    bench.gate = gate.promise;
    const caller = new AbortController();
    const stalled: string[] = [];
    const sandboxes = new Sandboxes({ ...bench.deps, stalled: (stage) => stalled.push(stage) });
    const first = sandboxes.run(sandboxSpec(), { signal: caller.signal });
    while (!bench.log.includes("shm")) await new Promise((resolve) => setTimeout(resolve, 1));
    caller.abort(new DOMException("late", "TimeoutError"));
    await assert.rejects(first, /out of time after \d+ ms while sandbox network creation; it goes on/);
    const retry = sandboxes.run(sandboxSpec(), { signal });
    gate.resolve();
    assert.equal(sandboxes.require(await retry).state, "ready");
    assert.deepEqual(stalled, ["sandbox network creation"]);
    assert.equal(bench.log.filter((name) => name === "pin").length, 1);
  });
});

Deno.test("Sandboxes.stop() and remove() are repeatable, and succeed for what does not exist", async () => {
  await withSandboxes(async (bench) => {
    const id = await bench.sandboxes.run(sandboxSpec(), { signal });
    await bench.sandboxes.stop(id, { signal });
    assert.equal(bench.sandboxes.require(id).state, "not_ready");
    await bench.sandboxes.stop(id, { signal });
    assert.equal(bench.log.filter((name) => name === "detach").length, 1);
    await bench.sandboxes.remove(id, { signal });
    await bench.sandboxes.remove(id, { signal });
    await bench.sandboxes.stop(id, { signal });
    await isClean(bench);
  });
});

Deno.test("Sandboxes.restore() notices lost namespaces; retryCleanups() takes down what a crash left half-made", async () => {
  await withSandboxes(async (bench) => {
    const whole = await bench.sandboxes.run(sandboxSpec(), { signal });
    const spec = sandboxSpec({ metadata: { name: "other", namespace: "ns", uid: "u2", attempt: 0 } });
    const half: SandboxId = await bench.sandboxes.run(spec, { signal });
    await bench.deps.records.update(half, (record) => ({ ...record, state: "creating" }));
    bench.pins.delete(bench.sandboxes.require(whole).namespaces.network ?? "");
    const again = new Sandboxes({ ...bench.deps, records: await open(bench.directory) });
    await again.restore();
    assert.deepEqual([...again.list()].map((record) => [record.id, record.state]), [[whole, "not_ready"]]);
    bench.log.length = 0;
    await Promise.all([again.retryCleanups(), again.retryCleanups()]);
    assert.deepEqual(bench.log, ["kill naming", "detach"]);
    assert.equal([...bench.pins].filter((path) => path.endsWith(half)).length, 0);
  });
});

Deno.test("Sandboxes.remove() kills and removes the pod's containers first", async () => {
  await withSandboxes(async (bench) => {
    const id = await bench.sandboxes.run(sandboxSpec(), { signal });
    const container = containerRecord({ sandboxId: id });
    const calls: string[] = [];
    Object.assign(bench.deps.containers, {
      ofSandbox: () => Promise.resolve([container]),
      stop: (_id: string, options: { timeoutMs: number }) =>
        Promise.resolve(void calls.push(`stop ${options.timeoutMs}`)),
      remove: () => Promise.resolve(void calls.push("remove")),
    });
    await bench.sandboxes.remove(id, { signal });
    assert.deepEqual(calls, ["stop 0", "remove"]);
    await isClean(bench);
  });
});
