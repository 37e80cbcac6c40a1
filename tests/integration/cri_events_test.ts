import { deepEqual, equal, ok as assert } from "node:assert/strict";
import { status } from "@grpc/grpc-js";
import { Broadcast, type Subscription } from "../../src/base/broadcast.ts";
import { eventHandlers } from "../../src/cri/events.ts";
import { ContainerEventResponse, ContainerEventType, ContainerState, PodSandboxState } from "../../src/cri/gen/api.ts";
import type { EventOperations } from "../../src/cri/operations.ts";
import { sandboxHandlers } from "../../src/cri/sandboxes.ts";
import type { PodEvent } from "../../src/sandbox/pod_events.ts";
import { CriClient, type OpenStream } from "../fakes/cri_client.ts";
import { Front } from "../fakes/cri_front.ts";
import { FakeNode, someContainer, somePod } from "../fakes/cri_operations.ts";

const PATH = "/runtime.v1.RuntimeService/GetContainerEvents";
const LIMIT = 1000;
const NOTHING = new Uint8Array();

/** Events that a test publishes, and what the clients have left. */
class Source implements EventOperations {
  dropped = 0;
  readonly broadcast = new Broadcast<PodEvent>({ limit: LIMIT, onDrop: () => void (this.dropped += 1) });
  #arrival = Promise.withResolvers<void>();

  subscribe(): Subscription<PodEvent> {
    const subscription = this.broadcast.subscribe();
    this.#arrival.resolve();
    this.#arrival = Promise.withResolvers();
    return subscription;
  }

  /** Resolves when so many clients listen. */
  async clients(count: number): Promise<void> {
    while (this.broadcast.size < count) await this.#arrival.promise;
  }

  /** Resolves when so few clients are left; nothing tells of it but time. */
  async left(count: number): Promise<void> {
    while (this.broadcast.size > count) await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const pod = somePod();
const container = someContainer({ sandboxId: pod.id, state: "running" });

function event(changes: Partial<PodEvent> = {}): PodEvent {
  return { type: "started", id: container.id, atNanos: 5n, sandbox: pod, containers: [container], ...changes };
}

/** A client that reads all events. */
function listen(client: CriClient): { readonly seen: ContainerEventResponse[]; readonly stream: OpenStream } {
  const seen: ContainerEventResponse[] = [];
  const stream = client.open(PATH, NOTHING, (bytes) => seen.push(ContainerEventResponse.decode(bytes)));
  return { seen, stream };
}

Deno.test("GetContainerEvents ends at once when events are off", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  deepEqual(await client.stream(PATH, NOTHING), []);
});

Deno.test("GetContainerEvents gives all clients all events with their pod, and ends with the daemon", async () => {
  const source = new Source();
  await using front = await Front.open({ runtime: eventHandlers(source) });
  using first = new CriClient(front.path);
  using second = new CriClient(front.path);
  const clients = [listen(first), listen(first), listen(second)];
  await source.clients(3);
  source.broadcast.publish(event({ type: "created" }));
  source.broadcast.publish(event());
  source.broadcast.publish(event({ type: "stopped", id: pod.id, containers: [] }));
  const { sandbox: _none, ...orphan } = event({ type: "deleted", containers: [] });
  source.broadcast.publish(orphan);
  source.broadcast[Symbol.dispose]();
  deepEqual(await Promise.all(clients.map(({ stream }) => stream.ended)), [undefined, undefined, undefined]);
  for (const { seen } of clients) {
    deepEqual(seen.map(({ containerEventType }) => containerEventType), [
      ContainerEventType.CONTAINER_CREATED_EVENT,
      ContainerEventType.CONTAINER_STARTED_EVENT,
      ContainerEventType.CONTAINER_STOPPED_EVENT,
      ContainerEventType.CONTAINER_DELETED_EVENT,
    ]);
    deepEqual(seen.map(({ containerId }) => containerId), [container.id, container.id, pod.id, container.id]);
    deepEqual(seen.map(({ createdAt }) => createdAt), [5n, 5n, 5n, 5n]);
    equal(seen[1]?.podSandboxStatus?.id, pod.id);
    equal(seen[1]?.podSandboxStatus?.state, PodSandboxState.SANDBOX_READY);
    deepEqual(seen[1]?.podSandboxStatus?.network?.ip, pod.ips[0]);
    deepEqual(seen[1]?.containersStatuses.map(({ id, state }) => [id, state]), [
      [container.id, ContainerState.CONTAINER_RUNNING],
    ]);
    equal(seen[3]?.podSandboxStatus, undefined);
  }
  deepEqual(front.metrics.observed, []);
});

Deno.test("a client of events that goes away leaves nothing behind", async () => {
  const source = new Source();
  await using front = await Front.open({ runtime: eventHandlers(source) });
  using client = new CriClient(front.path);
  for (let round = 0; round < 20; round += 1) {
    const { stream } = listen(client);
    await source.clients(1);
    source.broadcast.publish(event());
    stream.cancel();
    equal(await stream.ended, status.CANCELLED);
    await source.left(0);
  }
  {
    using gone = new CriClient(front.path);
    const { stream } = listen(gone);
    await source.clients(1);
    gone[Symbol.dispose]();
    stream.cancel();
    await stream.ended;
  }
  await source.left(0);
});

Deno.test("a client of events that hangs loses events, and holds nobody up", async () => {
  const source = new Source();
  await using front = await Front.open({ runtime: eventHandlers(source) });
  using idle = new CriClient(front.path);
  using busy = new CriClient(front.path);
  const hanging = listen(idle);
  hanging.stream.pause();
  const reading = listen(busy);
  await source.clients(2);
  // Much more than the buffers between daemon and client take.
  const big = event({ containers: Array.from({ length: 50 }, () => container) });
  let published = 0;
  while (source.dropped === 0) {
    source.broadcast.publish({ ...big });
    published += 1;
    while (reading.seen.length < published) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  assert(published > LIMIT, `${published}`);
  equal(reading.seen.length, published);
  hanging.stream.cancel();
  await source.left(1);
  reading.stream.cancel();
  await source.left(0);
});

Deno.test("PodSandboxStatus tells of the containers and the time when events are on", async () => {
  const node = new FakeNode();
  node.pods.set(pod.id, pod);
  node.containers.set(container.id, container);
  const other = someContainer({ sandboxId: somePod().id });
  node.containers.set(other.id, other);
  const { sandboxes, containers } = node.operations;
  await using front = await Front.open({ runtime: sandboxHandlers(sandboxes, containers) });
  using client = new CriClient(front.path);
  const on = await client.call("podSandboxStatus", { podSandboxId: pod.id });
  deepEqual(on.containersStatuses.map(({ id }) => id), [container.id]);
  assert(BigInt(Date.now()) * 1_000_000n - on.timestamp < 5_000_000_000n, `${on.timestamp}`);
  await using plain = await Front.open({ runtime: sandboxHandlers(sandboxes) });
  using second = new CriClient(plain.path);
  const off = await second.call("podSandboxStatus", { podSandboxId: pod.id });
  deepEqual([off.containersStatuses, off.timestamp], [[], 0n]);
});
