import type { ResourceLimits } from "../base/resources.ts";
import type { CgroupLayout } from "../linux/host.ts";
import { controllerDirectory } from "./hierarchies.ts";

type LimitName = Exclude<keyof ResourceLimits, "hugepageLimits" | "unified" | "oomScoreAdj">;

/** Where the kernel keeps each limit. The order is the one in which lower values are accepted. */
const FILES: Readonly<Record<LimitName, { controller: string; v1: readonly string[]; v2: string }>> = {
  cpuShares: { controller: "cpu", v1: ["cpu.shares"], v2: "cpu.weight" },
  cpuPeriodMicros: { controller: "cpu", v1: ["cpu.cfs_period_us"], v2: "cpu.max" },
  cpuQuotaMicros: { controller: "cpu", v1: ["cpu.cfs_quota_us"], v2: "cpu.max" },
  cpusetCpus: { controller: "cpuset", v1: ["cpuset.cpus"], v2: "cpuset.cpus" },
  cpusetMems: { controller: "cpuset", v1: ["cpuset.mems"], v2: "cpuset.mems" },
  memoryLimitBytes: { controller: "memory", v1: ["memory.limit_in_bytes"], v2: "memory.max" },
  memorySwapLimitBytes: { controller: "memory", v1: ["memory.memsw.limit_in_bytes"], v2: "memory.swap.max" },
};

/** The files of a cgroup that these limits are written to. */
export function limitFiles(layout: CgroupLayout, path: string, limits: ResourceLimits): string[] {
  const files = Object.entries(FILES).flatMap(([name, { controller, v1, v2 }]) => {
    const directory = controllerDirectory(layout, controller, { path });
    if (directory === undefined || limits[name as LimitName] === undefined) return [];
    return layout.mode === "v2" ? [`${directory}/${v2}`] : v1.map((file) => `${directory}/${file}`);
  });
  const pages = (limits.hugepageLimits ?? []).map(({ pageSize }) => hugepageFile(layout, path, pageSize));
  const unified = layout.mode === "v2" && layout.unified !== undefined
    ? Object.keys(limits.unified ?? {}).map((file) => `${layout.unified}${path}/${file}`)
    : [];
  return [...new Set([...files, ...pages, ...unified])].filter((file) => file !== undefined);
}

/**
 * Remembers what these limits are now.
 *
 * @returns writes them back; gives the files that could not be
 */
export async function holdLimits(
  layout: CgroupLayout,
  path: string,
  limits: ResourceLimits,
): Promise<() => Promise<string[]>> {
  const before = new Map<string, string>();
  for (const file of limitFiles(layout, path, limits)) {
    const value = await read(file);
    if (value !== undefined) before.set(file, value);
  }
  return async () => {
    // Of two limits that depend on each other one order works for lowering and the other for raising.
    await writeAll([...before]);
    await writeAll([...before].reverse());
    return await differing(before);
  };
}

/**
 * Sets what not every runtime's `update` sets: limits of huge pages (runc 1.1 ignores them), and on v1 the end of a CPU
 * quota (crun 1.8 cannot write it).
 *
 * @throws Error when the kernel refuses one
 */
export async function finishLimits(layout: CgroupLayout, path: string, limits: ResourceLimits): Promise<void> {
  const cpu = layout.mode === "v2" ? undefined : controllerDirectory(layout, "cpu", { path });
  if (cpu !== undefined && (limits.cpuQuotaMicros ?? 0) < 0) await write(`${cpu}/cpu.cfs_quota_us`, "-1");
  for (const { pageSize, limitBytes } of limits.hugepageLimits ?? []) {
    const file = hugepageFile(layout, path, pageSize);
    if (file !== undefined) await write(file, String(limitBytes));
  }
}

async function write(file: string, value: string): Promise<void> {
  await Deno.writeTextFile(file, value, { create: false });
}

function hugepageFile(layout: CgroupLayout, path: string, pageSize: string): string | undefined {
  const directory = controllerDirectory(layout, "hugetlb", { path });
  if (directory === undefined) return undefined;
  return `${directory}/hugetlb.${pageSize}.${layout.mode === "v2" ? "max" : "limit_in_bytes"}`;
}

async function writeAll(files: ReadonlyArray<readonly [string, string]>): Promise<void> {
  for (const [file, value] of files) {
    if (await read(file) === value) continue;
    await write(file, value).catch(() => {});
  }
}

async function differing(before: ReadonlyMap<string, string>): Promise<string[]> {
  const changed: string[] = [];
  for (const [file, value] of before) {
    const now = await read(file);
    if (now !== undefined && now !== value) changed.push(file);
  }
  return changed;
}

/** Undefined when it is not there, or can only be written. */
async function read(file: string): Promise<string | undefined> {
  try {
    return (await Deno.readTextFile(file)).trim();
  } catch {
    return undefined;
  }
}
