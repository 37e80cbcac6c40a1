import { differenceOf, parseCpuSet, unionOf } from "./cpu_set.ts";

/** The cgroup directories of one container, in the hierarchies of the CPU controllers. */
export interface CpuDirectories {
  readonly isV2: boolean;
  /** From below the root of the cpuset hierarchy down to the pod's. */
  readonly cpusetParents: readonly string[];
  /** The container's, and the one below it where crun made one. */
  readonly cpuset: readonly string[];
  /** The pod's in the cpu hierarchy. */
  readonly podCpu: string;
  /** The container's in the cpu hierarchy, and the one below it where crun made one. */
  readonly cpu: readonly string[];
}

/**
 * Has the scheduler leave the container's CPUs alone. With cgroup v1 whoever made the cgroups above must have switched their balancing
 * off as well (the kubelet does not); with v2 (Linux 6.7) they become a remote partition, for which every cgroup
 * above has to hand the CPUs down.
 */
export async function isolateCpus(
  directories: CpuDirectories,
  options: { cpus: string; online: string },
): Promise<void> {
  const { cpuset, cpusetParents, isV2 } = directories;
  if (!isV2) {
    for (const directory of [...cpuset].reverse()) {
      await Deno.writeTextFile(`${directory}/cpuset.sched_load_balance`, "0");
    }
    return;
  }
  const { cpus, online } = options;
  for (const directory of cpusetParents) {
    await change(`${directory}/cpuset.cpus`, (now) => unionOf(now, online));
    await change(`${directory}/cpuset.cpus.exclusive`, (now) => unionOf(now, cpus));
  }
  for (const directory of cpuset) {
    await change(`${directory}/cpuset.cpus`, (now) => unionOf(now, cpus));
    await change(`${directory}/cpuset.cpus.exclusive`, (now) => unionOf(now, cpus));
  }
  await Deno.writeTextFile(`${cpuset.at(-1)}/cpuset.cpus.partition`, "isolated");
}

/** Takes {@link isolateCpus} back; cgroups that are gone need nothing. */
export async function releaseCpus({ cpuset, cpusetParents, isV2 }: CpuDirectories, cpus: string): Promise<void> {
  if (!isV2) return;
  for (const directory of [...cpusetParents, ...cpuset].reverse()) {
    await change(`${directory}/cpuset.cpus.exclusive`, (now) => differenceOf(now, cpus)).catch((error: unknown) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}

/** Takes the CPU quota off the pod and the container. */
export async function removeQuotas({ isV2, podCpu, cpu }: CpuDirectories): Promise<void> {
  for (const directory of [podCpu, ...cpu]) {
    if (isV2) await Deno.writeTextFile(`${directory}/cpu.max`, "max");
    else await Deno.writeTextFile(`${directory}/cpu.cfs_quota_us`, "-1");
  }
}

/** Gives pod and container time on the shared CPUs as well; one without a quota has it already. */
export async function addSharedQuota(
  { isV2, podCpu, cpu }: CpuDirectories,
  { cpus, sharedCpus }: { cpus: string; sharedCpus: string },
): Promise<void> {
  const shared = parseCpuSet(differenceOf(sharedCpus, cpus)).length;
  // The pod first: with cgroup v1 no child may have more than its parent.
  for (const directory of [podCpu, ...cpu]) {
    const { quota, period } = await quotaOf(directory, { isV2 });
    if (quota === undefined) continue;
    const more = String(quota + shared * period);
    if (isV2) await Deno.writeTextFile(`${directory}/cpu.max`, more);
    else await Deno.writeTextFile(`${directory}/cpu.cfs_quota_us`, more);
  }
}

async function quotaOf(
  directory: string,
  { isV2 }: { isV2: boolean },
): Promise<{ quota: number | undefined; period: number }> {
  const [quota = "", period = ""] = isV2
    ? (await Deno.readTextFile(`${directory}/cpu.max`)).trim().split(" ")
    : [await text(`${directory}/cpu.cfs_quota_us`), await text(`${directory}/cpu.cfs_period_us`)];
  const micros = Number(quota);
  return { quota: Number.isInteger(micros) && micros > 0 ? micros : undefined, period: Number(period) };
}

async function change(path: string, to: (now: string) => string): Promise<void> {
  const now = await text(path);
  const wanted = to(now);
  // The kernel takes no empty write.
  if (wanted !== now) await Deno.writeTextFile(path, wanted === "" ? "\n" : wanted);
}

async function text(path: string): Promise<string> {
  return (await Deno.readTextFile(path)).trim();
}
