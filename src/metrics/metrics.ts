import type { Counter, Gauge, Registry, Summary } from "prom-client";
import { ContainerMetrics, type ContainerObserver, type MakeCounter } from "./container_metrics.ts";
import { ImageMetrics, type ImageObserver, type MakeHistogram } from "./image_metrics.ts";

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
    stalled: (): void => {},
  },
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
}

/** The daemon's metrics; made only where the endpoint is on, because the library costs start-up time and memory. */
export class Metrics implements DaemonObserver {
  readonly containers: ContainerObserver;
  readonly images: ImageObserver;
  readonly #registry: Registry;
  readonly #total: Counter<"operation"> | undefined;
  readonly #errors: Counter<"operation"> | undefined;
  readonly #defaultRuntime: Gauge<"runtime"> | undefined;
  readonly #latency: Gauge<"operation"> | undefined;
  readonly #quantiles: Summary<"operation"> | undefined;

  private constructor(client: typeof import("./_prom_client.ts"), wanted: (name: string) => boolean) {
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
    this.containers = new ContainerMetrics(makeCounter);
    const makeHistogram: MakeHistogram = (name, { help, buckets }) =>
      make(name, (name) => new client.Histogram({ registers: [this.#registry], name, help, buckets: [...buckets] }));
    this.images = new ImageMetrics(makeCounter, makeHistogram);
    addProcessMetrics(client, this.#registry);
  }

  /** Loads the metrics library. */
  static async create(options: MetricsOptions = {}): Promise<Metrics> {
    const names = options.collectors?.map((name) => name.replace(/^(?:container_runtime_)?(?:crio_)?/, ""));
    const wanted = names === undefined ? undefined : new Set(names);
    return new Metrics(await import("./_prom_client.ts"), (name) => wanted?.has(name) ?? true);
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
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** Of what `text` gives. */
  get contentType(): string {
    return this.#registry.contentType;
  }
}

// The library's own process metrics poll and keep histograms of the event loop; these are read at the scrape.
function addProcessMetrics(client: typeof import("./_prom_client.ts"), registry: Registry): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    new client.Gauge({
      name,
      help,
      registers: [registry],
      collect(): void {
        this.set(read());
      },
    });
  };
  const startSeconds = performance.timeOrigin / 1000;
  gauge("process_start_time_seconds", "Start of the process since the epoch in seconds.", () => startSeconds);
  gauge("process_resident_memory_bytes", "Resident memory in bytes.", () => Deno.memoryUsage().rss);
  gauge("process_heap_bytes", "Heap of the JavaScript engine in bytes.", () => Deno.memoryUsage().heapUsed);
}
