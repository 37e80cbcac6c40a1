/**
 * What pods and containers use, for stats and metrics: readers of the kernel's figures, and the loop that reads ahead of
 * requests where the configuration asks for one.
 *
 * @module
 */
import { systemClock, within } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import { every } from "../base/periodic.ts";
import type { CgroupDriver } from "../cgroup/paths.ts";
import { CgroupDetailsReader, hugePageSizes } from "../cgroup/stats/cgroup_details.ts";
import { CgroupStatsReader } from "../cgroup/stats/cgroup_stats.ts";
import { CgroupTree } from "../cgroup/tree.ts";
import type { Config } from "../config/schema.ts";
import { ContainerMetricsReader, detailKinds, METRIC_SETS, type MetricSet } from "../container/metrics.ts";
import { ProcessFiguresReader } from "../container/process_figures.ts";
import { ContainerStatsReader, type LayerUsage } from "../container/stats.ts";
import type { MetricsOperations, StatsOperations } from "../cri/operations.ts";
import { BlockDeviceNames } from "../linux/block_devices.ts";
import type { Host } from "../linux/host.ts";
import { filesystemStats } from "../linux/statfs.ts";
import { InterfaceStatsReader } from "../network/interface_stats.ts";
import type { Pods } from "./operations.ts";
import { PodMetricsReader } from "../sandbox/metrics.ts";
import { SandboxStatsReader } from "../sandbox/stats.ts";
import type { Store } from "../storage/store.ts";

/** Disposing ends the loop. */
export interface Figures extends Disposable {
  readonly stats: StatsOperations;
  readonly metrics: MetricsOperations;
}

interface FiguresDeps {
  readonly pods: Pods;
  readonly host: Host;
  readonly store: Store;
  readonly log: Logger;
}

/** Figures hold this long when they are read on demand. */
const ON_DEMAND_AGE_MS = 1000;
/** With a period they are given away a little before the next reading, so that the loop finds them too old. */
const PERIOD_SHARE = 0.9;

/** The first measurement of a layer walks its files: metrics wait for it, as nobody asks for them more than once a while. */
const LAYER_WAIT_MS = 2000;

/** Makes the readers, and starts the loop where `collection_period` is set. */
export async function openFigures(config: Config, deps: FiguresDeps): Promise<Figures> {
  const { pods, host, log } = deps;
  const clock = systemClock;
  const periodMs = 1000 * (config.stats.collectionPeriodSeconds || config.stats.statsCollectionPeriodSeconds);
  const maxAgeMs = Math.max(ON_DEMAND_AGE_MS, periodMs * PERIOD_SHARE);
  const shared = {
    ...deps,
    maxAgeMs,
    cgroups: new CgroupStatsReader(host.cgroup, clock, { maxAgeMs }),
    interfaces: new InterfaceStatsReader(clock, { maxAgeMs }),
  };
  const stats = openStats(config, shared);
  const metrics = await openMetrics(config, shared);
  const collect = async (): Promise<void> => {
    const signal = AbortSignal.timeout(periodMs);
    await stats.sandboxes.list(pods.sandboxes.list(), { signal });
    await metrics.list({ signal });
  };
  const loop = periodMs === 0 ? undefined : every(periodMs, collect, log);
  return { stats, metrics, [Symbol.dispose]: () => loop?.[Symbol.dispose]() };
}

interface SharedReaders extends FiguresDeps {
  readonly maxAgeMs: number;
  readonly cgroups: CgroupStatsReader;
  readonly interfaces: InterfaceStatsReader;
}

function openStats(config: Config, { pods, store, log, cgroups, interfaces }: SharedReaders): StatsOperations {
  const driver = config.runtime.cgroupManager as CgroupDriver;
  const clock = systemClock;
  // The same name as in ImageFsInfo: the kubelet looks a file system up once by it.
  const layers = {
    mountpoint: `${config.crio.root}/overlay-images`,
    usage: (id: string): Promise<LayerUsage> => store.layerUsage(id),
  };
  const containers = new ContainerStatsReader({ driver, cgroups, layers, clock, log });
  const sandboxes = new SandboxStatsReader({
    ...pods,
    driver,
    cgroups,
    interfaces,
    containerStats: containers,
    clock,
    log,
  });
  return { containers, sandboxes };
}

async function openMetrics(
  config: Config,
  { pods, host, store, log, maxAgeMs, cgroups, interfaces }: SharedReaders,
): Promise<MetricsOperations> {
  const clock = systemClock;
  const sets = metricSets(config.stats.includedPodMetrics);
  const tree = new CgroupTree(host.cgroup);
  const devices = new BlockDeviceNames(clock);
  const reader = new PodMetricsReader({
    ...pods,
    withNetwork: sets.has("network"),
    interfaces,
    log,
    containerMetrics: new ContainerMetricsReader({
      sets,
      driver: config.runtime.cgroupManager as CgroupDriver,
      stats: cgroups,
      details: new CgroupDetailsReader(host.cgroup, clock, {
        kinds: detailKinds(sets),
        pageSizes: await hugePageSizes(),
        deviceNames: (device) => devices.find(device),
        maxAgeMs,
      }),
      processes: new ProcessFiguresReader({ processes: (cgroup) => tree.processes(cgroup), clock, maxAgeMs }),
      filesystem: {
        size: () => filesystemStats(config.crio.root),
        used: ({ id }) => within(store.layerUsage(id), LAYER_WAIT_MS),
      },
      clock,
      log,
    }),
  });
  return { sets, list: (call) => reader.list(call) };
}

/** `all` is each of them. */
function metricSets(names: readonly string[]): ReadonlySet<MetricSet> {
  return new Set(METRIC_SETS.filter((set) => names.includes(set) || names.includes("all")));
}
