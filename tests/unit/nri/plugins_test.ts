import assert from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { PluginLost, PluginRefusal } from "../../../src/nri/errors.ts";
import { type EventName, EVENTS } from "../../../src/nri/events.ts";
import {
  ConfigureRequest,
  ConfigureResponse,
  Container,
  ContainerAdjustment,
  ContainerUpdate,
  CreateContainerRequest,
  CreateContainerResponse,
  PodSandbox,
  RunPodSandboxRequest,
  StateChangeEvent,
  SynchronizeRequest,
  SynchronizeResponse,
  UpdateContainersRequest,
  UpdateContainersResponse,
  ValidateContainerAdjustmentRequest,
  ValidateContainerAdjustmentResponse,
} from "../../../src/nri/gen/nri.ts";
import { message } from "../../../src/nri/message.ts";
import { type DoorOptions, PluginDoor } from "../../../src/nri/door.ts";
import type { PluginRuntime, Plugins } from "../../../src/nri/plugins.ts";
import { FakePlugin, type Handlers, StatusError } from "../../fakes/nri_plugin.ts";

const EMPTY = new Uint8Array();
const POD = message(PodSandbox, { id: "p1", name: "pod" });
/** Longer than any answer takes here, for what must not run out. */
const LONG_MS = 10_000;
/** For what has to run out. */
const SHORT_MS = 100;

interface Stand extends AsyncDisposable {
  readonly door: PluginDoor;
  /** Once one has connected. */
  readonly plugins: Plugins;
  readonly socketPath: string;
  readonly runtime: { updates: ContainerUpdate[]; evicted: string[]; containers: Container[] };
  /** Connects a plugin and waits until it has joined. */
  join(name: string, events: readonly EventName[], handlers: Handlers, policy?: Policy): Promise<FakePlugin>;
}

type Policy = ConfigureResponse["failurePolicy"];

async function stand(
  options: { requestTimeoutMs?: number; registrationTimeoutMs?: number } & Partial<DoorOptions> = {},
): Promise<Stand> {
  const directory = await Deno.makeTempDir();
  const socketPath = `${directory}/nri/nri.sock`;
  const seen: Stand["runtime"] = { updates: [], evicted: [], containers: [message(Container, { id: "old" })] };
  const joined = new Map<string, () => void>();
  const runtime: PluginRuntime = {
    state: () => Promise.resolve({ pods: [POD], containers: seen.containers }),
    update: (updates) => {
      seen.updates.push(...updates);
      const failed = updates.filter(({ containerId }) => containerId === "broken");
      return Promise.resolve(failed.map((update) => ({ update, reason: "it is broken" })));
    },
    evict: (evictions) => {
      seen.evicted.push(...evictions.map(({ containerId }) => containerId));
      return Promise.resolve();
    },
  };
  const { requestTimeoutMs = LONG_MS, registrationTimeoutMs = LONG_MS, ...rest } = options;
  const log = {
    ...silentLogger,
    info: (text: string): void => {
      const name = /plugin \d\d-(\S+) has joined/.exec(text)?.[1];
      if (name !== undefined) joined.get(name)?.();
    },
  };
  const door = new PluginDoor({
    socketPath,
    pluginDirectory: `${directory}/none`,
    configDirectory: `${directory}/none`,
    terms: { runtimeName: "cri-o", runtimeVersion: "1.2.3", registrationTimeoutMs, requestTimeoutMs },
    ...rest,
  }, { runtime, log });
  await door.open();
  const fakes: FakePlugin[] = [];
  return {
    door,
    get plugins(): Plugins {
      assert.ok(door.plugins !== undefined);
      return door.plugins;
    },
    socketPath,
    runtime: seen,
    join: async (name, events, handlers, failurePolicy) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      joined.set(name.slice(3), resolve);
      const mask = events.reduce((bits, event) => bits | 1 << (EVENTS[event] - 1), 0);
      const plugin = await FakePlugin.connect(socketPath, { index: name.slice(0, 2), name: name.slice(3) }, {
        Configure: () => ConfigureResponse.encode({ events: mask, failurePolicy }).finish(),
        Synchronize: () => EMPTY,
        ...handlers,
      });
      fakes.push(plugin);
      await promise;
      return plugin;
    },
    [Symbol.asyncDispose]: async () => {
      await door[Symbol.asyncDispose]();
      await Promise.all(fakes.map((fake) => fake.closed));
      await Deno.remove(directory, { recursive: true });
    },
  };
}

function creation(): CreateContainerRequest {
  return { pod: POD, container: message(Container, { id: "new", env: ["A=1"] }) };
}

Deno.test("Plugins configures a plugin that connects, and tells it what there is", async () => {
  await using it = await stand();
  let configured: ConfigureRequest | undefined;
  let synchronized: SynchronizeRequest | undefined;
  await it.join("10-first", ["RunPodSandbox"], {
    Configure: (bytes) => {
      configured = ConfigureRequest.decode(bytes);
      return ConfigureResponse.encode({ events: 1, failurePolicy: undefined }).finish();
    },
    Synchronize: (bytes) => {
      synchronized = SynchronizeRequest.decode(bytes);
      const update = [message(ContainerUpdate, { containerId: "old" })];
      return SynchronizeResponse.encode({ update, more: false }).finish();
    },
  });
  assert.equal(configured?.runtimeName, "cri-o");
  assert.equal(configured?.runtimeVersion, "1.2.3");
  assert.equal(configured?.requestTimeout, BigInt(LONG_MS));
  assert.deepEqual(synchronized?.pods.map(({ id }) => id), ["p1"]);
  assert.deepEqual(synchronized?.containers.map(({ id }) => id), ["old"]);
  assert.deepEqual(it.runtime.updates.map(({ containerId }) => containerId), ["old"]);
  assert.ok(it.plugins.wants("RunPodSandbox"));
  assert.ok(!it.plugins.wants("CreateContainer"));
});

Deno.test("Plugins asks plugins in the order of their index, each with what the ones before it did", async () => {
  await using it = await stand();
  const seen: string[] = [];
  const adjusting = (name: string, key: string): Handlers => ({
    CreateContainer: (bytes) => {
      const { container } = CreateContainerRequest.decode(bytes);
      seen.push(`${name}: ${container?.env.join(" ")}`);
      const adjust = message(ContainerAdjustment, { env: [{ key, value: name }] });
      return CreateContainerResponse.encode(message(CreateContainerResponse, { adjust })).finish();
    },
  });
  await it.join("20-late", ["CreateContainer"], adjusting("late", "L"));
  await it.join("10-early", ["CreateContainer"], adjusting("early", "E"));
  const adjustment = await it.plugins.create(creation());
  assert.deepEqual(seen, ["early: A=1", "late: A=1 E=early"]);
  assert.deepEqual(adjustment.env, [{ key: "E", value: "early" }, { key: "L", value: "late" }]);
});

Deno.test("Plugins carries out updates and evictions that come with an answer", async () => {
  await using it = await stand();
  const answer = message(CreateContainerResponse, {
    update: [message(ContainerUpdate, { containerId: "old" })],
    evict: [{ containerId: "older", reason: "no room" }],
  });
  await it.join("10-a", ["CreateContainer"], {
    CreateContainer: () => CreateContainerResponse.encode(answer).finish(),
  });
  await it.plugins.create(creation());
  assert.deepEqual(it.runtime.updates.map(({ containerId }) => containerId), ["old"]);
  assert.deepEqual(it.runtime.evicted, ["older"]);
  answer.update = [message(ContainerUpdate, { containerId: "broken" })];
  await assert.rejects(it.plugins.create(creation()), /update of container broken .* it is broken/);
  answer.update = [message(ContainerUpdate, { containerId: "broken", ignoreFailure: true })];
  await it.plugins.create(creation());
});

Deno.test("Plugins fails a request that a plugin refuses, and keeps the plugin", async () => {
  await using it = await stand();
  let refuses = true;
  await it.join("10-a", ["RunPodSandbox"], {
    RunPodSandbox: () => {
      if (refuses) throw new StatusError(2, "not on this node");
      return EMPTY;
    },
  });
  const run = (): Promise<void> => it.plugins.notify("RunPodSandbox", { pod: POD });
  await assert.rejects(run(), (error: Error) => {
    assert.ok(error instanceof PluginRefusal);
    assert.equal(error.message, "NRI: plugin 10-a refused RunPodSandbox: not on this node");
    return true;
  });
  refuses = false;
  await run();
});

Deno.test("Plugins closes a plugin that does not answer in time, and goes on with the others", async () => {
  await using it = await stand({ requestTimeoutMs: SHORT_MS });
  const calls: string[] = [];
  const hung = await it.join("10-hung", ["RunPodSandbox"], { RunPodSandbox: () => new Promise(() => {}) });
  await it.join("20-well", ["RunPodSandbox"], {
    RunPodSandbox: (bytes) => {
      calls.push(RunPodSandboxRequest.decode(bytes).pod?.id ?? "");
      return EMPTY;
    },
  });
  await it.plugins.notify("RunPodSandbox", { pod: POD });
  assert.deepEqual(calls, ["p1"]);
  await hung.closed;
  await it.plugins.notify("RunPodSandbox", { pod: POD });
  assert.deepEqual(calls, ["p1", "p1"]);
});

Deno.test("Plugins does with a plugin that does not answer as its policy says", async () => {
  await using it = await stand({ requestTimeoutMs: SHORT_MS });
  let hangs = true;
  await it.join("10-strict", ["RunPodSandbox"], {
    RunPodSandbox: () => hangs ? new Promise(() => {}) : EMPTY,
  }, { failRequest: true, keepConnected: true });
  const run = (): Promise<void> => it.plugins.notify("RunPodSandbox", { pod: POD });
  await assert.rejects(
    run(),
    (error: Error) => error instanceof PluginLost && /10-strict did not handle/.test(error.message),
  );
  hangs = false;
  await run();
});

Deno.test("Plugins closes a plugin that sends garbage, whatever waits for it", async () => {
  await using it = await stand();
  const plugin: FakePlugin = await it.join("10-a", ["RunPodSandbox"], {
    RunPodSandbox: () => {
      plugin.socket.write(new Uint8Array(64).fill(0xff));
      return new Promise(() => {});
    },
  });
  await it.plugins.notify("RunPodSandbox", { pod: POD });
  await plugin.closed;
  assert.ok(!it.plugins.wants("RunPodSandbox"));
});

Deno.test("Plugins goes on when a plugin dies", async () => {
  await using it = await stand();
  const plugin: FakePlugin = await it.join("10-a", ["RunPodSandbox"], {
    RunPodSandbox: () => {
      plugin.socket.destroy();
      return new Promise(() => {});
    },
  });
  await it.plugins.notify("RunPodSandbox", { pod: POD });
  assert.ok(!it.plugins.wants("RunPodSandbox"));
});

Deno.test("Plugins sends plugins of old their events as changes of state", async () => {
  await using it = await stand();
  const seen: string[] = [];
  const plugin = await it.join("10-old", ["RunPodSandbox", "StartContainer", "UpdatePodSandbox"], {
    StateChange: (bytes) => {
      const { event, pod, container } = StateChangeEvent.decode(bytes);
      seen.push(`${event} ${pod?.id} ${container?.id}`);
      return EMPTY;
    },
  });
  await it.plugins.notify("RunPodSandbox", { pod: POD });
  await it.plugins.notify("StartContainer", { pod: POD, container: message(Container, { id: "c1" }) });
  await it.plugins.notify("StartContainer", { pod: POD, container: message(Container, { id: "c1" }) });
  await it.plugins.notify("UpdatePodSandbox", {
    pod: POD,
    overheadLinuxResources: undefined,
    linuxResources: undefined,
  });
  assert.deepEqual(seen, ["1 p1 undefined", "6 p1 c1", "6 p1 c1"]);
  assert.equal(plugin.calls.filter((method) => method === "StartContainer").length, 1);
});

Deno.test("Plugins refuses what cannot register, and those that do not", async () => {
  await using it = await stand({ registrationTimeoutMs: SHORT_MS });
  const silent = await FakePlugin.open(it.socketPath);
  await silent.closed;
  for (const identity of [{ index: "1", name: "a" }, { index: "10", name: "a b" }, { index: "10", name: "" }]) {
    const plugin = await FakePlugin.open(it.socketPath);
    await assert.rejects(plugin.register(identity), /plugin (?:index|name)/);
    await plugin.closed;
  }
  const early = await FakePlugin.open(it.socketPath);
  await assert.rejects(early.call("UpdateContainers", EMPTY), /register first/);
  await assert.rejects(early.call("Other", EMPTY), /method Other/);
  await early.closed;
});

Deno.test("Plugins refuses a plugin that wants events of a later version", async () => {
  await using it = await stand();
  const identity = { index: "10", name: "new" };
  const plugin = await FakePlugin.connect(it.socketPath, identity, {
    Configure: () => ConfigureResponse.encode({ events: 1 << 20, failurePolicy: undefined }).finish(),
  });
  await plugin.closed;
  assert.deepEqual(plugin.calls, ["Configure"]);
});

Deno.test("Plugins carries out updates that a plugin asks for by itself, even during an event", async () => {
  await using it = await stand();
  const update = [
    message(ContainerUpdate, { containerId: "old" }),
    message(ContainerUpdate, { containerId: "broken" }),
  ];
  const evict = [{ containerId: "older", reason: "" }];
  let answer: UpdateContainersResponse | undefined;
  const plugin: FakePlugin = await it.join("10-a", ["RunPodSandbox"], {
    RunPodSandbox: async () => {
      const bytes = await plugin.call("UpdateContainers", UpdateContainersRequest.encode({ update, evict }).finish());
      answer = UpdateContainersResponse.decode(bytes);
      return EMPTY;
    },
  });
  await it.plugins.notify("RunPodSandbox", { pod: POD });
  assert.deepEqual(it.runtime.updates.map(({ containerId }) => containerId), ["old", "broken"]);
  assert.deepEqual(it.runtime.evicted, ["older"]);
  assert.deepEqual(answer?.failed.map(({ containerId }) => containerId), ["broken"]);
});

Deno.test("Plugins lets none join while something is being made, and starts nothing while one joins", async () => {
  await using it = await stand();
  const order: string[] = [];
  const synchronizing = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const hold = await it.door.hold();
  const joining = it.join("10-a", [], {
    Synchronize: async () => {
      order.push("synchronize");
      synchronizing.resolve();
      await release.promise;
      order.push("synchronized");
      return EMPTY;
    },
  });
  order.push("made");
  hold[Symbol.dispose]();
  await synchronizing.promise;
  const entered = it.door.hold().then((next) => {
    order.push("next");
    next[Symbol.dispose]();
  });
  release.resolve();
  await Promise.all([joining, entered]);
  assert.deepEqual(order, ["made", "synchronize", "synchronized", "next"]);
});

Deno.test("Plugins asks validators, with the container as it was and who adjusted what", async () => {
  await using it = await stand({ requestTimeoutMs: 1000 });
  const requests: ValidateContainerAdjustmentRequest[] = [];
  const answers: ValidateContainerAdjustmentResponse[] = [{ reject: false, reason: "" }, {
    reject: true,
    reason: "no",
  }];
  await it.join("10-a", ["CreateContainer"], {
    CreateContainer: () => {
      const adjust = message(ContainerAdjustment, { env: [{ key: "B", value: "2" }] });
      return CreateContainerResponse.encode(message(CreateContainerResponse, { adjust })).finish();
    },
  });
  const validator = await it.join("90-v", ["ValidateContainerAdjustment"], {
    ValidateContainerAdjustment: (bytes) => {
      requests.push(ValidateContainerAdjustmentRequest.decode(bytes));
      const answer = answers.shift();
      return answer === undefined ? new Promise(() => {}) : ValidateContainerAdjustmentResponse.encode(answer).finish();
    },
  });
  await it.plugins.create(creation());
  assert.deepEqual(requests[0]?.container?.env, ["A=1"]);
  assert.deepEqual(requests[0]?.adjust?.env, [{ key: "B", value: "2" }]);
  assert.deepEqual(requests[0]?.plugins, [{ name: "a", index: "10" }, { name: "v", index: "90" }]);
  assert.equal(requests[0]?.owners?.owners.get("new")?.compound.get(6)?.owners.get("B"), "10-a");
  await assert.rejects(it.plugins.create(creation()), /validator 90-v refused the adjusted container: no$/);
  await assert.rejects(it.plugins.create(creation()), PluginLost);
  await validator.closed;
});

Deno.test("Plugins lets the built-in validator refuse containers that no plugin sees", async () => {
  await using it = await stand({
    validator: {
      rejectOciHook: false,
      rejectRuntimeDefaultSeccomp: false,
      rejectUnconfinedSeccomp: false,
      rejectCustomSeccomp: false,
      rejectNamespace: false,
      requiredPlugins: ["a"],
      tolerateMissingPluginsAnnotation: "",
    },
  });
  assert.ok(it.plugins.wants("CreateContainer"));
  await assert.rejects(it.plugins.create(creation()), /required plugins: a$/);
  await it.join("10-a", ["RunPodSandbox"], {});
  await it.plugins.create(creation());
});

Deno.test("Plugins tells what there is in several messages when it is too much for one", async () => {
  await using it = await stand();
  const text = "x".repeat(1024 * 1024);
  it.runtime.containers = Array.from({ length: 9 }, (_, i) => message(Container, { id: `c${i}`, args: [text] }));
  const parts: SynchronizeRequest[] = [];
  const plugin = await it.join("10-a", [], {
    Synchronize: (bytes) => {
      const part = SynchronizeRequest.decode(bytes);
      parts.push(part);
      return SynchronizeResponse.encode({ update: [], more: part.more }).finish();
    },
  });
  assert.deepEqual(parts.map(({ more }) => more), [true, true, true, false].slice(-parts.length));
  assert.ok(parts.length > 1);
  assert.deepEqual(parts.flatMap(({ pods }) => pods.map(({ id }) => id)), ["p1"]);
  assert.equal(parts.flatMap(({ containers }) => containers).length, 9);
  // No reader of a plugin takes a frame that is longer than its buffer, except behind the head of a message.
  const heads = plugin.frameSizes.filter((size) => size === 4096).length;
  assert.equal(heads, parts.length);
});

Deno.test("Plugins closes a plugin that cannot be told in several messages", async () => {
  await using it = await stand();
  const text = "x".repeat(3 * 1024 * 1024);
  it.runtime.containers = ["a", "b"].map((id) => message(Container, { id, args: [text] }));
  const plugin = await FakePlugin.connect(it.socketPath, { index: "10", name: "old" }, {
    Configure: () => EMPTY,
    Synchronize: () => EMPTY,
  });
  await plugin.closed;
});

Deno.test("Plugins does not take the socket from a daemon that listens on it, and replaces a dead file", async () => {
  await using it = await stand();
  await assert.rejects(stand({ socketPath: it.socketPath }), /another process listens on the NRI socket/);
  const other = await Deno.makeTempDir();
  const dead = Deno.listen({ transport: "unix", path: `${other}/nri.sock` });
  dead.close();
  {
    await using second = await stand({ socketPath: `${other}/nri.sock` });
    assert.equal(second.door.plugins, undefined);
    const { mode } = await Deno.stat(`${other}/nri.sock`);
    assert.equal((mode ?? 0) & 0o777, 0o600);
  }
  await Deno.remove(other, { recursive: true });
});
