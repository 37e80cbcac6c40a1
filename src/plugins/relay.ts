import { messageOf, UnimplementedError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { mapInTurns } from "../base/turns.ts";
import type { ContainerPlugins } from "../container/plugins.ts";
import type { ContainerRecord } from "../container/types.ts";
import {
  type Container,
  ContainerAdjustment,
  type ContainerEviction,
  type ContainerUpdate,
  Hooks,
  LinuxContainerAdjustment,
  LinuxResources,
  type PodSandbox,
} from "../nri/gen/nri.ts";
import { message } from "../nri/message.ts";
import type { PluginRuntime, Plugins } from "../nri/plugins.ts";
import type { RuntimeState } from "../nri/synchronize.ts";
import type { OciSpec } from "../oci/spec/types.ts";
import type { SandboxRecord } from "../sandbox/types.ts";
import { containerMessage, podMessage } from "./messages.ts";

/** Pods and containers of this node, as this folder needs them. */
export interface NodeLife {
  pods(): Iterable<SandboxRecord>;
  pod(id: string): SandboxRecord | undefined;
  containers(): Iterable<ContainerRecord>;
  /** The runtime specification of a container; undefined when it is gone. */
  specOf(record: ContainerRecord): Promise<unknown>;
  stop(id: string, options: { timeoutMs: number; signal: AbortSignal }): Promise<void>;
}

type ContainerEvent = "PostCreateContainer" | "StartContainer" | "PostStartContainer" | "RemoveContainer";
type PodEvent = "RunPodSandbox" | "StopPodSandbox" | "RemovePodSandbox";
type Creation = Parameters<ContainerPlugins["creating"]>[0];
type Call = { readonly signal?: AbortSignal };

/** Specifications that are read at a time for a plugin that joins. */
const READS_AT_A_TIME = 16;
const EVICTION_LIMIT_MS = 120_000;

/** Turns records into messages and messages into deeds. Loaded with the first plugin. */
export class Relay implements PluginRuntime {
  constructor(
    private readonly deps: { readonly node: NodeLife; readonly log: Logger; plugins(): Plugins | undefined },
  ) {}

  async create({ record, spec }: Creation, call: Call): Promise<OciSpec> {
    const container = containerMessage(record, spec);
    const adjustment = await this.#plugins?.create({ pod: this.#podOf(record), container }, call);
    if (adjustment !== undefined) refuseAdjustment(adjustment);
    return spec;
  }

  async container(event: ContainerEvent, record: ContainerRecord, call: Call = {}): Promise<void> {
    await (await this.prepareContainer(event, record))(call);
  }

  /** Makes the message now; what is returned sends it. */
  async prepareContainer(event: ContainerEvent, record: ContainerRecord): Promise<(call?: Call) => Promise<void>> {
    const request = { pod: this.#podOf(record), container: await this.#message(record) };
    return async (call = {}) => await this.#plugins?.notify(event, request, call);
  }

  async stop(record: ContainerRecord): Promise<void> {
    await this.#plugins?.stop({ pod: this.#podOf(record), container: await this.#message(record) });
  }

  async pod(event: PodEvent, record: SandboxRecord, call: Call = {}): Promise<void> {
    await this.#plugins?.notify(event, { pod: podMessage(record) }, call);
  }

  async state(): Promise<RuntimeState> {
    const { node } = this.deps;
    const pods = await mapInTurns([...node.pods()], podMessage);
    const alive = [...node.containers()].filter(({ state }) => state !== "exited");
    const containers: Container[] = [];
    for (let i = 0; i < alive.length; i += READS_AT_A_TIME) {
      containers.push(...await Promise.all(alive.slice(i, i + READS_AT_A_TIME).map((record) => this.#message(record))));
    }
    return { pods, containers };
  }

  update(updates: readonly ContainerUpdate[]): Promise<Array<{ update: ContainerUpdate; reason: string }>> {
    return Promise.resolve(updates.map((update) => ({ update, reason: "updates are not supported by this version" })));
  }

  async evict(evictions: readonly ContainerEviction[]): Promise<void> {
    const { node, log } = this.deps;
    await Promise.all(evictions.map(async ({ containerId, reason }) => {
      log.info(`a plugin evicts a container: ${reason}`, { container: containerId });
      try {
        await node.stop(containerId, { timeoutMs: 0, signal: AbortSignal.timeout(EVICTION_LIMIT_MS) });
      } catch (error) {
        log.error(`eviction failed: ${messageOf(error)}`, { container: containerId });
      }
    }));
  }

  get #plugins(): Plugins | undefined {
    return this.deps.plugins();
  }

  #podOf(record: ContainerRecord): PodSandbox | undefined {
    const pod = this.deps.node.pod(record.sandboxId);
    return pod === undefined ? undefined : podMessage(pod);
  }

  async #message(record: ContainerRecord): Promise<Container> {
    return containerMessage(record, await this.deps.node.specOf(record) as OciSpec | undefined);
  }
}

/** What is not carried out must not pass unnoticed. */
function refuseAdjustment(adjustment: ContainerAdjustment): void {
  const sizeOf = (one: ContainerAdjustment): number => ContainerAdjustment.encode(one).finish().length;
  const nothing = message(ContainerAdjustment, {
    hooks: message(Hooks),
    linux: message(LinuxContainerAdjustment, { resources: message(LinuxResources) }),
  });
  if (sizeOf(adjustment) === sizeOf(nothing)) return;
  throw new UnimplementedError("a plugin adjusts the container, which is not supported yet");
}
