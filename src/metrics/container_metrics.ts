import type { Counter, Histogram } from "prom-client";

/** Told of what happens to pods and containers. */
export interface ContainerObserver {
  /** A client of events was too slow and missed one. */
  eventDropped(): void;
  /** @param name of a container that has ended for want of memory */
  oomKilled(name: string): void;
  /** @param name of a container that is no more: its figures go as well */
  containerRemoved(name: string): void;
  /** A container made a call that its seccomp profile forbids. */
  seccompNotified(name: string, syscall: string): void;
  /** The monitor of a container is gone while the container runs. */
  monitorLost(name: string): void;
  /** An operation has left a stage after this time. */
  staged(stage: string, elapsedMs: number): void;
  /** A request came again while the same operation was at `stage`. */
  stalled(stage: string): void;
}

/** Makes a metric unless the configuration leaves it out. */
export type MakeCounter = <Label extends string>(
  name: string,
  options: { readonly help: string; readonly labelNames?: readonly Label[] },
) => Counter<Label> | undefined;

/** The stages that CRI-O's metric knows (FEATURES 1.3), and ours that mean one of them. */
const STAGES: Readonly<Record<string, string>> = {
  "waiting for the pod network to be configured": "sandbox network ready",
  "sandbox files": "sandbox shm creation",
  "container creating: looking the image up": "container creating",
  ...Object.fromEntries(
    [
      "sandbox creating",
      "sandbox network ready",
      "sandbox storage creation",
      "sandbox shm creation",
      "sandbox spec configuration",
      "sandbox namespace creation",
      "sandbox network creation",
      "sandbox storage start",
      "sandbox container runtime creation",
      "container creating",
      "container storage creation",
      "container volume configuration",
      "container device creation",
      "container storage start",
      "container spec configuration",
      "container runtime creation",
    ].map((stage) => [stage, stage]),
  ),
};

/** Ours that CRI-O has no name for. */
const OWN_STAGES: ReadonlySet<string> = new Set([
  "asking plugins",
  "container removal",
  "container runtime start",
  "container stop",
  "releasing its namespaces",
  "sandbox removal",
  "stopping its containers and its network",
  "telling plugins",
  "waiting for another operation on it",
  "waiting for the pod network to be configured",
]);

/** Counters of pods and containers. */
export class ContainerMetrics implements ContainerObserver {
  readonly #dropped: Counter | undefined;
  readonly #oom: Counter | undefined;
  readonly #oomByName: Counter<"name"> | undefined;
  readonly #stalled: Counter<"stage"> | undefined;
  readonly #seccomp: Counter<"name" | "syscall"> | undefined;
  readonly #monitors: Counter<"name"> | undefined;
  /** Calls that were counted, by the container's name. */
  readonly #forbidden = new Map<string, Set<string>>();

  constructor(make: MakeCounter, private readonly stages: Histogram<"stage">) {
    this.#dropped = make("containers_events_dropped_total", { help: "Events that slow clients have missed." });
    this.#oom = make("containers_oom_total", { help: "Containers that were killed for want of memory." });
    this.#oomByName = make("containers_oom_count_total", {
      help: "Times that a container was killed for want of memory, by its name.",
      labelNames: ["name"],
    });
    this.#seccomp = make("containers_seccomp_notifier_count_total", {
      help: "Forbidden system calls of containers that are watched, by the container's name and the call.",
      labelNames: ["name", "syscall"],
    });
    this.#monitors = make("containers_stopped_monitor_count", {
      help: "Monitors that were gone while their container ran, by the container's name.",
      labelNames: ["name"],
    });
    this.#stalled = make("resources_stalled_at_stage", {
      help: "Repeated requests for a pod or container that was still being made, by the stage it was at.",
      labelNames: ["stage"],
    });
  }

  eventDropped(): void {
    this.#dropped?.inc();
  }

  oomKilled(name: string): void {
    this.#oom?.inc();
    this.#oomByName?.inc({ name });
  }

  containerRemoved(name: string): void {
    this.#oomByName?.remove({ name });
    this.#monitors?.remove({ name });
    for (const syscall of this.#forbidden.get(name) ?? []) this.#seccomp?.remove({ name, syscall });
    this.#forbidden.delete(name);
  }

  seccompNotified(name: string, syscall: string): void {
    this.#seccomp?.inc({ name, syscall });
    this.#forbidden.set(name, (this.#forbidden.get(name) ?? new Set()).add(syscall));
  }

  monitorLost(name: string): void {
    this.#monitors?.inc({ name });
  }

  staged(stage: string, elapsedMs: number): void {
    const label = OWN_STAGES.has(stage) ? stage : STAGES[stage] ?? "other";
    this.stages.observe({ stage: label }, elapsedMs / 1000);
  }

  stalled(stage: string): void {
    this.#stalled?.inc({ stage: STAGES[stage] ?? "unknown" });
  }
}
