import { FailedPreconditionError, messageOf, NotFoundError, UnimplementedError } from "../base/errors.ts";
import type { ContainerId, SandboxId } from "../base/ids.ts";
import { JointOperations, type OperationContext } from "../base/joint_operations.ts";
import { KeyedMutex } from "../base/keyed_mutex.ts";
import type { ResourceLimits } from "../base/resources.ts";
import type { ProcessStreams } from "../streaming/handlers.ts";
import { attach } from "./attach.ts";
import { checkpointContainer } from "./checkpoint/dump.ts";
import { containerName, createContainer } from "./create.ts";
import type { ContainerDeps } from "./deps.ts";
import { checkRunning, execSync } from "./exec.ts";
import { execStream } from "./exec_stream.ts";
import type { ContainerExit } from "./exits.ts";
import { withKernelsOom } from "./oom.ts";
import type { ExecResult, PodContext } from "./ports.ts";
import { noteEndIfOver, restoreContainers } from "./restore.ts";
import { startContainer } from "./start.ts";
import { StopLoops } from "./stop.ts";
import { tearDownContainer } from "./teardown.ts";
import { transition } from "./transitions.ts";
import type { ContainerRecord, ContainerSpec } from "./types.ts";
import { changeLimits, updateContainer } from "./update.ts";

/** Starting takes milliseconds; this is for a runtime that hangs. */
const START_LIMIT_MS = 120_000;
const REMOVE_LIMIT_MS = 300_000;
const FREEZE_LIMIT_MS = 30_000;
/** A container with much memory takes minutes to write. */
const CHECKPOINT_LIMIT_MS = 3_600_000;

/** The containers of this node: the door that `sandbox/`, `cri/` and `status/` use. */
export class Containers {
  readonly #creates: JointOperations<ContainerId>;
  readonly #starts: JointOperations<void>;
  readonly #removals: JointOperations<void>;
  readonly #checkpoints: JointOperations<void>;
  readonly #creating = new Map<SandboxId, Set<string>>();
  readonly #locks = new KeyedMutex<string>();
  readonly #stops: StopLoops;
  /** Containers whose monitor was found dead and told of. */
  readonly #unwatched = new Set<string>();

  constructor(private readonly deps: ContainerDeps) {
    const onStage = (stage: string, elapsedMs: number): void => deps.staged?.(stage, elapsedMs);
    this.#creates = new JointOperations({
      what: "create container",
      limitMs: deps.node.createTimeoutMs,
      onJoin: (stage) => deps.stalled?.(stage),
      onStage,
    });
    this.#starts = new JointOperations({ what: "start container", limitMs: START_LIMIT_MS, onStage });
    this.#removals = new JointOperations({ what: "remove container", limitMs: REMOVE_LIMIT_MS, onStage });
    this.#checkpoints = new JointOperations({ what: "checkpoint container", limitMs: CHECKPOINT_LIMIT_MS });
    this.#stops = new StopLoops(deps);
  }

  /** Makes a container; a repeated request joins the running one, or gets the container that is there. */
  async create(pod: PodContext, spec: ContainerSpec, options: { signal: AbortSignal }): Promise<ContainerId> {
    const name = containerName(pod, spec);
    const creating = this.#creating.get(pod.id) ?? new Set();
    this.#creating.set(pod.id, creating.add(name));
    return await this.#creates.run(name, options, async (context) => {
      try {
        return await createContainer(this.deps, { pod, spec }, context);
      } finally {
        creating.delete(name);
        if (creating.size === 0) this.#creating.delete(pod.id);
      }
    });
  }

  /**
   * Starts a container. A caller that goes away does not stop the runtime half-way; a retry meanwhile joins.
   *
   * @throws NotFoundError, InvalidTransition
   */
  async start(id: string, options: { signal: AbortSignal }): Promise<void> {
    const record = this.require(id);
    await this.#starts.run(record.id, options, (context) => this.#start(record.id, context));
  }

  async #start(id: ContainerId, context: OperationContext): Promise<void> {
    const { plugins } = this.deps;
    const record = this.require(id);
    // One that cannot be started is refused below, and nobody hears of it.
    if (plugins !== undefined && record.state === "created") {
      context.stage("asking plugins");
      await plugins.starting(record, context);
    }
    try {
      context.stage("waiting for another operation on it");
      using _lock = await this.#locks.acquire(id, context);
      context.stage("container runtime start");
      await startContainer(this.deps, this.require(id), context);
    } catch (error) {
      plugins?.notStarted(record);
      throw error;
    }
    await plugins?.started(this.deps.records.get(id) ?? record);
  }

  /**
   * Stops a container and waits for its end; succeeds when it has ended or does not exist.
   *
   * @param options.timeoutMs between the stop signal and SIGKILL
   */
  async stop(id: string, options: { timeoutMs: number; signal: AbortSignal }): Promise<void> {
    const record = this.find(id);
    if (record === undefined) return;
    await this.#endCheckpoint(record.id);
    await this.#stops.stop(record, options);
    await this.deps.plugins?.ended(this.deps.records.get(record.id) ?? record);
  }

  /**
   * Removes a container, killing it first when it runs; succeeds when it does not exist. One whose creation failed and
   * could not be cleaned up then is taken down as well.
   */
  async remove(id: string, options: { signal: AbortSignal }): Promise<void> {
    const found = this.deps.records.find(id);
    if (found === undefined) return;
    await this.#removals.run(found.id, options, async (context) => {
      const tell = await this.#remove(found.id, context);
      await tell?.();
    });
  }

  /** @returns what tells plugins that it is gone, for when the lock is free */
  async #remove(id: ContainerId, context: OperationContext): Promise<(() => Promise<void>) | undefined> {
    await this.#endCheckpoint(id);
    context.stage("waiting for another operation on it");
    using _lock = await this.#locks.acquire(id, context);
    const record = this.deps.records.get(id);
    if (record === undefined) return undefined;
    context.stage("container stop");
    if (record.state === "creating") await this.#creates.settled(record.name);
    else await this.#stops.stop(record, { timeoutMs: 0, signal: context.signal });
    context.stage("container removal");
    const left = this.deps.records.get(record.id);
    if (left === undefined) return undefined;
    const { plugins } = this.deps;
    const tell = left.state === "creating" ? undefined : await plugins?.removing(left);
    await tearDownContainer(this.deps, left);
    return tell;
  }

  /** @throws NotFoundError, FailedPreconditionError unless it runs */
  async execSync(
    id: string,
    request: { command: readonly string[]; timeoutMs: number; signal: AbortSignal },
  ): Promise<ExecResult> {
    const record = this.require(id);
    this.#stops.refuseWhileKilling(record.id);
    return await execSync(this.deps, record, request);
  }

  /**
   * Runs a command with its streams connected to a client, to its end; gives the exit code. It ends with the container
   * and with the client at the latest.
   *
   * @throws NotFoundError, FailedPreconditionError unless it runs
   */
  async execStream(id: string, command: readonly string[], streams: ProcessStreams): Promise<number> {
    return await execStream(this.deps, this.requireForExec(id), { command, streams });
  }

  /**
   * Connects a client to the container's own streams, until the container ends or the client has gone.
   *
   * @throws NotFoundError, FailedPreconditionError when it has ended
   */
  async attach(id: string, streams: ProcessStreams): Promise<void> {
    await attach(this.deps, this.requireForAttach(id), streams);
  }

  /** @throws NotFoundError, FailedPreconditionError when nothing can be run in it now */
  requireForExec(id: string): ContainerRecord {
    const record = this.require(id);
    this.#stops.refuseWhileKilling(record.id);
    checkRunning(record);
    return record;
  }

  /** @throws NotFoundError, FailedPreconditionError when it has ended */
  requireForAttach(id: string): ContainerRecord {
    const record = this.require(id);
    if (record.state !== "exited") return record;
    throw new FailedPreconditionError(`attach: container ${record.id} has exited`);
  }

  /** Makes the monitor open the log anew, after the kubelet moved the file away. Needs no lock: a stop never blocks it. */
  async reopenLog(id: string, options: { signal: AbortSignal }): Promise<void> {
    const record = this.require(id);
    if (record.state !== "running" && record.state !== "paused") {
      throw new FailedPreconditionError(`reopen log: container ${record.id} is ${record.state}, not running`);
    }
    if (record.logFile === "") return;
    const { runDirectory: bundle, logFile } = record;
    await this.deps.runtimes.find(record.runtimeHandler).reopenLog({ bundle, logFile }, options);
  }

  /**
   * Changes limits of a container that is created or runs; those that are not named stay. A caller that goes away does
   * not stop the runtime half-way.
   *
   * @throws NotFoundError, FailedPreconditionError, InvalidArgumentError; after a failure all limits are as before
   */
  async updateResources(id: string, limits: ResourceLimits, { signal }: { signal: AbortSignal }): Promise<void> {
    const record = this.require(id);
    using _lock = await this.#locks.acquire(record.id, { signal });
    await updateContainer(this.deps, this.require(record.id), { limits, signal });
  }

  /**
   * Changes limits as plugins want it, which are not asked. Takes no lock: who holds it may wait for those same plugins.
   *
   * @throws as {@link updateResources}
   */
  async changeLimits(id: string, limits: ResourceLimits): Promise<void> {
    await changeLimits(this.deps, this.require(id), limits);
  }

  /**
   * Writes a running container with its memory into an archive at `location`; it goes on running.
   *
   * @param request.timeoutMs 0: no limit of the caller's
   * @throws UnimplementedError where this node does not offer it; NotFoundError, FailedPreconditionError, RuntimeError
   */
  async checkpoint(
    id: string,
    request: { location: string; timeoutMs: number; signal: AbortSignal },
  ): Promise<void> {
    const record = this.require(id);
    const refusal = this.deps.checkpoints.refusal("checkpoint");
    if (refusal !== undefined) throw new UnimplementedError(`checkpoint container ${record.id}: ${refusal}`);
    const { location, timeoutMs } = request;
    await this.#checkpoints.run(record.id, request, async (context) => {
      const limit = timeoutMs === 0 ? [] : [AbortSignal.timeout(timeoutMs)];
      const limited = { ...context, signal: AbortSignal.any([context.signal, ...limit]) };
      using _lock = await this.#locks.acquire(record.id, limited);
      await checkpointContainer(this.deps, this.require(record.id), { location, context: limited });
    });
  }

  /** A container that is to end is not written down first. */
  async #endCheckpoint(id: ContainerId): Promise<void> {
    await this.#checkpoints.cancel(id, new FailedPreconditionError(`container ${id} is being stopped`));
  }

  /** Freezes a running container. */
  async pause(id: string, options: { signal: AbortSignal }): Promise<void> {
    const record = this.require(id);
    using _lock = await this.#locks.acquire(record.id, options);
    transition(this.require(record.id), "pause");
    await this.deps.runtimes.find(record.runtimeHandler).pause(record.id, freezeLimit());
    await this.deps.records.update(record.id, (now) => transition(now, "pause"));
  }

  /** Lets a paused container go on. */
  async resume(id: string, options: { signal: AbortSignal }): Promise<void> {
    const record = this.require(id);
    using _lock = await this.#locks.acquire(record.id, options);
    transition(this.require(record.id), "resume");
    await this.deps.runtimes.find(record.runtimeHandler).resume(record.id, freezeLimit());
    await this.deps.records.update(record.id, (now) => transition(now, "resume"));
  }

  /** The container with this id or unique prefix. Those that are being made are not there yet. */
  find(idOrPrefix: string): ContainerRecord | undefined {
    const record = this.findKnown(idOrPrefix);
    return record?.state === "creating" ? undefined : record;
  }

  /** As {@link find}, with those that are being made. */
  findKnown(idOrPrefix: string): ContainerRecord | undefined {
    return this.deps.records.find(idOrPrefix);
  }

  /** Where a container's root file system is, also while it is being made. @throws NotFoundError */
  async rootOf({ id, rootfs }: ContainerRecord): Promise<string> {
    return rootfs === "" ? await this.deps.rootfs.mountPoint(id) : rootfs;
  }

  /** The first process of any container that runs in a pod; 0 when none does. */
  processIn(id: SandboxId): number {
    for (const { sandboxId, state, process } of this.list()) {
      if (sandboxId === id && process !== undefined && (state === "running" || state === "paused")) return process.pid;
    }
    return 0;
  }

  /** @throws NotFoundError */
  require(idOrPrefix: string): ContainerRecord {
    const record = this.find(idOrPrefix);
    if (record === undefined) throw new NotFoundError("container", idOrPrefix);
    return record;
  }

  /** All containers, oldest first, without those that are being made. */
  *list(): Generator<ContainerRecord> {
    for (const record of this.deps.records.values()) if (record.state !== "creating") yield record;
  }

  /** Whether a container is made of this image, or has it as a volume. */
  usesImage(imageId: string): boolean {
    for (const record of this.deps.records.values()) {
      if (record.imageId === imageId || record.imageVolumes?.some((name) => name.startsWith(imageId))) return true;
    }
    return false;
  }

  /** Ends the creates that run in a pod which is being stopped, then gives all its containers. */
  async ofSandbox(id: SandboxId): Promise<ContainerRecord[]> {
    const reason = new FailedPreconditionError(`pod sandbox ${id} is being stopped`);
    await Promise.all([...this.#creating.get(id) ?? []].map((name) => this.#creates.cancel(name, reason)));
    return [...this.deps.records.values()].filter((record) => record.sandboxId === id);
  }

  /** Compares records and kernel after a start. */
  async restore(): Promise<void> {
    await restoreContainers(this.deps);
  }

  /** Whether a start of this container is under way. */
  isStarting(id: ContainerId): boolean {
    return this.#starts.isRunning(id);
  }

  /** Operations that run now, for diagnosis. */
  *stages(): Generator<{ key: string; stage: string; elapsedMs: number }> {
    for (const operations of [this.#creates, this.#starts, this.#removals, this.#checkpoints]) {
      yield* operations.stages();
    }
  }

  /** Records an end that a monitor wrote down. */
  async handleExit(exit: ContainerExit): Promise<void> {
    await this.deps.exits.handle(await withKernelsOom(this.deps, exit));
  }

  /** The OCI configuration that a container was made with; undefined when a reboot or a removal took it away. */
  async runtimeSpec(record: ContainerRecord): Promise<unknown> {
    try {
      return JSON.parse(await Deno.readTextFile(`${record.runDirectory}/config.json`));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  /** Takes down what is left of creates whose clean-up failed; the daemon calls it every ten seconds. */
  async retryCleanups(): Promise<void> {
    for (const record of [...this.deps.records.values()]) {
      if (record.state !== "creating" || this.#creates.isRunning(record.name)) continue;
      await tearDownContainer(this.deps, record).catch((error) => {
        this.deps.log.warn(`clean-up failed again: ${messageOf(error)}`, { container: record.id });
      });
    }
  }

  /** Notes the ends of containers whose monitor and process are both gone; the daemon calls it every ten seconds. */
  async sweepMonitors(): Promise<void> {
    const { processes, log } = this.deps;
    for (const record of [...this.list()]) {
      if (record.state === "exited" || record.monitor === undefined || processes.isAlive(record.monitor)) {
        this.#unwatched.delete(record.id);
        continue;
      }
      await noteEndIfOver(this.deps, record);
      const isOver = (this.deps.records.get(record.id)?.state ?? "exited") === "exited";
      if (isOver || this.#unwatched.has(record.id)) continue;
      this.#unwatched.add(record.id);
      this.deps.monitorLost?.(record.name);
      log.error("the monitor of a container is gone: its log and exit code are lost from here on", {
        container: record.id,
        monitor: record.monitor.pid,
      });
    }
  }
}

/** The runtime's call is not cut off by a caller that goes away: nobody could tell then what it has done. */
function freezeLimit(): { signal: AbortSignal } {
  return { signal: AbortSignal.timeout(FREEZE_LIMIT_MS) };
}
