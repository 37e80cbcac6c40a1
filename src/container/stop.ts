import { FailedPreconditionError, firstFailure, messageOf } from "../base/errors.ts";
import type { ContainerId } from "../base/ids.ts";
import { impatience } from "../base/joint_operations.ts";
import { abortable } from "../base/keyed_mutex.ts";
import type { ContainerDeps } from "./deps.ts";
import { noteEndIfOver } from "./restore.ts";
import { signalNumber } from "./signals.ts";
import type { ContainerRecord } from "./types.ts";

const SIGKILL = 9;
const FIRST_KILL_WAIT_MS = 20;
const LONGEST_KILL_WAIT_MS = 120_000;
/** After this long without an end the log says why a kill may not work. */
const STUCK_MS = 60_000;

/** One container's way from the first stop request to its end; all requests share it. */
interface StopLoop {
  readonly done: Promise<void>;
  /** Brings the kill forward; never puts it off. */
  hurry(killAtMs: number): void;
}

/**
 * Stops containers: one loop for each, detached from the requests, which only wait for it and can only shorten the
 * time that the container still has (FEATURES 1.4). Nothing is polled: the exit file's event ends the wait.
 */
export class StopLoops {
  readonly #loops = new Map<string, StopLoop>();
  readonly #killing = new Set<string>();

  constructor(private readonly deps: ContainerDeps) {}

  /**
   * Stops a container and resolves when it has ended. Succeeds when it has ended already.
   *
   * @param options.timeoutMs time between the stop signal and SIGKILL; 0 kills at once
   * @param options.signal of the waiting request; the loop goes on without it
   */
  async stop(record: ContainerRecord, options: { timeoutMs: number; signal: AbortSignal }): Promise<void> {
    if (record.state === "exited") return;
    const killAtMs = this.deps.clock.monotonicMs() + options.timeoutMs;
    const loop = this.#loops.get(record.id) ?? this.#begin(record, killAtMs);
    loop.hurry(killAtMs);
    const beganMs = performance.now();
    try {
      await abortable(loop.done, options.signal);
    } catch (error) {
      if (!options.signal.aborted) throw error;
      const stage = this.#killing.has(record.id) ? "waiting for its end after SIGKILL" : "waiting for its end";
      throw impatience(`stop container ${record.id}`, { stage, beganMs, reason: options.signal.reason });
    }
  }

  /** @throws FailedPreconditionError once the container is being killed: no new process may start in it */
  refuseWhileKilling(id: ContainerId): void {
    if (this.#killing.has(id)) throw new FailedPreconditionError(`container ${id} is being killed`);
  }

  /** Containers that are being stopped. */
  get size(): number {
    return this.#loops.size;
  }

  #begin(record: ContainerRecord, killAtMs: number): StopLoop {
    const wake = new Wake(killAtMs, () => this.deps.clock.monotonicMs());
    const done = this.#run(record, wake).finally(() => {
      this.#loops.delete(record.id);
      this.#killing.delete(record.id);
      wake.cancel();
    });
    // Requests that await it get the failure; without any, it is said here.
    done.catch((error) => {
      this.deps.log.error(`stop failed: ${messageOf(error)}`, { container: record.id });
    });
    const loop: StopLoop = { done, hurry: (atMs) => wake.bringForward(atMs) };
    this.#loops.set(record.id, loop);
    return loop;
  }

  async #run(record: ContainerRecord, wake: Wake): Promise<void> {
    const { exits, log, clock } = this.deps;
    const began = clock.monotonicMs();
    const ended = exits.wait(record.id, { signal: new AbortController().signal });
    if (record.state !== "created" && wake.remainingMs() > 0) {
      this.#send(record, signalNumber(record.stopSignal));
      if (await wake.beforeDeadline(ended)) return await this.#sweep(record);
      log.warn(`container did not stop in ${Math.round(clock.monotonicMs() - began)} ms: killing it`, {
        container: record.id,
        signal: record.stopSignal,
      });
    }
    this.#killing.add(record.id);
    await this.#kill(record, ended);
    await this.#sweep(record);
  }

  /** Without a PID namespace of its own a container's other processes outlive its init process. */
  async #sweep(record: ContainerRecord): Promise<void> {
    if (record.spec.security.namespaces.pid.kind === "container") return;
    await this.deps.cgroups.killAll(record.cgroupParent, record.id);
  }

  async #kill(record: ContainerRecord, ended: Promise<void>): Promise<void> {
    const { clock, log, runtimes } = this.deps;
    const began = clock.monotonicMs();
    let told = false;
    if (record.state === "paused") {
      // A frozen cgroup v1 delivers no SIGKILL.
      await runtimes.find(record.runtimeHandler).resume(record.id, { signal: AbortSignal.timeout(10_000) })
        .catch((error) => log.warn(`resume before kill failed: ${messageOf(error)}`, { container: record.id }));
    }
    for (let waitMs = FIRST_KILL_WAIT_MS;; waitMs = Math.min(waitMs * 2, LONGEST_KILL_WAIT_MS)) {
      this.#send(record, SIGKILL);
      if (await settlesWithin(ended, waitMs)) return;
      // A monitor that is gone tells nobody: when the process is gone too, that is the end.
      await noteEndIfOver(this.deps, record);
      if (told || clock.monotonicMs() - began < STUCK_MS) continue;
      told = true;
      log.error(
        "container does not end after SIGKILL: a process may be in uninterruptible sleep (state D); look at its " +
          "stack in /proc/<pid>/stack and at the storage that it waits for",
        { container: record.id, pid: record.process?.pid },
      );
    }
  }

  #send(record: ContainerRecord, signal: number): void {
    if (record.process === undefined) return;
    try {
      this.deps.processes.signal(record.process, signal);
    } catch (error) {
      this.deps.log.warn(`signal ${signal} failed: ${messageOf(firstFailure(error))}`, { container: record.id });
    }
  }
}

/** Whether `event` settles in time; leaves no timer behind. */
async function settlesWithin(event: Promise<void>, ms: number): Promise<boolean> {
  const late = Promise.withResolvers<"late">();
  const timer = setTimeout(() => late.resolve("late"), ms);
  try {
    return (await Promise.race([event, late.promise])) !== "late";
  } finally {
    clearTimeout(timer);
  }
}

/** A deadline that can only come nearer. */
class Wake {
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #reached = Promise.withResolvers<"late">();

  constructor(private atMs: number, private readonly now: () => number) {
    this.#arm();
  }

  remainingMs(): number {
    return this.atMs - this.now();
  }

  bringForward(atMs: number): void {
    if (atMs >= this.atMs) return;
    this.atMs = atMs;
    this.#arm();
  }

  /** True when `event` settles first. */
  async beforeDeadline(event: Promise<void>): Promise<boolean> {
    return (await Promise.race([event, this.#reached.promise])) !== "late";
  }

  cancel(): void {
    clearTimeout(this.#timer);
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const LONGEST_TIMER_MS = 2 ** 31 - 1;
    this.#timer = setTimeout(
      () => this.#reached.resolve("late"),
      Math.min(Math.max(this.remainingMs(), 0), LONGEST_TIMER_MS),
    );
  }
}
