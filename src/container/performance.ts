import { messageOf } from "../base/errors.ts";
import type { ResourceLimits } from "../base/resources.ts";
import { controllerDirectory } from "../cgroup/hierarchies.ts";
import { type CgroupDriver, containerCgroup, podCgroup } from "../cgroup/paths.ts";
import type { CgroupLayout } from "../linux/host.ts";
import {
  addSharedQuota,
  type CpuDirectories,
  isolateCpus,
  releaseCpus,
  removeQuotas,
} from "../performance/cpu_cgroups.ts";
import type { CpuFiles } from "../performance/cpu_files.ts";
import { differenceOf, formatCpuSet, parseCpuSet, unionOf } from "../performance/cpu_set.ts";
import type { Interrupts } from "../performance/interrupts.ts";
import { type PerformancePlan, performancePlan, type PlanInput } from "../performance/plan.ts";
import type { ContainerDeps } from "./deps.ts";
import type { ContainerRecord } from "./types.ts";

const CHANGE_LIMIT_MS = 30_000;

export interface TuningOptions {
  readonly driver: CgroupDriver;
  readonly layout: CgroupLayout;
  readonly cpuFiles: CpuFiles;
  readonly interrupts: Interrupts;
  readonly records: ContainerDeps["records"];
  readonly exits: ContainerDeps["exits"];
  readonly log: ContainerDeps["log"];
}

/**
 * Tunes the CPUs of containers that ask for it, from just before their start to their end. The record says so before anything is
 * changed: whatever happens to the daemon meanwhile, the end of the container takes it back.
 */
export class CpuTuning {
  readonly #undoing = new Map<string, Promise<void>>();

  constructor(private readonly options: TuningOptions) {}

  /** @throws InvalidArgumentError as {@link performancePlan} */
  async plan(input: PlanInput): Promise<PerformancePlan | undefined> {
    const plan = performancePlan(input);
    const first = parseCpuSet(plan?.cpus ?? "")[0];
    if (plan?.interrupts !== "housekeeping" || first === undefined) return plan;
    const core = parseCpuSet(await this.options.cpuFiles.siblings(first));
    const own = parseCpuSet(plan.cpus);
    return { ...plan, housekeepingCpus: formatCpuSet(core.filter((cpu) => own.includes(cpu))) };
  }

  /** @throws what the kernel refuses; what was done by then is taken back when the container's end is recorded */
  async apply(record: ContainerRecord): Promise<void> {
    const { performance: plan } = record;
    if (plan === undefined) return;
    const { records, cpuFiles, interrupts } = this.options;
    await records.update(record.id, (now) => ({ ...now, tuned: true }));
    this.watch(record);
    const { cpus, sharedCpus } = plan;
    const directories = await this.#directories(record);
    if (sharedCpus !== undefined) await addSharedQuota(directories, { cpus, sharedCpus });
    if (plan.isolate === true) await isolateCpus(directories, { cpus, online: await cpuFiles.online() });
    if (plan.interrupts !== undefined) await interrupts.exclude(excluded(plan), limit());
    if (plan.unthrottle === true) await removeQuotas(directories);
    if (plan.resumeLatency !== undefined) await cpuFiles.setLatency(cpus, plan.resumeLatency);
    if (plan.governor !== undefined) await cpuFiles.setGovernor(cpus, plan.governor);
  }

  /** Takes it back when the container ends, or now when it has ended. */
  watch({ id }: ContainerRecord): void {
    this.options.exits.onEnd(id, () => {
      this.undo(id).catch((error: unknown) => {
        this.options.log.error(`CPUs stay tuned until the container is removed: ${messageOf(error)}`, {
          container: id,
        });
      });
    });
  }

  /** Takes back what {@link apply} did, once; does nothing for others. Quotas and shares go with the cgroups. */
  async undo(id: ContainerRecord["id"]): Promise<void> {
    const running = this.#undoing.get(id) ?? this.#undo(id).finally(() => this.#undoing.delete(id));
    this.#undoing.set(id, running);
    await running;
  }

  async #undo(id: ContainerRecord["id"]): Promise<void> {
    const { records, cpuFiles, interrupts } = this.options;
    const record = records.get(id);
    const plan = record?.performance;
    if (record?.tuned !== true || plan === undefined) return;
    if (plan.isolate === true) await releaseCpus(await this.#directories(record), plan.cpus);
    if (plan.interrupts !== undefined) await interrupts.include(excluded(plan), limit());
    if (plan.resumeLatency !== undefined) await cpuFiles.restoreLatency(plan.cpus);
    if (plan.governor !== undefined) await cpuFiles.restoreGovernor(plan.cpus);
    await records.update(id, ({ tuned: _tuned, ...now }) => now);
  }

  async #directories({ cgroupParent: parent, id }: ContainerRecord): Promise<CpuDirectories> {
    const { layout, driver } = this.options;
    const pod = podCgroup({ driver, parent });
    const own = containerCgroup({ driver, parent, id });
    const parts = pod.split("/").filter((part) => part !== "");
    const at = (controller: string, path: string): string =>
      controllerDirectory(layout, controller, { path }) ?? `/sys/fs/cgroup/${controller}${path}`;
    const withInner = async (directory: string): Promise<string[]> => {
      const inner = `${directory}/container`;
      return await Deno.stat(inner).then(() => [directory, inner], () => [directory]);
    };
    return {
      isV2: layout.mode === "v2",
      cpusetParents: parts.map((_, index) => at("cpuset", `/${parts.slice(0, index + 1).join("/")}`)),
      cpuset: await withInner(at("cpuset", own)),
      podCpu: at("cpu", pod),
      cpu: await withInner(at("cpu", own)),
    };
  }
}

/** The limits with the CPUs that the container shares: the kubelet knows of its own only. */
export function withSharedCpus(limits: ResourceLimits, plan: PerformancePlan | undefined): ResourceLimits {
  const cpus = limits.cpusetCpus ?? "";
  if (plan?.sharedCpus === undefined || cpus === "") return limits;
  return { ...limits, cpusetCpus: unionOf(cpus, plan.sharedCpus) };
}

/** What the container's programs learn of its CPUs, by the names that they know from OpenShift. */
export function cpuVariables(plan: PerformancePlan | undefined): string[] {
  const { cpus = "", sharedCpus, housekeepingCpus } = plan ?? {};
  return [
    ...(sharedCpus === undefined ? [] : [`OPENSHIFT_ISOLATED_CPUS=${cpus}`, `OPENSHIFT_SHARED_CPUS=${sharedCpus}`]),
    ...(housekeepingCpus === undefined ? [] : [`OPENSHIFT_HOUSEKEEPING_CPUS=${housekeepingCpus}`]),
  ];
}

function excluded({ cpus, housekeepingCpus = "" }: PerformancePlan): string {
  return differenceOf(cpus, housekeepingCpus);
}

function limit(): { signal: AbortSignal } {
  return { signal: AbortSignal.timeout(CHANGE_LIMIT_MS) };
}
