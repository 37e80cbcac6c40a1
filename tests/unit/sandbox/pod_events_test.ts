import { deepEqual } from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { transition } from "../../../src/container/transitions.ts";
import type { ContainerRecord } from "../../../src/container/types.ts";
import { EVENT_QUEUE_LIMIT, type PodEvent, PodEvents, type RecordSource } from "../../../src/sandbox/pod_events.ts";
import type { SandboxRecord } from "../../../src/sandbox/types.ts";
import { RecordStore } from "../../../src/state/record_store.ts";
import { containerRecord, sandboxRecord } from "../../fakes/records.ts";

/** Record stores on a temporary directory, and events of theirs. */
class Bench implements AsyncDisposable {
  readonly starting = new Set<string>();
  nowNanos = 1000n;
  readonly events: PodEvents;

  private constructor(
    private readonly directory: string,
    readonly containers: RecordStore<ContainerRecord>,
    readonly sandboxes: RecordStore<SandboxRecord>,
  ) {
    this.events = new PodEvents({
      containers,
      sandboxes,
      isStarting: (id) => this.starting.has(id),
      clock: { nowNanos: () => this.nowNanos },
      onDrop: () => {},
    });
  }

  static async open(): Promise<Bench> {
    const directory = await Deno.makeTempDir({ prefix: "crio-events-" });
    const open = <R extends ContainerRecord | SandboxRecord>(what: string): Promise<RecordStore<R>> =>
      RecordStore.open<R>({ directory: `${directory}/${what}`, what, log: silentLogger, parse: (json) => json as R });
    return new Bench(directory, await open<ContainerRecord>("container"), await open<SandboxRecord>("sandbox"));
  }

  /** What `body` makes happen, up to the end of all events. */
  async during(body: () => Promise<unknown>): Promise<PodEvent[]> {
    using subscription = this.events.subscribe();
    await body();
    this.events[Symbol.dispose]();
    const seen: PodEvent[] = [];
    for (;;) {
      const event = await subscription.next({ signal: new AbortController().signal });
      if (event === undefined) return seen;
      seen.push(event);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.events[Symbol.dispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}

const told = (events: readonly PodEvent[]): Array<[string, string]> => events.map(({ type, id }) => [type, id]);

Deno.test("PodEvents tells each step of a pod's and a container's life once, with the whole pod", async () => {
  await using bench = await Bench.open();
  const { containers, sandboxes } = bench;
  const pod = sandboxRecord({ state: "creating" });
  const main = containerRecord({ sandboxId: pod.id, state: "creating" });
  const events = await bench.during(async () => {
    await sandboxes.insert(pod);
    await sandboxes.update(pod.id, (now) => ({ ...now, networkAttached: true }));
    await sandboxes.update(pod.id, (now) => ({ ...now, state: "ready" }));
    await containers.insert(main);
    await containers.update(main.id, (now) => transition(now, "created"));
    await containers.update(main.id, (now) => transition(now, "start"));
    await containers.update(main.id, (now) => transition(now, "pause"));
    await containers.update(main.id, (now) => transition(now, "resume"));
    bench.nowNanos = 2000n;
    await containers.update(main.id, (now) => transition(now, "exit", { exitCode: 3 }));
    await sandboxes.update(pod.id, (now) => ({ ...now, state: "not_ready" }));
    await sandboxes.update(pod.id, (now) => ({ ...now, networkAttached: false }));
    await containers.remove(main.id);
    await sandboxes.remove(pod.id);
  });
  deepEqual(told(events), [
    ["created", pod.id],
    ["started", pod.id],
    ["created", main.id],
    ["started", main.id],
    ["stopped", main.id],
    ["stopped", pod.id],
    ["deleted", main.id],
    ["deleted", pod.id],
  ]);
  deepEqual(events.map(({ atNanos }) => atNanos), [1000n, 1000n, 1000n, 1000n, 2000n, 2000n, 2000n, 2000n]);
  deepEqual(events.map(({ containers }) => containers.map(({ state }) => state)), [
    [],
    [],
    ["created"],
    ["running"],
    ["exited"],
    ["exited"],
    [],
    [],
  ]);
  deepEqual(events.map(({ sandbox }) => sandbox?.state), [
    "ready",
    "ready",
    "ready",
    "ready",
    "ready",
    "not_ready",
    "not_ready",
    "not_ready",
  ]);
});

Deno.test("PodEvents shows only the pod's own containers, and none that is being made", async () => {
  await using bench = await Bench.open();
  const pod = sandboxRecord();
  const main = containerRecord({ sandboxId: pod.id, state: "created" });
  const half = containerRecord({ sandboxId: pod.id, state: "creating", name: "half" });
  await bench.sandboxes.insert(pod);
  await Promise.all([main, half, containerRecord()].map((record) => bench.containers.insert(record)));
  const events = await bench.during(() => bench.containers.update(main.id, (now) => transition(now, "start")));
  deepEqual(events.map(({ containers }) => containers.map(({ id }) => id)), [[main.id]]);
});

Deno.test("PodEvents says nothing of pods and containers that never came to be", async () => {
  await using bench = await Bench.open();
  const pod = sandboxRecord({ state: "creating" });
  const half = containerRecord({ sandboxId: pod.id, state: "creating" });
  const events = await bench.during(async () => {
    await bench.sandboxes.insert(pod);
    await bench.containers.insert(half);
    await bench.containers.remove(half.id);
    await bench.sandboxes.remove(pod.id);
  });
  deepEqual(events, []);
});

Deno.test("PodEvents tells the start of a container that ended before its start was recorded", async () => {
  await using bench = await Bench.open();
  const [short, killed] = [containerRecord({ state: "created" }), containerRecord({ state: "created" })];
  await Promise.all([short, killed].map((record) => bench.containers.insert(record)));
  bench.starting.add(short.id);
  const events = await bench.during(async () => {
    await bench.containers.update(short.id, (now) => transition(now, "exit"));
    await bench.containers.update(short.id, (now) => ({ ...now, startedAtNanos: "7" }));
    await bench.containers.update(killed.id, (now) => transition(now, "exit"));
  });
  deepEqual(told(events), [["started", short.id], ["stopped", short.id], ["stopped", killed.id]]);
});

/** Records that are not stored anywhere. */
class Announced<R extends { readonly id: string }> implements RecordSource<R> {
  announce: (record: R | undefined, previous: R | undefined) => void = () => {};
  get = (): R | undefined => undefined;
  values = (): readonly R[] => [];

  subscribe(listener: (record: R | undefined, previous: R | undefined) => void): Disposable {
    this.announce = listener;
    return { [Symbol.dispose]: () => void (this.announce = (): void => {}) };
  }
}

Deno.test("PodEvents drops and counts what a client leaves waiting beyond its queue", () => {
  const dropped: number[] = [];
  const containers = new Announced<ContainerRecord>();
  using events = new PodEvents({
    containers,
    sandboxes: new Announced<SandboxRecord>(),
    isStarting: () => false,
    clock: { nowNanos: () => 1n },
    onDrop: (inARow) => void dropped.push(inARow),
  });
  const [created, running] = [containerRecord({ state: "created" }), containerRecord({ state: "running" })];
  containers.announce(running, created);
  using _hangs = events.subscribe();
  for (let left = EVENT_QUEUE_LIMIT + 3; left > 0; left -= 1) containers.announce(running, created);
  deepEqual(dropped, [1, 2, 3]);
});
