/** The usual metrics of a process, under the names that dashboards know, and those of the processes that pull. */
import type { Counter, Gauge, Histogram, Registry } from "prom-client";

/** What is read at a scrape. Numbers that are not known are absent. */
export interface ProcessProbes {
  self(): Promise<{
    readonly cpuSeconds?: number;
    readonly virtualBytes?: number;
    readonly residentBytes?: number;
    readonly openFiles?: number;
    readonly maxOpenFiles?: number;
  }>;
  /** Processes of the node that have ended and are not reaped; may be some seconds old. */
  zombies(): Promise<number>;
  /** Resident bytes of a process; undefined when it is gone. */
  residentBytes(pid: number): Promise<number | undefined>;
}

/** Told of the processes that pull. */
export interface PullProcessObserver {
  started(pid: number): void;
  /** @param how.asked whether it was told to go */
  ended(pid: number, how: { readonly asked: boolean }): void;
  /** A job was given to a process, or is done. */
  jobs(change: 1 | -1): void;
}

/** For whoever counts nothing. */
export const noPullProcesses: PullProcessObserver = { started: () => {}, ended: () => {}, jobs: () => {} };

type Client = typeof import("./_prom_client.ts");

/** Prometheus' buckets would miss what matters here: a thread that is held up for some milliseconds. */
const DELAY_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** See the module comment. Nothing is read between scrapes. */
export class ProcessMetrics implements PullProcessObserver {
  readonly #probes: ProcessProbes;
  readonly #values = new Map<string, Gauge>();
  readonly #cpu: Counter;
  readonly #defunct: Gauge | undefined;
  readonly #starts: Counter;
  readonly #failures: Counter;
  readonly #delay: Histogram;
  readonly #pulling = new Set<number>();
  #cpuSeconds = 0;
  #jobs = 0;

  /** @param options.prefix of metrics that are not a process's usual ones; @param options.defunct whether zombies are counted */
  constructor(
    client: Client,
    registry: Registry,
    options: { readonly probes: ProcessProbes; readonly prefix: string; readonly defunct: boolean },
  ) {
    const { probes, prefix, defunct } = options;
    const registers = [registry];
    this.#probes = probes;
    this.#cpu = new client.Counter({
      registers,
      name: "process_cpu_seconds_total",
      help: "CPU time of the daemon in seconds, user and system.",
    });
    for (const [name, help] of GAUGES) this.#values.set(name, new client.Gauge({ registers, name, help }));
    this.#defunct = defunct
      ? new client.Gauge({ registers, name: `${prefix}processes_defunct`, help: "Zombies of the node." })
      : undefined;
    for (const [name, help] of PULL_GAUGES) {
      this.#values.set(name, new client.Gauge({ registers, name: prefix + name, help }));
    }
    this.#starts = new client.Counter({
      registers,
      name: `${prefix}pull_process_starts_total`,
      help: "Processes that were started to pull images.",
    });
    this.#failures = new client.Counter({
      registers,
      name: `${prefix}pull_process_failures_total`,
      help: "Processes for pulls that ended before they were told to.",
    });
    this.#delay = new client.Histogram({
      registers,
      name: `${prefix}event_loop_delay_seconds`,
      buckets: DELAY_BUCKETS,
      help: "How long what is due waits for the daemon's thread, in seconds, by samples.",
    });
  }

  /** Takes a sample of the event loop. */
  delayed(seconds: number): void {
    this.#delay.observe(seconds);
    this.#set("nodejs_eventloop_lag_seconds", seconds);
  }

  started(pid: number): void {
    this.#pulling.add(pid);
    this.#starts.inc();
  }

  ended(pid: number, { asked }: { readonly asked: boolean }): void {
    this.#pulling.delete(pid);
    if (!asked) this.#failures.inc();
  }

  jobs(change: 1 | -1): void {
    this.#jobs += change;
  }

  /** Reads what a scrape shows. */
  async refresh(): Promise<void> {
    const [self, zombies, resident] = await Promise.all([
      this.#probes.self(),
      this.#defunct === undefined ? undefined : this.#probes.zombies(),
      Promise.all([...this.#pulling].map((pid) => this.#probes.residentBytes(pid))),
    ]);
    if (zombies !== undefined) this.#defunct?.set(zombies);
    if (self.cpuSeconds !== undefined && self.cpuSeconds > this.#cpuSeconds) {
      this.#cpu.inc(self.cpuSeconds - this.#cpuSeconds);
      this.#cpuSeconds = self.cpuSeconds;
    }
    const { heapUsed, heapTotal, external, rss } = Deno.memoryUsage();
    this.#set("process_start_time_seconds", performance.timeOrigin / 1000);
    this.#set("process_resident_memory_bytes", self.residentBytes ?? rss);
    this.#set("process_virtual_memory_bytes", self.virtualBytes);
    this.#set("process_open_fds", self.openFiles);
    this.#set("process_max_fds", self.maxOpenFiles);
    this.#set("process_heap_bytes", heapUsed);
    this.#set("nodejs_heap_size_used_bytes", heapUsed);
    this.#set("nodejs_heap_size_total_bytes", heapTotal);
    this.#set("nodejs_external_memory_bytes", external);
    this.#set("pull_processes", this.#pulling.size);
    this.#set("pull_process_jobs", this.#jobs);
    const bytes = resident.reduce<number>((sum, one) => sum + (one ?? 0), 0);
    this.#set("pull_process_resident_memory_bytes", bytes);
  }

  #set(name: string, value: number | undefined): void {
    if (value !== undefined) this.#values.get(name)?.set(value);
  }
}

const GAUGES: readonly (readonly [name: string, help: string])[] = [
  ["process_start_time_seconds", "Start of the process since the epoch in seconds."],
  ["process_resident_memory_bytes", "Resident memory in bytes."],
  ["process_virtual_memory_bytes", "Address space in bytes; V8 reserves much more than it uses."],
  ["process_open_fds", "Open files."],
  ["process_max_fds", "How many files may be open."],
  ["process_heap_bytes", "Heap of the JavaScript engine in use, in bytes."],
  ["nodejs_heap_size_used_bytes", "Heap of the JavaScript engine in use, in bytes."],
  ["nodejs_heap_size_total_bytes", "Heap of the JavaScript engine, in bytes."],
  ["nodejs_external_memory_bytes", "Memory that the heap holds on to outside of itself, in bytes."],
  ["nodejs_eventloop_lag_seconds", "The last sample of the event loop's delay in seconds."],
];

const PULL_GAUGES: readonly (readonly [name: string, help: string])[] = [
  ["pull_processes", "Processes for pulls that are there."],
  ["pull_process_jobs", "Pulls and checks of signatures that run in them."],
  ["pull_process_resident_memory_bytes", "Resident memory of these processes in bytes."],
];
