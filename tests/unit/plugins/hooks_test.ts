import assert from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import type { ContainerPlugins } from "../../../src/container/plugins.ts";
import type { ContainerRecord } from "../../../src/container/types.ts";
import type { PluginDoor } from "../../../src/nri/door.ts";
import { LifeHooks } from "../../../src/plugins/hooks.ts";
import type { Relay } from "../../../src/plugins/relay.ts";
import { containerRecord, sandboxRecord } from "../../fakes/records.ts";

const { signal } = new AbortController();
const SPEC = { ociVersion: "1.0.0" } as Creation["spec"];

type Creation = Parameters<ContainerPlugins["creating"]>[0];

interface Stand {
  readonly hooks: LifeHooks;
  /** What plugins heard, in order. */
  readonly heard: string[];
  /** Events that no plugin wants. */
  readonly unwanted: Set<string>;
  /** Events that a plugin fails. */
  readonly failing: Set<string>;
  held: number;
}

function stand(): Stand {
  const it = {
    hooks: new LifeHooks(silentLogger),
    heard: [],
    unwanted: new Set(),
    failing: new Set(),
    held: 0,
  } as Stand;
  const hear = (event: string): Promise<void> => {
    it.heard.push(event);
    return it.failing.has(event) ? Promise.reject(new Error(`${event} failed`)) : Promise.resolve();
  };
  const relay = {
    create: async () => {
      await hear("CreateContainer");
      return { spec: { ...SPEC, ociVersion: "adjusted" }, changes: {} };
    },
    container: (event: string) => hear(event),
    prepareContainer: (event: string) => {
      it.heard.push("prepared");
      return Promise.resolve(() => hear(event));
    },
    stop: () => hear("StopContainer"),
    pod: (event: string) => hear(event),
  } as unknown as Relay;
  const door = {
    plugins: { wants: (event: string) => !it.unwanted.has(event) },
    hold: () => {
      it.held += 1;
      return Promise.resolve({
        [Symbol.dispose]: () => {
          it.held -= 1;
        },
      });
    },
  } as unknown as PluginDoor;
  it.hooks.connect(door, () => Promise.resolve(relay));
  return it;
}

function creation(record: ContainerRecord): Creation {
  return { record, spec: SPEC } as Creation;
}

Deno.test("LifeHooks relays the life of a container, and holds plugins back while it is made", async () => {
  const it = stand();
  const record = containerRecord();
  const adjusted = await it.hooks.creating(creation(record), { signal });
  assert.deepEqual([adjusted?.spec.ociVersion, it.held], ["adjusted", 1]);
  await it.hooks.created(record);
  assert.equal(it.held, 0);
  await it.hooks.starting(record, { signal });
  assert.equal(it.held, 1);
  await it.hooks.started(record);
  assert.equal(it.held, 0);
  await Promise.all([it.hooks.ended(record), it.hooks.ended(record)]);
  const tell = await it.hooks.removing(record);
  await tell();
  assert.deepEqual(it.heard, [
    "CreateContainer",
    "PostCreateContainer",
    "StartContainer",
    "PostStartContainer",
    "StopContainer",
    "prepared",
    "RemoveContainer",
  ]);
});

Deno.test("LifeHooks takes a container back that failed after plugins heard of it, and only then", async () => {
  const it = stand();
  const record = containerRecord();
  await it.hooks.notCreated(record);
  assert.deepEqual(it.heard, []);
  it.failing.add("CreateContainer");
  await assert.rejects(it.hooks.creating(creation(record), { signal }), /CreateContainer failed/);
  await it.hooks.notCreated(record);
  assert.deepEqual(it.heard, ["CreateContainer", "StopContainer", "RemoveContainer"]);
  assert.equal(it.held, 0);
});

Deno.test("LifeHooks lets plugins refuse a start, and logs what else they fail", async () => {
  const it = stand();
  const record = containerRecord();
  it.failing.add("StartContainer").add("StopContainer").add("RemoveContainer").add("PostStartContainer");
  await assert.rejects(it.hooks.starting(record, { signal }), /StartContainer failed/);
  assert.equal(it.held, 0);
  await it.hooks.started(record);
  await it.hooks.ended(record);
  await (await it.hooks.removing(record))();
});

Deno.test("LifeHooks says nothing to plugins that do not want to hear", async () => {
  const it = stand();
  const record = containerRecord();
  for (const event of ["CreateContainer", "StopContainer", "RemoveContainer", "RunPodSandbox"]) it.unwanted.add(event);
  assert.equal(await it.hooks.creating(creation(record), { signal }), undefined);
  await it.hooks.notCreated(record);
  await it.hooks.ended(record);
  await (await it.hooks.removing(record))();
  await it.hooks.pods.running(sandboxRecord(), { signal });
  assert.deepEqual(it.heard, []);
});

Deno.test("LifeHooks tells of no end that is of the past", async () => {
  const it = stand();
  const record = containerRecord({ state: "exited" });
  it.hooks.markEnded([record.id]);
  await it.hooks.ended(record);
  assert.deepEqual(it.heard, []);
});

Deno.test("LifeHooks relays the life of a pod, and its stop once", async () => {
  const it = stand();
  const record = sandboxRecord();
  await it.hooks.pods.running(record, { signal });
  assert.equal(it.held, 1);
  it.hooks.pods.ran(record);
  assert.equal(it.held, 0);
  await it.hooks.pods.stopped(record);
  await it.hooks.pods.stopped(record);
  await it.hooks.pods.removed(record);
  assert.deepEqual(it.heard, ["RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"]);
});

Deno.test("LifeHooks takes a pod back that a plugin refused", async () => {
  const it = stand();
  const record = sandboxRecord();
  it.failing.add("RunPodSandbox");
  await assert.rejects(it.hooks.pods.running(record, { signal }), /RunPodSandbox failed/);
  await it.hooks.pods.notRun(record);
  assert.deepEqual(it.heard, ["RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"]);
  assert.equal(it.held, 0);
});

Deno.test("LifeHooks does nothing before it is connected", async () => {
  const hooks = new LifeHooks(silentLogger);
  const record = containerRecord();
  assert.equal(await hooks.creating(creation(record), { signal }), undefined);
  await hooks.created(record);
  await hooks.ended(record);
});
