import { abortable } from "../base/keyed_mutex.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf, NotFoundError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { type CgroupDriver, podCgroup } from "../cgroup/paths.ts";
import type { CgroupStats } from "../cgroup/stats/cgroup_stats.ts";
import type { MemoryStats } from "../cgroup/stats/memory.ts";
import type { ContainerStats } from "../container/stats.ts";
import { allInTurns } from "../base/turns.ts";
import type { ContainerRecord } from "../container/types.ts";
import type { NetworkStats } from "../network/interface_stats.ts";
import type { SandboxRecord } from "./types.ts";

/** What a pod uses at one moment. */
export interface SandboxStats {
  readonly record: SandboxRecord;
  /** Of the pod's cgroup; of all containers together where the pod has none of its own. */
  readonly cgroup?: CgroupStats;
  /** Absent for pods on the node's network. */
  readonly network?: NetworkStats;
  /** Of containers that run. */
  readonly containers: readonly ContainerStats[];
}

/** Where the figures come from. */
export interface SandboxStatsDeps {
  readonly driver: CgroupDriver;
  readonly cgroups: {
    /** Undefined when the cgroup does not exist. */
    read(path: string): Promise<CgroupStats | undefined>;
  };
  readonly interfaces: {
    /** Undefined when the namespace does not exist. */
    read(namespace: string): Promise<NetworkStats | undefined>;
  };
  readonly containerStats: {
    list(records: Iterable<ContainerRecord>): Promise<readonly ContainerStats[]>;
  };
  readonly containers: { list(): Iterable<ContainerRecord> };
  readonly sandboxes: { list(): Iterable<SandboxRecord> };
  readonly clock: Clock;
  readonly log: Logger;
}

/** The figures of pods, at most a second old. */
export class SandboxStatsReader {
  constructor(private readonly deps: SandboxStatsDeps) {}

  /** Of those among `records` that are ready, in their order. */
  async list(
    records: Iterable<SandboxRecord>,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<readonly SandboxStats[]> {
    return await abortable(this.#readAll([...records].filter(isReady)), options.signal);
  }

  /** Of one pod; of one that is not ready, its name only. */
  async get(record: SandboxRecord, options: { readonly signal?: AbortSignal } = {}): Promise<SandboxStats> {
    if (!isReady(record)) return { record, containers: [] };
    const [stats] = await abortable(this.#readAll([record]), options.signal);
    if (stats === undefined) throw new NotFoundError("pod sandbox", record.id);
    return stats;
  }

  async #readAll(records: readonly SandboxRecord[]): Promise<SandboxStats[]> {
    const wanted = new Set(records.map(({ id }) => id));
    const own = [...this.deps.containers.list()].filter(({ sandboxId }) => wanted.has(sandboxId));
    const containers = Map.groupBy(
      await this.deps.containerStats.list(own),
      ({ record: { sandboxId } }) => sandboxId,
    );
    const shared = this.#sharedParents();
    return await allInTurns(records, (record) =>
      this.#read(record, {
        containers: containers.get(record.id) ?? [],
        ownCgroup: record.spec.cgroupParent !== "" && !shared.has(record.cgroupParent),
      }));
  }

  async #read(
    record: SandboxRecord,
    { containers, ownCgroup }: { readonly containers: readonly ContainerStats[]; readonly ownCgroup: boolean },
  ): Promise<SandboxStats> {
    const { clock } = this.deps;
    const [pod, network] = await Promise.all([
      ownCgroup ? this.#figures(record) : undefined,
      this.#network(record),
    ]);
    const cgroup = pod ?? sumOf(containers.flatMap((one) => one.cgroup ?? []), clock.nowNanos());
    return { record, cgroup, ...(network === undefined ? {} : { network }), containers };
  }

  /** One pod that cannot be read takes nothing away from the answer about the others. */
  async #figures(record: SandboxRecord): Promise<CgroupStats | undefined> {
    const { driver, cgroups, log } = this.deps;
    try {
      // Throws for a record of a time when the node had another cgroup driver.
      return await cgroups.read(podCgroup({ driver, parent: record.cgroupParent }));
    } catch (error) {
      log.warn(`cannot read the cgroup of a pod: ${messageOf(error)}`, { sandbox: record.id });
      return undefined;
    }
  }

  async #network(record: SandboxRecord): Promise<NetworkStats | undefined> {
    const pin = record.namespaces.network;
    if (pin === undefined) return undefined;
    try {
      return await this.deps.interfaces.read(pin);
    } catch (error) {
      this.deps.log.warn(`cannot read the interfaces of a pod: ${messageOf(error)}`, { sandbox: record.id });
      return undefined;
    }
  }

  /** Cgroups that several pods were given: their figures are nobody's. */
  #sharedParents(): ReadonlySet<string> {
    const seen = new Set<string>();
    const shared = new Set<string>();
    for (const record of this.deps.sandboxes.list()) {
      if (!isReady(record)) continue;
      if (seen.has(record.cgroupParent)) shared.add(record.cgroupParent);
      seen.add(record.cgroupParent);
    }
    return shared;
  }
}

/** Counters of several cgroups together. Pressure cannot be added up, nor what each may still take. */
function sumOf(all: readonly CgroupStats[], nowNanos: bigint): CgroupStats {
  const cpus = all.flatMap(({ cpu }) => cpu ?? []);
  const rates = cpus.flatMap(({ usageNanoCores }) => usageNanoCores ?? []);
  const memories = all.flatMap(({ memory }) => memory ?? []);
  const sum = (key: Exclude<keyof MemoryStats, "pressure" | "availableBytes">): number =>
    memories.reduce((total, memory) => total + memory[key], 0);
  const add = (values: readonly bigint[]): bigint => values.reduce((total, value) => total + value, 0n);
  return {
    // The oldest part.
    atNanos: all.reduce((oldest, { atNanos }) => atNanos < oldest ? atNanos : oldest, nowNanos),
    cpu: {
      usageNanos: add(cpus.map(({ usageNanos }) => usageNanos)),
      ...(rates.length < cpus.length ? {} : { usageNanoCores: add(rates) }),
    },
    memory: {
      usageBytes: sum("usageBytes"),
      workingSetBytes: sum("workingSetBytes"),
      rssBytes: sum("rssBytes"),
      pageFaults: sum("pageFaults"),
      majorPageFaults: sum("majorPageFaults"),
    },
    pids: { current: all.reduce((total, { pids }) => total + (pids?.current ?? 0), 0) },
  };
}

function isReady(record: SandboxRecord): boolean {
  return record.state === "ready";
}
