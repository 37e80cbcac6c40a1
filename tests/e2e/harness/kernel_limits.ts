/** What the kernel holds of one process's cgroups, in the words of the CRI; undefined where nothing is limited. */
export interface KernelLimits {
  /** v1. */
  readonly cpuShares?: number | undefined;
  /** v2; see {@link hasShares}. */
  readonly cpuWeight?: number | undefined;
  readonly cpuQuota: number | undefined;
  readonly cpuPeriod: number | undefined;
  readonly cpus: string | undefined;
  readonly mems: string | undefined;
  readonly memory: number | undefined;
  /** Memory and swap together. */
  readonly memoryAndSwap: number | undefined;
  readonly pids: number | undefined;
}

/** The directory of a process's cgroup in the hierarchy of a controller; undefined without one. */
export async function cgroupOf(pid: number, controller: string): Promise<string | undefined> {
  const [groups, mounts] = await Promise.all(
    [`/proc/${pid}/cgroup`, "/proc/self/mountinfo"].map((path) => Deno.readTextFile(path)),
  );
  const pathIn = (wanted: (controllers: string[]) => boolean): string | undefined => {
    for (const line of (groups ?? "").split("\n")) {
      const [, controllers = "", ...path] = line.split(":");
      if (line !== "" && wanted(controllers.split(","))) return path.join(":");
    }
    return undefined;
  };
  const mountOf = (type: string, option?: string): string | undefined => {
    for (const line of (mounts ?? "").split("\n")) {
      const [left = "", right = ""] = line.split(" - ");
      const [kind, , options = ""] = right.split(" ");
      if (kind === type && (option === undefined || options.split(",").includes(option))) return left.split(" ")[4];
    }
    return undefined;
  };
  const v1 = pathIn((controllers) => controllers.includes(controller));
  if (v1 !== undefined) return `${mountOf("cgroup", controller)}${v1}`;
  const v2 = pathIn((controllers) => controllers[0] === "");
  const unified = v2 === undefined ? undefined : `${mountOf("cgroup2")}${v2}`;
  const held = unified === undefined ? "" : await textOf(`${unified}/cgroup.controllers`) ?? "";
  return held.trim().split(/\s+/).includes(controller) ? unified : undefined;
}

/** Reads a file of a process's cgroup; undefined when there is none. */
export async function cgroupFile(pid: number, controller: string, file: string): Promise<string | undefined> {
  const directory = await cgroupOf(pid, controller);
  return directory === undefined ? undefined : (await textOf(`${directory}/${file}`))?.trim();
}

/** Reads all limits of a process. */
export async function kernelLimits(pid: number): Promise<KernelLimits> {
  const read = (controller: string, file: string): Promise<string | undefined> => cgroupFile(pid, controller, file);
  const shared = {
    cpus: await read("cpuset", "cpuset.cpus"),
    mems: await read("cpuset", "cpuset.mems"),
    pids: limited(await read("pids", "pids.max")),
  };
  const v1Memory = await read("memory", "memory.limit_in_bytes");
  if (v1Memory !== undefined) {
    return {
      ...shared,
      cpuShares: limited(await read("cpu", "cpu.shares")),
      cpuQuota: limited(await read("cpu", "cpu.cfs_quota_us")),
      cpuPeriod: limited(await read("cpu", "cpu.cfs_period_us")),
      memory: limited(v1Memory),
      memoryAndSwap: limited(await read("memory", "memory.memsw.limit_in_bytes")),
    };
  }
  const [quota, period] = (await read("cpu", "cpu.max") ?? "").split(" ");
  const memory = limited(await read("memory", "memory.max"));
  const swap = limited(await read("memory", "memory.swap.max"));
  return {
    ...shared,
    cpuWeight: limited(await read("cpu", "cpu.weight")),
    cpuQuota: limited(quota),
    cpuPeriod: limited(period),
    memory,
    memoryAndSwap: memory === undefined || swap === undefined ? undefined : memory + swap,
  };
}

/**
 * Whether these limits are what a runtime makes of CPU shares. For v2 older runtimes convert linearly (2 is 1, 262144 is
 * 10000), and newer ones (crun 1.23, runc 1.3.2) so that 1024 becomes 100.
 */
export function hasShares({ cpuShares, cpuWeight }: KernelLimits, shares: number): boolean {
  if (cpuWeight === undefined) return cpuShares === shares;
  const log = Math.log2(shares);
  const weights = [1 + (shares - 2) * 9999 / 262_142, 10 ** ((log * log + 125 * log) / 612 - 7 / 34)];
  return weights.some((weight) => Math.abs(cpuWeight - weight) <= 1);
}

/** v1 says "no limit" with the largest number of pages, or -1; v2 with a word. */
function limited(text: string | undefined): number | undefined {
  const value = text === undefined || text === "" || text === "max" ? -1 : Number(text);
  return value < 0 || value > 2 ** 60 ? undefined : value;
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
