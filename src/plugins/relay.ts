import { messageOf, UnimplementedError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { mapInTurns } from "../base/turns.ts";
import type { ResourceLimits } from "../base/resources.ts";
import type { AdjustedContainer, Creation } from "../container/plugins.ts";
import type { ContainerRecord } from "../container/types.ts";
import type { Container, ContainerEviction, ContainerUpdate, LinuxResources, PodSandbox } from "../nri/gen/nri.ts";
import type { Plugins } from "../nri/plugins.ts";
import type { RuntimeState } from "../nri/synchronize.ts";
import type { OciSpec } from "../oci/spec/types.ts";
import type { SandboxRecord } from "../sandbox/types.ts";
import { adjustContainer } from "./adjust_container.ts";
import { containerMessage, podMessage } from "./messages.ts";
import { limitsMessage, limitsOf } from "./resources_message.ts";

/** Pods and containers of this node, as this folder needs them. */
export interface NodeLife {
  pods(): Iterable<SandboxRecord>;
  pod(id: string): SandboxRecord | undefined;
  containers(): Iterable<ContainerRecord>;
  /** The runtime specification of a container; undefined when it is gone. */
  specOf(record: ContainerRecord): Promise<unknown>;
  /** Whether a container is created or runs. */
  isAlive(id: string): boolean;
  changeLimits(id: string, limits: ResourceLimits): Promise<void>;
  stop(id: string, options: { timeoutMs: number; signal: AbortSignal }): Promise<void>;
}

type ContainerEvent =
  | "PostUpdateContainer"
  | "PostCreateContainer"
  | "StartContainer"
  | "PostStartContainer"
  | "RemoveContainer";
type PodEvent = "PostUpdatePodSandbox" | "RunPodSandbox" | "StopPodSandbox" | "RemovePodSandbox";
type Call = { readonly signal?: AbortSignal };

/** Specifications that are read at a time for a plugin that joins. */
const READS_AT_A_TIME = 16;
const EVICTION_LIMIT_MS = 120_000;

/** Turns records into messages and messages into deeds. Loaded with the first plugin. */
export class Relay {
  constructor(
    private readonly deps: { readonly node: NodeLife; readonly log: Logger; plugins(): Plugins | undefined },
  ) {}

  async create(creation: Creation, call: Call): Promise<AdjustedContainer | undefined> {
    const { record, spec } = creation;
    const container = containerMessage(record, spec);
    const adjustment = await this.#plugins?.create({ pod: this.#podOf(record), container }, call);
    return adjustment === undefined ? undefined : await adjustContainer(creation, adjustment);
  }

  /** The limits to set, as plugins want them. */
  async update(record: ContainerRecord, limits: ResourceLimits, call: Call): Promise<ResourceLimits> {
    const request = {
      pod: this.#podOf(record),
      container: await this.#message(record),
      linuxResources: limitsMessage(limits),
    };
    const resources = await this.#plugins?.update(request, call);
    if (resources === undefined) return limits;
    const { oomScoreAdj } = limits;
    return { ...limitsOf(resources), ...(oomScoreAdj === undefined ? {} : { oomScoreAdj }) };
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

  async updatePod(
    record: SandboxRecord,
    { overhead, resources }: { readonly overhead: ResourceLimits; readonly resources: ResourceLimits },
    call: Call,
  ): Promise<void> {
    const limits = { overheadLinuxResources: limitsMessage(overhead), linuxResources: limitsMessage(resources) };
    await this.#plugins?.notify("UpdatePodSandbox", { pod: podMessage(record), ...limits }, call);
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

  /** One after the other, as the plugins gave them. */
  async apply(
    updates: readonly ContainerUpdate[],
  ): Promise<Array<{ update: ContainerUpdate; reason: string }>> {
    const failed: Array<{ update: ContainerUpdate; reason: string }> = [];
    for (const update of updates) {
      const { containerId, linux } = update;
      // It may have gone while the plugin was thinking.
      if (linux?.resources === undefined || !this.deps.node.isAlive(containerId)) continue;
      try {
        refuseBeyondLimits(linux.resources);
        await this.deps.node.changeLimits(containerId, limitsOf(linux.resources));
      } catch (error) {
        failed.push({ update, reason: messageOf(error) });
      }
    }
    return failed;
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

/** An update goes through what a client of the CRI can change; the rest must not pass unnoticed. */
function refuseBeyondLimits({ blockioClass, rdtClass, pids }: LinuxResources): void {
  const wanted = Object.entries({ blockioClass, rdtClass, pids }).filter(([, value]) => value !== undefined);
  if (wanted.length === 0) return;
  throw new UnimplementedError(`an update of ${wanted.map(([name]) => name).join(", ")} is not supported yet`);
}
