import type { Counter, Gauge, Registry, Summary } from "prom-client";
import { ContainerMetrics, type ContainerObserver, type MakeCounter } from "./container_metrics.ts";
import { sampleEventLoop } from "./event_loop.ts";
import { ImageMetrics, type ImageObserver, type MakeHistogram } from "./image_metrics.ts";
import { noPullProcesses, ProcessMetrics, type ProcessProbes, type PullProcessObserver } from "./process_metrics.ts";

/** Stages take from a millisecond (a cgroup) to minutes (a disk that does not answer). */
const STAGE_BUCKETS = [0.005, 0.025, 0.1, 0.5, 2.5, 10, 60];

/** Put before the name of each metric. */
export const METRIC_PREFIX = "container_runtime_crio_";

/** Told of the end of each operation. */
export interface OperationObserver {
  /** @param operation name of the RPC, e.g. `RunPodSandbox`; @param durationMs how long it took */
  observe(operation: string, durationMs: number, failed: boolean): void;
}

/** Everything that the daemon's metrics are told. */
export interface DaemonObserver extends OperationObserver {
  readonly containers: ContainerObserver;
  readonly images: ImageObserver;
  readonly pullProcesses: PullProcessObserver;
  /** Which handler pods get that name none; takes the place of what was said before. */
  defaultRuntime(name: string): void;
}

/** For a daemon without metrics. */
export const noMetrics: DaemonObserver = {
  observe: (): void => {},
  defaultRuntime: (): void => {},
  containers: {
    eventDropped: (): void => {},
    oomKilled: (): void => {},
    containerRemoved: (): void => {},
    seccompNotified: (): void => {},
    monitorLost: (): void => {},
    stalled: (): void => {},
    staged: (): void => {},
  },
  pullProcesses: noPullProcesses,
  images: {
    received: (): void => {},
    layerDone: (): void => {},
    layerReused: (): void => {},
    skipped: (): void => {},
    succeeded: (): void => {},
    failed: (): void => {},
  },
};

export interface MetricsOptions {
  /** Names of the metrics to offer, with or without `crio_` or `container_runtime_` before them. Default: all. */
  readonly collectors?: readonly string[];
  /** What is known of processes. Default: nothing but what the JavaScript engine tells. */
  readonly probes?: ProcessProbes;
}

const noProbes: ProcessProbes = {
  self: () => Promise.resolve({}),
  zombies: () => Promise.resolve(0),
  residentBytes: () => Promise.resolve(undefined),
};

/** The daemon's metrics; made only where the endpoint is on, because the library costs start-up time and memory. */
export class Metrics implements DaemonObserver {
  readonly containers: ContainerObserver;
  readonly images: ImageObserver;
  readonly pullProcesses: PullProcessObserver;
  readonly #processes: ProcessMetrics;
  readonly #registry: Registry;
  readonly #total: Counter<"operation"> | undefined;
  readonly #errors: Counter<"operation"> | undefined;
  readonly #defaultRuntime: Gauge<"runtime"> | undefined;
  readonly #latency: Gauge<"operation"> | undefined;
  readonly #quantiles: Summary<"operation"> | undefined;

  private constructor(
    client: typeof import("./_prom_client.ts"),
    { wanted, probes }: { readonly wanted: (name: string) => boolean; readonly probes: ProcessProbes },
  ) {
    this.#registry = new client.Registry();
    const common = { registers: [this.#registry], labelNames: ["operation"] as const };
    const make = <T>(name: string, build: (name: string) => T): T | undefined => {
      return wanted(name) ? build(METRIC_PREFIX + name) : undefined;
    };
    this.#total = make("operations_total", (name) => {
      return new client.Counter({ ...common, name, help: "Operations by name." });
    });
    this.#errors = make("operations_errors_total", (name) => {
      return new client.Counter({ ...common, name, help: "Operations that failed, by name." });
    });
    this.#latency = make("operations_latency_seconds", (name) => {
      return new client.Gauge({ ...common, name, help: "Duration of the last operation in seconds, by name." });
    });
    this.#quantiles = make("operations_latency_seconds_total", (name) => {
      // Old samples age out: the digests stay small however long the daemon runs.
      const window = { maxAgeSeconds: 600, ageBuckets: 2, percentiles: [0.5, 0.9, 0.99], pruneAgedBuckets: true };
      return new client.Summary({ ...common, ...window, name, help: "Durations of operations in seconds, by name." });
    });
    this.#defaultRuntime = make("default_runtime", (name) => {
      const common = { registers: [this.#registry], labelNames: ["runtime"] as const };
      return new client.Gauge({ ...common, name, help: "1 for the runtime handler of pods that name none." });
    });
    const makeCounter: MakeCounter = (name, { help, labelNames = [] }) =>
      make(name, (name) => new client.Counter({ registers: [this.#registry], labelNames, name, help }));
    const stages = new client.Histogram({
      registers: [this.#registry],
      labelNames: ["stage"],
      buckets: STAGE_BUCKETS,
      name: `${METRIC_PREFIX}operations_stage_seconds`,
      help: "Durations of the stages of operations on pods and containers in seconds.",
    });
    this.containers = new ContainerMetrics(makeCounter, stages);
    const makeHistogram: MakeHistogram = (name, { help, buckets }) =>
      make(name, (name) => new client.Histogram({ registers: [this.#registry], name, help, buckets: [...buckets] }));
    this.images = new ImageMetrics(makeCounter, makeHistogram);
    const defunct = wanted("processes_defunct");
    this.#processes = new ProcessMetrics(client, this.#registry, { probes, prefix: METRIC_PREFIX, defunct });
    this.pullProcesses = this.#processes;
  }

  /** Loads the metrics library. */
  static async create(options: MetricsOptions = {}): Promise<Metrics> {
    const names = options.collectors?.map((name) => name.replace(/^(?:container_runtime_)?(?:crio_)?/, ""));
    const wanted = names === undefined ? undefined : new Set(names);
    const { probes = noProbes } = options;
    return new Metrics(await import("./_prom_client.ts"), { wanted: (name) => wanted?.has(name) ?? true, probes });
  }

  /** Takes samples of the event loop from now on; disposing ends that. */
  watchEventLoop(): Disposable {
    return sampleEventLoop((seconds) => this.#processes.delayed(seconds));
  }

  observe(operation: string, durationMs: number, failed: boolean): void {
    const seconds = durationMs / 1000;
    this.#total?.inc({ operation });
    if (failed) this.#errors?.inc({ operation });
    this.#latency?.set({ operation }, seconds);
    this.#quantiles?.observe({ operation }, seconds);
  }

  defaultRuntime(name: string): void {
    this.#defaultRuntime?.reset();
    this.#defaultRuntime?.set({ runtime: name }, 1);
  }

  /** All metrics in the text format of Prometheus. */
  async text(): Promise<string> {
    await this.#processes.refresh();
    return await this.#registry.metrics();
  }

  /** Of what `text` gives. */
  get contentType(): string {
    return this.#registry.contentType;
  }
}
