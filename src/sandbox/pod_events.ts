import { Broadcast, type Subscription } from "../base/broadcast.ts";
import type { Clock } from "../base/clock.ts";
import type { ContainerId, SandboxId } from "../base/ids.ts";
import type { ContainerRecord, ContainerState } from "../container/types.ts";
import type { SandboxRecord } from "./types.ts";

/** What has happened to a container or a pod. */
export type PodEventType = "created" | "started" | "stopped" | "deleted";

/** One event, with the whole pod as it was right after it. */
export interface PodEvent {
  readonly type: PodEventType;
  /** The container, or the pod itself. */
  readonly id: ContainerId | SandboxId;
  /** Nanoseconds since the epoch. */
  readonly atNanos: bigint;
  /** Absent when the pod's record was gone before its container's. */
  readonly sandbox?: SandboxRecord;
  /** All containers of the pod, without those that are being made. */
  readonly containers: readonly ContainerRecord[];
}

/** The part of a record store that events come from. */
export interface RecordSource<R> {
  get(id: string): R | undefined;
  values(): Iterable<R>;
  subscribe(listener: (record: R | undefined, previous: R | undefined) => void): Disposable;
}

export interface PodEventsDeps {
  readonly containers: RecordSource<ContainerRecord>;
  readonly sandboxes: RecordSource<SandboxRecord>;
  /** Whether a start of this container is under way. */
  isStarting(id: ContainerId): boolean;
  readonly clock: Pick<Clock, "nowNanos">;
  /** As in `BroadcastOptions`. */
  onDrop(inARow: number): void;
}

/** Events that one client may leave waiting (CRI-O's figure). */
export const EVENT_QUEUE_LIMIT = 1000;

/**
 * Events of pods and containers, made of the changes of their records: whatever changes a record, and by whichever way,
 * is told once. The records of an event are shared by all who get it; without subscribers nothing is made.
 */
export class PodEvents implements Disposable {
  readonly #broadcast: Broadcast<PodEvent>;
  readonly #sources = new DisposableStack();

  constructor(private readonly deps: PodEventsDeps) {
    const { onDrop, containers, sandboxes } = deps;
    this.#broadcast = new Broadcast<PodEvent>({ limit: EVENT_QUEUE_LIMIT, onDrop: (inARow) => onDrop(inARow) });
    this.#sources.use(containers.subscribe((record, previous) => this.#onContainer(record, previous)));
    this.#sources.use(sandboxes.subscribe((record, previous) => this.#onSandbox(record, previous)));
  }

  /** All events from now on. */
  subscribe(): Subscription<PodEvent> {
    return this.#broadcast.subscribe();
  }

  /** Ends all subscriptions. */
  [Symbol.dispose](): void {
    this.#sources.dispose();
    this.#broadcast[Symbol.dispose]();
  }

  #onContainer(record: ContainerRecord | undefined, previous: ContainerRecord | undefined): void {
    const subject = record ?? previous;
    if (this.#broadcast.size === 0 || subject === undefined) return;
    const types = containerEvents(previous?.state, record?.state, { isStarting: this.deps.isStarting(subject.id) });
    for (const type of types) this.#publish(type, subject.id, this.deps.sandboxes.get(subject.sandboxId));
  }

  #onSandbox(record: SandboxRecord | undefined, previous: SandboxRecord | undefined): void {
    // A pod that is gone is told of as it was last: the kubelet ignores events without a pod.
    const subject = record ?? previous;
    if (this.#broadcast.size === 0 || subject === undefined) return;
    for (const type of sandboxEvents(previous?.state, record?.state)) this.#publish(type, subject.id, subject);
  }

  #publish(type: PodEventType, id: ContainerId | SandboxId, sandbox: SandboxRecord | undefined): void {
    const containers = sandbox === undefined
      ? []
      : [...this.deps.containers.values()].filter((one) => one.sandboxId === sandbox.id && one.state !== "creating");
    const event = { type, id, atNanos: this.deps.clock.nowNanos(), containers };
    this.#broadcast.publish(sandbox === undefined ? event : { ...event, sandbox });
  }
}

/** What a change of a container's state means to others. A pause is nothing that the CRI has a word for. */
export function containerEvents(
  from: ContainerState | undefined,
  to: ContainerState | undefined,
  { isStarting }: { readonly isStarting: boolean },
): readonly PodEventType[] {
  if (to === undefined) return from === "creating" ? [] : ["deleted"];
  if (from === to || from === undefined) return [];
  if (from === "creating") return to === "created" ? ["created"] : [];
  if (to === "running") return from === "created" ? ["started"] : [];
  if (to !== "exited") return [];
  // A short program ends before its start has been recorded.
  return from === "created" && isStarting ? ["started", "stopped"] : ["stopped"];
}

function sandboxEvents(
  from: SandboxRecord["state"] | undefined,
  to: SandboxRecord["state"] | undefined,
): readonly PodEventType[] {
  if (to === undefined) return from === "creating" ? [] : ["deleted"];
  if (from === to) return [];
  if (to === "ready") return ["created", "started"];
  return to === "not_ready" && from === "ready" ? ["stopped"] : [];
}
