import { messageOf, NotFoundError } from "../base/errors.ts";
import type { SandboxId } from "../base/ids.ts";
import { JointOperations, type OperationContext } from "../base/joint_operations.ts";
import { KeyedMutex } from "../base/keyed_mutex.ts";
import type { ResourceLimits } from "../base/resources.ts";
import type { PodContext } from "../container/ports.ts";
import type { SandboxDeps } from "./deps.ts";
import { runSandbox, sandboxName } from "./run.ts";
import { stopSandbox } from "./stop.ts";
import { tearDownSandbox } from "./teardown.ts";
import type { SandboxRecord, SandboxSpec } from "./types.ts";

/** Stopping a container that does not die, or plugins that hang, may take this long; the next try goes on. */
const STOP_LIMIT_MS = 600_000;

/** The pod sandboxes of this node: the door that `cri/` and `status/` use. */
export class Sandboxes {
  readonly #runs: JointOperations<SandboxId>;
  readonly #stops: JointOperations<void>;
  readonly #removals: JointOperations<void>;
  readonly #locks = new KeyedMutex<string>();
  /** Half-made pods that are being taken down. */
  readonly #cleaning = new Set<SandboxId>();

  constructor(private readonly deps: SandboxDeps) {
    const onStage = (stage: string, elapsedMs: number): void => deps.staged?.(stage, elapsedMs);
    this.#runs = new JointOperations({
      what: "run pod sandbox",
      limitMs: deps.runLimitMs,
      onJoin: (stage) => deps.stalled?.(stage),
      onStage,
    });
    this.#stops = new JointOperations({ what: "stop pod sandbox", limitMs: STOP_LIMIT_MS, onStage });
    this.#removals = new JointOperations({ what: "remove pod sandbox", limitMs: STOP_LIMIT_MS, onStage });
  }

  /** Makes a pod; a repeated request joins the running one, or gets the pod that is there. */
  async run(spec: SandboxSpec, options: { signal: AbortSignal }): Promise<SandboxId> {
    return await this.#runs.run(sandboxName(spec), options, (context) => runSandbox(this.deps, spec, context));
  }

  /** Stops a pod; succeeds when it is stopped or does not exist. */
  async stop(id: string, options: { signal: AbortSignal }): Promise<void> {
    const record = this.find(id);
    if (record === undefined) return;
    await this.#stops.run(record.id, options, async (context) => {
      context.stage("waiting for another operation on it");
      using _lock = await this.#locks.acquire(record.id, context);
      await stopSandbox(this.deps, this.deps.records.get(record.id) ?? record, context);
    });
  }

  /** Removes a pod with all its containers, stopping it first; succeeds when it does not exist. */
  async remove(id: string, options: { signal: AbortSignal }): Promise<void> {
    const found = this.find(id);
    if (found !== undefined) await this.#removals.run(found.id, options, (context) => this.#remove(found, context));
  }

  /**
   * Hears of new limits of a whole pod. The client sets them in the pod's cgroup by itself: here it is only asked
   * whether somebody refuses them.
   *
   * @throws NotFoundError
   */
  async updateResources(
    id: string,
    change: { overhead: ResourceLimits; resources: ResourceLimits },
    options: { signal: AbortSignal },
  ): Promise<void> {
    const record = this.require(id);
    await this.deps.vetResources?.(record, change, options);
  }

  async #remove(found: SandboxRecord, context: OperationContext): Promise<void> {
    context.stage("waiting for another operation on it");
    using _lock = await this.#locks.acquire(found.id, context);
    if (this.deps.records.get(found.id) === undefined) return;
    // A removal is forced: what still runs gets no time.
    await stopSandbox({ ...this.deps, stopTimeoutMs: 0 }, found, context);
    context.stage("container removal");
    const containers = await this.deps.containers.ofSandbox(found.id);
    await Promise.all(containers.map((container) => this.deps.containers.remove(container.id, context)));
    context.stage("sandbox removal");
    const record = this.deps.records.get(found.id) ?? found;
    await tearDownSandbox(this.deps, record);
    await this.deps.plugins?.removed(record);
  }

  /** The pod with this id or unique prefix; those that are being made are not there yet. */
  find(idOrPrefix: string): SandboxRecord | undefined {
    const record = this.findKnown(idOrPrefix);
    return record?.state === "creating" ? undefined : record;
  }

  /** As {@link find}, with those that are being made. */
  findKnown(idOrPrefix: string): SandboxRecord | undefined {
    return this.deps.records.find(idOrPrefix);
  }

  /** @throws NotFoundError */
  require(idOrPrefix: string): SandboxRecord {
    const record = this.find(idOrPrefix);
    if (record === undefined) throw new NotFoundError("pod sandbox", idOrPrefix);
    return record;
  }

  /** All pods, oldest first, without those that are being made. */
  *list(): Generator<SandboxRecord> {
    for (const record of this.deps.records.values()) if (record.state !== "creating") yield record;
  }

  /** Operations on pods that are under way, for diagnosis. */
  *stages(): Generator<{ key: string; stage: string; elapsedMs: number }> {
    for (const operations of [this.#runs, this.#stops, this.#removals]) yield* operations.stages();
  }

  /** What a container needs to know of its pod. */
  contextOf(record: SandboxRecord): PodContext {
    const { spec } = record;
    return {
      id: record.id,
      // Without its process the path of a pod's PID namespace may lead to another process's.
      ready: record.state === "ready" && (record.infra === undefined || this.deps.infra.isAlive(record.infra)),
      privileged: spec.security.privileged,
      name: spec.metadata.name,
      namespace: spec.metadata.namespace,
      uid: spec.metadata.uid,
      labels: spec.labels,
      ...selinuxOf(record),
      sandboxName: record.name,
      ips: record.ips,
      ...(record.linkedLogs === undefined ? {} : { linkedLogs: record.linkedLogs }),
      annotations: this.deps.annotations.forPod(spec.annotations, { handler: record.runtimeHandler }),
      runtimeHandler: record.runtimeHandler,
      hostname: record.hostname,
      hostNetwork: spec.security.namespaces.network === "node",
      namespaces: record.namespaces,
      ...(record.userMaps === undefined ? {} : { userMaps: record.userMaps }),
      cgroupParent: record.cgroupParent,
      logDirectory: record.ownLogDirectory ?? spec.logDirectory,
      resolvConf: record.resolvConf,
      hostnameFile: record.hostnameFile,
      hostsFile: record.hostsFile,
      shmPath: record.shmPath,
    };
  }

  /**
   * Brings the records in line with the kernel, after a start and every ten seconds: marks pods whose namespaces are gone (a reboot, a hand
   * that unmounted them, an infra process that was killed) as not ready. What a crash left half-made is not listed and is left to {@link retryCleanups}:
   * it asks network plugins, and nobody should wait for those.
   */
  async restore(): Promise<void> {
    const { records, log } = this.deps;
    await Promise.all([...records.values()].map(async (record) => {
      try {
        if (record.state === "ready" && !this.#isWhole(record)) {
          log.warn("the namespaces of a pod are gone: it is not ready any more", { sandbox: record.id });
          await records.update(record.id, (now) => ({ ...now, state: "not_ready" }));
        }
      } catch (error) {
        log.error(`restore failed: ${messageOf(error)}`, { sandbox: record.id, state: record.state });
      }
    }));
  }

  /** Takes down what interrupted or failed runs left; the daemon calls it after its start and every ten seconds. */
  async retryCleanups(): Promise<void> {
    const left = [...this.deps.records.values()].filter(({ state, name, id }) =>
      state === "creating" && !this.#runs.isRunning(name) && !this.#cleaning.has(id)
    );
    await Promise.all(left.map((record) => this.#cleanUp(record)));
  }

  async #cleanUp(record: SandboxRecord): Promise<void> {
    const { log } = this.deps;
    this.#cleaning.add(record.id);
    try {
      await tearDownSandbox(this.deps, record);
      log.info("took down a pod whose creation was interrupted", { sandbox: record.id });
    } catch (error) {
      log.warn(`clean-up of an interrupted pod failed: ${messageOf(error)}`, { sandbox: record.id });
    } finally {
      this.#cleaning.delete(record.id);
    }
  }

  #isWhole(record: SandboxRecord): boolean {
    const { network, ipc, uts, user } = record.namespaces;
    const pins = [network, ipc, uts, user].filter((path) => path !== undefined);
    if (!pins.every((path) => this.deps.namespaces.isPinned(path))) return false;
    return record.infra === undefined || this.deps.infra.isAlive(record.infra);
  }
}

function selinuxOf({ selinux: labels, spec }: SandboxRecord): Pick<PodContext, "selinux"> {
  if (labels === undefined) return {};
  const { selinux: options } = spec.security;
  return { selinux: { labels, ...(options === undefined ? {} : { options }) } };
}
