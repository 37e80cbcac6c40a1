import { messageOf, NotFoundError } from "../base/errors.ts";
import type { SandboxId } from "../base/ids.ts";
import { JointOperations } from "../base/joint_operations.ts";
import { KeyedMutex } from "../base/keyed_mutex.ts";
import type { PodContext } from "../container/ports.ts";
import type { SandboxDeps } from "./deps.ts";
import { runSandbox, sandboxName } from "./run.ts";
import { stopSandbox } from "./stop.ts";
import { tearDownSandbox } from "./teardown.ts";
import type { SandboxRecord, SandboxSpec } from "./types.ts";

/** The pod sandboxes of this node: the door that `cri/` and `status/` use. */
export class Sandboxes {
  readonly #runs: JointOperations<SandboxId>;
  readonly #locks = new KeyedMutex<string>();

  constructor(private readonly deps: SandboxDeps) {
    this.#runs = new JointOperations({ what: "run pod sandbox", limitMs: deps.runLimitMs });
  }

  /** Makes a pod; a repeated request joins the running one, or gets the pod that is there. */
  async run(spec: SandboxSpec, options: { signal: AbortSignal }): Promise<SandboxId> {
    return await this.#runs.run(sandboxName(spec), options, (context) => runSandbox(this.deps, spec, context));
  }

  /** Stops a pod; succeeds when it is stopped or does not exist. */
  async stop(id: string, options: { signal: AbortSignal }): Promise<void> {
    const record = this.find(id);
    if (record === undefined) return;
    using _lock = await this.#locks.acquire(record.id, options);
    await stopSandbox(this.deps, this.deps.records.get(record.id) ?? record, options);
  }

  /** Removes a pod with all its containers, stopping it first; succeeds when it does not exist. */
  async remove(id: string, options: { signal: AbortSignal }): Promise<void> {
    const found = this.find(id);
    if (found === undefined) return;
    using _lock = await this.#locks.acquire(found.id, options);
    if (this.deps.records.get(found.id) === undefined) return;
    // A removal is forced: what still runs gets no time.
    await stopSandbox({ ...this.deps, stopTimeoutMs: 0 }, found, options);
    const containers = await this.deps.containers.ofSandbox(found.id);
    await Promise.all(containers.map((container) => this.deps.containers.remove(container.id, options)));
    await tearDownSandbox(this.deps, this.deps.records.get(found.id) ?? found);
  }

  /** The pod with this id or unique prefix; those that are being made are not there yet. */
  find(idOrPrefix: string): SandboxRecord | undefined {
    const record = this.deps.records.find(idOrPrefix);
    return record?.state === "creating" ? undefined : record;
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

  /** Runs of pods that are under way, for diagnosis. */
  stages(): Iterable<{ key: string; stage: string; elapsedMs: number }> {
    return this.#runs.stages();
  }

  /** What a container needs to know of its pod. */
  contextOf(record: SandboxRecord): PodContext {
    const { spec } = record;
    return {
      id: record.id,
      ready: record.state === "ready",
      name: spec.metadata.name,
      namespace: spec.metadata.namespace,
      uid: spec.metadata.uid,
      runtimeHandler: record.runtimeHandler,
      hostname: record.hostname,
      hostNetwork: spec.security.namespaces.network === "node",
      namespaces: record.namespaces,
      cgroupParent: record.cgroupParent,
      logDirectory: spec.logDirectory,
      resolvConf: record.resolvConf,
      hostnameFile: record.hostnameFile,
      hostsFile: record.hostsFile,
      shmPath: record.shmPath,
      sysctls: spec.sysctls,
      privileged: spec.security.privileged,
      annotations: spec.annotations,
    };
  }

  /**
   * Brings the records in line with the kernel after a start: takes down what a crash left half-made, and marks pods
   * whose namespaces are gone (a reboot, a hand that unmounted them) as not ready.
   */
  async restore(): Promise<void> {
    const { records, log } = this.deps;
    await Promise.all([...records.values()].map(async (record) => {
      try {
        if (record.state === "creating") {
          log.info("taking down a pod whose creation was interrupted", { sandbox: record.id });
          await tearDownSandbox(this.deps, record);
        } else if (record.state === "ready" && !this.#isWhole(record)) {
          log.warn("the namespaces of a pod are gone: it is not ready any more", { sandbox: record.id });
          await records.update(record.id, (now) => ({ ...now, state: "not_ready" }));
        }
      } catch (error) {
        log.error(`restore failed: ${messageOf(error)}`, { sandbox: record.id, state: record.state });
      }
    }));
  }

  #isWhole(record: SandboxRecord): boolean {
    const { network, ipc, uts } = record.namespaces;
    const pins = [network, ipc, uts].filter((path) => path !== undefined);
    if (!pins.every((path) => this.deps.namespaces.isPinned(path))) return false;
    return record.infra === undefined || this.deps.infra.isAlive(record.infra);
  }
}
