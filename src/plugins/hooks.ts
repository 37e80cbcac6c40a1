import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { ResourceLimits } from "../base/resources.ts";
import type { AdjustedContainer, ContainerPlugins, Creation } from "../container/plugins.ts";
import type { ContainerRecord } from "../container/types.ts";
import type { PluginDoor } from "../nri/door.ts";
import type { EventName } from "../nri/events.ts";
import type { PodPlugins } from "../sandbox/plugins.ts";
import type { SandboxRecord } from "../sandbox/types.ts";
import type { UpdateHooks } from "../container/update.ts";
import type { Relay } from "./relay.ts";

type Call = { readonly signal?: AbortSignal };

/** Tells nobody, when nobody wants to hear. */
async function silence(): Promise<void> {}

/**
 * The life of pods and containers on its way to plugins. What only tells is told as well as can be: an error is logged. What asks may
 * be refused.
 *
 * Life: made before pods and containers, which call it; `connect` once they are there. Before that nobody hears anything.
 */
export class LifeHooks implements ContainerPlugins, UpdateHooks {
  #door: PluginDoor | undefined;
  #relay: (() => Promise<Relay>) | undefined;
  /** What keeps plugins from joining, by the id of what is being made or started. */
  readonly #holds = new Map<string, Disposable>();
  /** Made ones that plugins heard of, until their fate is known. */
  readonly #announced = new Set<string>();
  /** Containers whose end was told of, or is being told of. */
  readonly #ends = new Map<string, Promise<void>>();
  readonly #stoppedPods = new Set<string>();

  constructor(private readonly log: Logger) {}

  /** Begins to relay. `relay` loads what turns records into messages. */
  connect(door: PluginDoor, relay: () => Promise<Relay>): void {
    this.#door = door;
    this.#relay = relay;
  }

  /** The ends of these are of the past. */
  markEnded(ids: Iterable<string>): void {
    for (const id of ids) this.#ends.set(id, Promise.resolve());
  }

  async creating(creation: Creation, options: { signal: AbortSignal }): Promise<AdjustedContainer | undefined> {
    const { id } = creation.record;
    await this.#hold(id, options);
    const relay = await this.#relayFor("CreateContainer");
    if (relay === undefined) return undefined;
    this.#announced.add(id);
    return await relay.create(creation, options);
  }

  async created(record: ContainerRecord): Promise<void> {
    this.#announced.delete(record.id);
    await this.#tell("PostCreateContainer", (relay) => relay.container("PostCreateContainer", record));
    this.#release(record.id);
  }

  async notCreated(record: ContainerRecord): Promise<void> {
    this.#release(record.id);
    if (!this.#announced.delete(record.id)) return;
    await this.#tell("StopContainer", (relay) => relay.stop(record));
    await this.#tell("RemoveContainer", (relay) => relay.container("RemoveContainer", record));
  }

  async starting(record: ContainerRecord, options: { signal: AbortSignal }): Promise<void> {
    await this.#hold(record.id, options);
    try {
      await (await this.#relayFor("StartContainer"))?.container("StartContainer", record, options);
    } catch (error) {
      this.#release(record.id);
      throw error;
    }
  }

  async started(record: ContainerRecord): Promise<void> {
    await this.#tell("PostStartContainer", (relay) => relay.container("PostStartContainer", record));
    this.#release(record.id);
  }

  notStarted(record: ContainerRecord): void {
    this.#release(record.id);
  }

  async updating(
    record: ContainerRecord,
    limits: ResourceLimits,
    options: { signal: AbortSignal },
  ): Promise<ResourceLimits> {
    const relay = await this.#relayFor("UpdateContainer");
    return relay === undefined ? limits : await relay.update(record, limits, options);
  }

  updated(record: ContainerRecord): void {
    void this.#tell("PostUpdateContainer", (relay) => relay.container("PostUpdateContainer", record));
  }

  async ended(record: ContainerRecord): Promise<void> {
    const told = this.#ends.get(record.id) ?? this.#tell("StopContainer", (relay) => relay.stop(record));
    this.#ends.set(record.id, told);
    await told;
  }

  async removing(record: ContainerRecord): Promise<() => Promise<void>> {
    const tell = await this.#prepare("RemoveContainer", (relay) => relay.prepareContainer("RemoveContainer", record));
    return async () => {
      await this.ended(record);
      await tell();
      this.#ends.delete(record.id);
    };
  }

  /** The same for pods. */
  readonly pods: PodPlugins = {
    running: (record, options) => this.#podRunning(record, options),
    ran: (record) => {
      this.#announced.delete(record.id);
      this.#release(record.id);
    },
    notRun: async (record) => {
      this.#release(record.id);
      if (!this.#announced.delete(record.id)) return;
      await this.#tell("StopPodSandbox", (relay) => relay.pod("StopPodSandbox", record));
      await this.#tell("RemovePodSandbox", (relay) => relay.pod("RemovePodSandbox", record));
    },
    stopped: async (record) => {
      if (this.#stoppedPods.has(record.id)) return;
      this.#stoppedPods.add(record.id);
      await this.#tell("StopPodSandbox", (relay) => relay.pod("StopPodSandbox", record));
    },
    removed: async (record) => {
      this.#stoppedPods.delete(record.id);
      await this.#tell("RemovePodSandbox", (relay) => relay.pod("RemovePodSandbox", record));
    },
  };

  /** Asks plugins about new limits of a whole pod, which its client sets. @throws what refuses them */
  async vetPodResources(
    record: SandboxRecord,
    change: { readonly overhead: ResourceLimits; readonly resources: ResourceLimits },
    options: { signal: AbortSignal },
  ): Promise<void> {
    await (await this.#relayFor("UpdatePodSandbox"))?.updatePod(record, change, options);
    await this.#tell("PostUpdatePodSandbox", (relay) => relay.pod("PostUpdatePodSandbox", record));
  }

  async #podRunning(record: SandboxRecord, options: { signal: AbortSignal }): Promise<void> {
    await this.#hold(record.id, options);
    const relay = await this.#relayFor("RunPodSandbox");
    if (relay === undefined) return;
    this.#announced.add(record.id);
    await relay.pod("RunPodSandbox", record, options);
  }

  async #hold(id: string, options: Call): Promise<void> {
    const hold = await this.#door?.hold(options);
    if (hold === undefined) return;
    this.#release(id);
    this.#holds.set(id, hold);
  }

  #release(id: string): void {
    this.#holds.get(id)?.[Symbol.dispose]();
    this.#holds.delete(id);
  }

  /** Undefined when no plugin wants the event. */
  async #relayFor(event: EventName): Promise<Relay | undefined> {
    if (this.#door?.plugins?.wants(event) !== true) return undefined;
    return await this.#relay?.();
  }

  /** Never rejects. */
  async #tell(event: EventName, tell: (relay: Relay) => Promise<void>): Promise<void> {
    try {
      const relay = await this.#relayFor(event);
      if (relay !== undefined) await tell(relay);
    } catch (error) {
      this.log.warn(`${event} went on although plugins failed: ${messageOf(error)}`);
    }
  }

  /** Does now what has to be done before a record's files are gone. Neither of both steps rejects. */
  async #prepare(
    event: EventName,
    prepare: (relay: Relay) => Promise<() => Promise<void>>,
  ): Promise<() => Promise<void>> {
    let tell: (() => Promise<void>) | undefined;
    await this.#tell(event, async (relay) => {
      tell = await prepare(relay);
    });
    return tell === undefined ? silence : () => this.#tell(event, () => tell?.() ?? silence());
  }
}
