import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { allInTurns } from "../base/turns.ts";
import { type CgroupDriver, containerCgroup } from "../cgroup/paths.ts";
import type { CgroupDetails, DetailKind } from "../cgroup/stats/cgroup_details.ts";
import type { CgroupStats } from "../cgroup/stats/cgroup_stats.ts";
import type { ProcessFigures, ProcessFiguresReader } from "./process_figures.ts";
import type { LayerUsage } from "./stats.ts";
import type { ContainerRecord } from "./types.ts";

/** Sets of metrics, as `included_pod_metrics` names them. */
export const METRIC_SETS = [
  "cpu",
  "hugetlb",
  "memory",
  "network",
  "oom",
  "process",
  "spec",
  "disk",
  "diskIO",
  "pressure",
] as const;

export type MetricSet = (typeof METRIC_SETS)[number];

/** What each set needs to know of a cgroup beyond its stats. */
const DETAILS: Readonly<Partial<Record<MetricSet, DetailKind>>> = {
  cpu: "cpu",
  memory: "memory",
  oom: "oom",
  process: "pids",
  diskIO: "io",
  hugetlb: "hugetlb",
};

/** Sets that are made of a cgroup's stats as well. */
const OF_STATS: readonly MetricSet[] = ["cpu", "memory", "pressure"];

/** A file system and what a container takes of it. */
export interface FilesystemFigures {
  readonly atNanos: bigint;
  readonly totalBytes: number;
  readonly totalInodes: number;
  readonly freeInodes: number;
  /** Absent while it is being measured for the first time. */
  readonly used?: LayerUsage;
}

/** All that the metrics of a container are made of; what no set asks for is absent. */
export interface ContainerMetrics {
  readonly record: ContainerRecord;
  /** When it was looked at. */
  readonly atNanos: bigint;
  readonly stats?: CgroupStats;
  readonly details?: CgroupDetails;
  readonly processes?: ProcessFigures;
  readonly filesystem?: FilesystemFigures;
}

/** Where the figures come from. */
export interface ContainerMetricsDeps {
  readonly sets: ReadonlySet<MetricSet>;
  readonly driver: CgroupDriver;
  /** Undefined when the cgroup does not exist. */
  readonly stats: { read(path: string): Promise<CgroupStats | undefined> };
  readonly details: { read(path: string): Promise<CgroupDetails | undefined> };
  readonly processes: Pick<ProcessFiguresReader, "read" | "retain">;
  readonly filesystem: {
    /** Of the file system of writable layers. */
    size(): Omit<FilesystemFigures, "atNanos" | "used">;
    /** What a container's writable layer takes; undefined when that is not known soon. */
    used(record: ContainerRecord): Promise<LayerUsage | undefined>;
  };
  readonly clock: Clock;
  readonly log: Logger;
}

/** The kinds of details that these sets are made of. */
export function detailKinds(sets: ReadonlySet<MetricSet>): DetailKind[] {
  return [...sets].flatMap((set) => DETAILS[set] ?? []);
}

/** Reads what metrics of containers are made of. One part that cannot be read takes nothing else away. */
export class ContainerMetricsReader {
  readonly #needsStats: boolean;
  readonly #needsDetails: boolean;

  constructor(private readonly deps: ContainerMetricsDeps) {
    this.#needsStats = OF_STATS.some((set) => deps.sets.has(set));
    this.#needsDetails = detailKinds(deps.sets).length > 0;
  }

  /** Of those among `records` that run, in their order. */
  async list(records: Iterable<ContainerRecord>): Promise<readonly ContainerMetrics[]> {
    const running = [...records].filter(({ state }) => state === "running" || state === "paused");
    this.deps.processes.retain(new Set(running.map(({ id }) => id)));
    return await allInTurns(running, (record) => this.#read(record));
  }

  async #read(record: ContainerRecord): Promise<ContainerMetrics> {
    const { sets, driver, clock } = this.deps;
    const atNanos = clock.nowNanos();
    const from = async <Value>(
      isWanted: boolean,
      read: (cgroup: string) => Promise<Value>,
    ): Promise<Value | undefined> => {
      if (!isWanted) return undefined;
      try {
        // Throws for a record of a time when the node had another cgroup driver.
        return await read(containerCgroup({ driver, parent: record.cgroupParent, id: record.id }));
      } catch (error) {
        this.deps.log.warn(`cannot read a part of the metrics: ${messageOf(error)}`, { container: record.id });
        return undefined;
      }
    };
    const [stats, details, processes, filesystem] = await Promise.all([
      from(this.#needsStats, (cgroup) => this.deps.stats.read(cgroup)),
      from(this.#needsDetails, (cgroup) => this.deps.details.read(cgroup)),
      from(sets.has("process"), (cgroup) => this.#processes(record, cgroup)),
      from(sets.has("disk"), () => this.#filesystem(record)),
    ]);
    return {
      record,
      atNanos,
      ...(stats === undefined ? {} : { stats }),
      ...(details === undefined ? {} : { details }),
      ...(processes === undefined ? {} : { processes }),
      ...(filesystem === undefined ? {} : { filesystem }),
    };
  }

  #processes({ id, process }: ContainerRecord, cgroup: string): Promise<ProcessFigures> {
    return this.deps.processes.read({ id, cgroup, ...(process === undefined ? {} : { initPid: process.pid }) });
  }

  async #filesystem(record: ContainerRecord): Promise<FilesystemFigures> {
    const { filesystem, clock } = this.deps;
    const used = await filesystem.used(record);
    const figures = { ...filesystem.size(), atNanos: clock.nowNanos() };
    return used === undefined ? figures : { ...figures, used };
  }
}
