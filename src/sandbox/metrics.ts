import { abortable } from "../base/keyed_mutex.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { allInTurns } from "../base/turns.ts";
import type { ContainerMetrics } from "../container/metrics.ts";
import type { ContainerRecord } from "../container/types.ts";
import type { NetworkStats } from "../network/interface_stats.ts";
import type { SandboxRecord } from "./types.ts";

/** All that the metrics of a pod and its running containers are made of. */
export interface PodMetrics {
  readonly record: SandboxRecord;
  /** Absent for pods on the node's network, and when no set asks for it. */
  readonly network?: NetworkStats;
  readonly containers: readonly ContainerMetrics[];
}

/** Where the figures come from. */
export interface PodMetricsDeps {
  /** Whether a set asks for the network. */
  readonly withNetwork: boolean;
  readonly interfaces: {
    /** Undefined when the namespace does not exist. */
    read(namespace: string): Promise<NetworkStats | undefined>;
  };
  readonly containerMetrics: { list(records: Iterable<ContainerRecord>): Promise<readonly ContainerMetrics[]> };
  readonly containers: { list(): Iterable<ContainerRecord> };
  readonly sandboxes: { list(): Iterable<SandboxRecord> };
  readonly log: Logger;
}

/** Reads what metrics of pods are made of, figures that are at most a second old. */
export class PodMetricsReader {
  constructor(private readonly deps: PodMetricsDeps) {}

  /** Of all pods that are ready, oldest first. */
  async list(options: { readonly signal?: AbortSignal } = {}): Promise<readonly PodMetrics[]> {
    return await abortable(this.#readAll(), options.signal);
  }

  async #readAll(): Promise<PodMetrics[]> {
    const { sandboxes, containers, containerMetrics } = this.deps;
    const ready = [...sandboxes.list()].filter(({ state }) => state === "ready");
    const ids = new Set(ready.map(({ id }) => id));
    const own = [...containers.list()].filter(({ sandboxId }) => ids.has(sandboxId));
    const [figures, networks] = await Promise.all([
      containerMetrics.list(own),
      allInTurns(ready, (record) => this.#network(record)),
    ]);
    const bySandbox = Map.groupBy(figures, ({ record: { sandboxId } }) => sandboxId);
    return ready.map((record, at) => {
      const network = networks[at];
      const pod = { record, containers: bySandbox.get(record.id) ?? [] };
      return network === undefined ? pod : { ...pod, network };
    });
  }

  async #network(record: SandboxRecord): Promise<NetworkStats | undefined> {
    const pin = record.namespaces.network;
    if (pin === undefined || !this.deps.withNetwork) return undefined;
    try {
      return await this.deps.interfaces.read(pin);
    } catch (error) {
      this.deps.log.warn(`cannot read the interfaces of a pod: ${messageOf(error)}`, { sandbox: record.id });
      return undefined;
    }
  }
}
