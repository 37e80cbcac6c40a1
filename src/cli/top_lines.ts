/** The table of `crio status top`: rates out of two readings of `GET /stats`. */
import { binarySize, tableLines } from "./table.ts";

/** One reading. */
export interface StatsReading {
  readonly at: string;
  readonly cpus: number;
  readonly pods: readonly PodFigures[];
}

/** What one pod has used so far. */
export interface PodFigures {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly containers: number;
  readonly at_nanoseconds: number;
  readonly cpu_nanoseconds: number;
  readonly memory_working_set: number;
  readonly processes: number;
  readonly network?: { readonly at_nanoseconds: number; readonly rx_bytes: number; readonly tx_bytes: number };
}

/** What one pod uses. */
export interface PodRates {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly containers: number;
  readonly processes: number;
  /** Of one CPU; absent as long as there is one reading only. */
  readonly cpu_percent?: number;
  readonly memory_bytes: number;
  /** Absent also for pods in the node's network. */
  readonly rx_bytes_per_second?: number;
  readonly tx_bytes_per_second?: number;
}

/** Columns that can be sorted by. */
export const SORTS = ["cpu", "memory", "network", "name"] as const;
export type Sort = (typeof SORTS)[number];

/** The difference of two readings, largest first. */
export function ratesOf(now: StatsReading, before: StatsReading | undefined, sort: Sort): PodRates[] {
  const earlier = new Map((before?.pods ?? []).map((pod) => [pod.id, pod]));
  return now.pods.map((pod) => podRates(pod, earlier.get(pod.id))).sort((a, b) =>
    sort === "name" ? 0 : weight(b, sort) - weight(a, sort)
  ).sort((a, b) => sort === "name" ? compareNames(a, b) : 0);
}

function podRates(now: PodFigures, before: PodFigures | undefined): PodRates {
  const { id, name, namespace, containers, processes, network } = now;
  const cpu = before === undefined ? undefined : rate(
    { value: now.cpu_nanoseconds, at: now.at_nanoseconds },
    { value: before.cpu_nanoseconds, at: before.at_nanoseconds },
  );
  const flow = (key: "rx_bytes" | "tx_bytes"): number | undefined => {
    const earlier = before?.network;
    if (network === undefined || earlier === undefined) return undefined;
    return rate({ value: network[key], at: network.at_nanoseconds }, {
      value: earlier[key],
      at: earlier.at_nanoseconds,
    });
  };
  const [rx, tx] = [flow("rx_bytes"), flow("tx_bytes")];
  return {
    ...{ id, name, namespace, containers, processes, memory_bytes: now.memory_working_set },
    ...(cpu === undefined ? {} : { cpu_percent: Math.round(cpu / 1e6) / 10 }),
    ...(rx === undefined ? {} : { rx_bytes_per_second: Math.round(rx) }),
    ...(tx === undefined ? {} : { tx_bytes_per_second: Math.round(tx) }),
  };
}

interface Sample {
  readonly value: number;
  /** Nanoseconds. */
  readonly at: number;
}

/** Units per second; undefined when no time has passed, or the counter began anew. */
function rate(now: Sample, before: Sample): number | undefined {
  const seconds = (now.at - before.at) / 1e9;
  if (seconds <= 0 || now.value < before.value) return undefined;
  return (now.value - before.value) / seconds;
}

function weight(pod: PodRates, sort: Sort): number {
  if (sort === "memory") return pod.memory_bytes;
  if (sort === "network") return (pod.rx_bytes_per_second ?? 0) + (pod.tx_bytes_per_second ?? 0);
  return pod.cpu_percent ?? 0;
}

function compareNames(a: PodRates, b: PodRates): number {
  return `${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1;
}

/** A line of sums, and one for each pod. */
export function topLines(reading: StatsReading, rates: readonly PodRates[]): string[] {
  const cpu = rates.reduce((total, { cpu_percent = 0 }) => total + cpu_percent, 0);
  const memory = rates.reduce((total, { memory_bytes }) => total + memory_bytes, 0);
  const sums = `${rates.length} pods, ${cpu.toFixed(1)} % of ${reading.cpus} CPUs, ${binarySize(memory)} memory, ` +
    `at ${reading.at.slice(11, 19)} UTC`;
  const columns = [
    { title: "CPU %", right: true },
    { title: "MEMORY", right: true },
    { title: "RX/s", right: true },
    { title: "TX/s", right: true },
    { title: "PROCS", right: true },
    { title: "CTRS", right: true },
    { title: "POD" },
  ];
  const rows = rates.map((pod) => [
    pod.cpu_percent?.toFixed(1) ?? "-",
    binarySize(pod.memory_bytes),
    flowText(pod.rx_bytes_per_second),
    flowText(pod.tx_bytes_per_second),
    String(pod.processes),
    String(pod.containers),
    `${pod.namespace}/${pod.name}`,
  ]);
  return [sums, ...tableLines(columns, rows)];
}

function flowText(bytes: number | undefined): string {
  return bytes === undefined ? "-" : binarySize(bytes);
}
