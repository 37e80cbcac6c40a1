import { abortable } from "../base/keyed_mutex.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf, NotFoundError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { type CgroupDriver, containerCgroup } from "../cgroup/paths.ts";
import type { CgroupStats } from "../cgroup/stats/cgroup_stats.ts";
import { allInTurns } from "../base/turns.ts";
import type { ContainerRecord } from "./types.ts";

/** What a container uses at one moment. */
export interface ContainerStats {
  readonly record: ContainerRecord;
  /** Absent unless the container runs. */
  readonly cgroup?: CgroupStats;
  readonly writableLayer: WritableLayer;
}

/** What a container has written to its root file system. */
export interface WritableLayer {
  /** When it was measured, nanoseconds since the epoch; now while it is being measured for the first time. */
  readonly atNanos: bigint;
  /** The file system that holds it. */
  readonly mountpoint: string;
  /** Absent while it is being measured for the first time. */
  readonly usage?: { readonly bytes: number; readonly inodes: number };
}

/** A measurement of a writable layer. */
export interface LayerUsage {
  readonly bytes: number;
  readonly inodes: number;
  /** When it was made, nanoseconds since the epoch. */
  readonly atNanos: bigint;
}

/** Where the figures come from. */
export interface ContainerStatsDeps {
  readonly driver: CgroupDriver;
  readonly cgroups: {
    /** Undefined when the cgroup does not exist. */
    read(path: string): Promise<CgroupStats | undefined>;
  };
  readonly layers: {
    /** Names the file system of writable layers, as ImageFsInfo does. */
    readonly mountpoint: string;
    /** Throws NotFoundError for a container that is gone. */
    usage(containerId: string): Promise<LayerUsage>;
  };
  readonly clock: Clock;
  readonly log: Logger;
}

/** The first measurement of a layer walks its files; a list that is asked for again soon does not wait for it. */
const LIST_LAYER_WAIT_MS = 100;
const ONE_LAYER_WAIT_MS = 2000;

/** The figures of containers: of their cgroups (at most a second old) and their writable layers (ten seconds). */
export class ContainerStatsReader {
  constructor(private readonly deps: ContainerStatsDeps) {}

  /** Of those among `records` that run, in their order. One that ends meanwhile is left out. */
  async list(
    records: Iterable<ContainerRecord>,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<readonly ContainerStats[]> {
    const running = [...records].filter(runs);
    const all = await this.#readAll(running, { ...options, layerWaitMs: LIST_LAYER_WAIT_MS });
    return all.filter((stats) => stats.cgroup !== undefined);
  }

  /** Of one container; of one that does not run, what its files take. */
  async get(record: ContainerRecord, options: { readonly signal?: AbortSignal } = {}): Promise<ContainerStats> {
    const [stats] = await this.#readAll([record], { ...options, layerWaitMs: ONE_LAYER_WAIT_MS });
    if (stats === undefined) throw new NotFoundError("container", record.id);
    return stats;
  }

  async #readAll(
    records: readonly ContainerRecord[],
    { signal, layerWaitMs }: { readonly signal?: AbortSignal; readonly layerWaitMs: number },
  ): Promise<ContainerStats[]> {
    const limit = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => limit.resolve(undefined), layerWaitMs);
    try {
      return await abortable(allInTurns(records, (record) => this.#read(record, limit.promise)), signal);
    } finally {
      clearTimeout(timer);
      limit.resolve(undefined);
    }
  }

  async #read(record: ContainerRecord, layerLimit: Promise<undefined>): Promise<ContainerStats> {
    const { layers, clock } = this.deps;
    const [cgroup, usage] = await Promise.all([
      runs(record) ? this.#figures(record) : undefined,
      Promise.race([this.#layerUsage(record), layerLimit]),
    ]);
    const { mountpoint } = layers;
    return {
      record,
      ...(cgroup === undefined ? {} : { cgroup }),
      writableLayer: usage === undefined ? { atNanos: clock.nowNanos(), mountpoint } : layerOf(usage, mountpoint),
    };
  }

  /** One cgroup that cannot be read takes nothing away from the answer about the others. */
  async #figures(record: ContainerRecord): Promise<CgroupStats | undefined> {
    const { driver, cgroups, log } = this.deps;
    try {
      // Throws for a record of a time when the node had another cgroup driver.
      return await cgroups.read(containerCgroup({ driver, parent: record.cgroupParent, id: record.id }));
    } catch (error) {
      log.warn(`cannot read the cgroup: ${messageOf(error)}`, { container: record.id });
      return undefined;
    }
  }

  /** A layer that cannot be measured takes nothing else away from the answer. */
  async #layerUsage(record: ContainerRecord): Promise<LayerUsage | undefined> {
    try {
      return await this.deps.layers.usage(record.id);
    } catch (error) {
      if (!(error instanceof NotFoundError)) {
        this.deps.log.warn(`cannot measure the writable layer: ${messageOf(error)}`, { container: record.id });
      }
      return undefined;
    }
  }
}

function layerOf({ atNanos, bytes, inodes }: LayerUsage, mountpoint: string): WritableLayer {
  return { atNanos, mountpoint, usage: { bytes, inodes } };
}

function runs(record: ContainerRecord): boolean {
  return record.state === "running" || record.state === "paused";
}
