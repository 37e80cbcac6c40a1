import type { ContainerRecord } from "../../src/container/types.ts";
import type { SandboxRecord } from "../../src/sandbox/types.ts";
import type { Change, NodeView } from "../../src/status/types.ts";

const CREATED = "1795463220123456789";

/** A pod as records have it. */
export function fakePod(id: string, change: Partial<SandboxRecord> = {}): SandboxRecord {
  return {
    id,
    state: "ready",
    createdAtNanos: CREATED,
    ips: ["10.88.0.7", "fd00::7"],
    runtimeHandler: "crun",
    cgroupParent: "/kubepods",
    spec: {
      metadata: { name: `pod-${id}`, namespace: "default", uid: "u", attempt: 0 },
      security: { namespaces: { network: "pod" } },
    },
    ...change,
  } as unknown as SandboxRecord;
}

/** A container of it. */
export function fakeContainer(id: string, sandboxId: string, change: Partial<ContainerRecord> = {}): ContainerRecord {
  return {
    id,
    sandboxId,
    state: "running",
    process: { pid: 4711, startTime: "1" },
    imageName: "docker.io/library/busybox:latest",
    imageRef: "r",
    createdAtNanos: CREATED,
    startedAtNanos: CREATED,
    finishedAtNanos: "0",
    exitCode: -1,
    oomKilled: false,
    seccompKilled: false,
    message: "",
    spec: { metadata: { name: `ctr-${id}`, attempt: 2 } },
    ...change,
  } as unknown as ContainerRecord;
}

/** A node with a pod, a container and an image; CPU time, memory and network traffic grow with the clock. */
export class FakeNode implements NodeView {
  readonly podRecords = new Map<string, SandboxRecord>([["p1", fakePod("p1")]]);
  readonly containerRecords = new Map<string, ContainerRecord>([["c1", fakeContainer("c1", "p1")]]);
  readonly #podListeners = new Set<Change<SandboxRecord>>();
  readonly #containerListeners = new Set<Change<ContainerRecord>>();

  /** Clients that watch. */
  get watchers(): number {
    return this.#podListeners.size + this.#containerListeners.size;
  }

  pods(): Iterable<SandboxRecord> {
    return this.podRecords.values();
  }

  containers(): Iterable<ContainerRecord> {
    return this.containerRecords.values();
  }

  images(): ReturnType<NodeView["images"]> {
    const image = { id: "i".repeat(64), repoTags: ["docker.io/library/busybox:latest"], repoDigests: [] };
    return Promise.resolve([{ ...image, sizeBytes: 1_234_567, user: "", pinned: true, annotations: {} }]) as never;
  }

  usesImage(): boolean {
    return true;
  }

  figures(): ReturnType<NodeView["figures"]> {
    const atNanos = BigInt(Date.now()) * 1_000_000n;
    // Half a CPU, and 2 MiB a second in each direction.
    const cgroup = { atNanos, cpu: { usageNanos: atNanos / 2n }, memory: { workingSetBytes: 5 * 1024 * 1024 } };
    const flow = Number(atNanos / 1_000_000n) * 2 * 1024 * 1024 / 1000;
    const network = { atNanos, interfaces: [{ name: "eth0", rxBytes: flow, txBytes: flow }] };
    return Promise.resolve([...this.podRecords.values()].map((record) => ({
      record,
      cgroup,
      network,
      containers: [{}],
    }))) as never;
  }

  watchPods(changed: Change<SandboxRecord>): Disposable {
    this.#podListeners.add(changed);
    return { [Symbol.dispose]: () => void this.#podListeners.delete(changed) };
  }

  watchContainers(changed: Change<ContainerRecord>): Disposable {
    this.#containerListeners.add(changed);
    return { [Symbol.dispose]: () => void this.#containerListeners.delete(changed) };
  }

  /** A change of a pod's record, as the store tells it. */
  changePod(pod: SandboxRecord | undefined, previous?: SandboxRecord): void {
    for (const listener of this.#podListeners) listener(pod, previous);
  }

  /** A change of a container's record. */
  changeContainer(container: ContainerRecord | undefined, previous?: ContainerRecord): void {
    for (const listener of this.#containerListeners) listener(container, previous);
  }
}
