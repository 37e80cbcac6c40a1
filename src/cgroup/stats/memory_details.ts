import { type ControllerFiles, keyed, type ReadText, single } from "./_parse.ts";

/** What memoryDetails is read from. */
export const MEMORY_DETAIL_FILES: ControllerFiles = {
  v1: { memory: ["memory.stat", "memory.max_usage_in_bytes", "memory.failcnt", "memory.kmem.usage_in_bytes"] },
  v2: ["memory.stat", "memory.peak", "memory.events"],
};

/** What oomKills is read from. */
export const OOM_FILES: ControllerFiles = { v1: { memory: ["memory.oom_control"] }, v2: ["memory.events"] };

/** Memory of a cgroup and those below it, by kind, in bytes. What a kernel does not count is 0, as in cAdvisor. */
export interface MemoryDetails {
  /** Page cache, tmpfs included. */
  readonly cacheBytes: number;
  readonly mappedFileBytes: number;
  readonly kernelBytes: number;
  /** Largest usage so far; on v2 since Linux 5.19. */
  readonly peakBytes: number;
  /** Times that the usage met the limit. */
  readonly limitHits: number;
  /** Of the cgroup alone; with all below it they stand in `MemoryStats`. */
  readonly pageFaults: number;
  readonly majorPageFaults: number;
}

/** Parts of kernel memory on v2 before Linux 5.18, which had no sum of them. */
const KERNEL_PARTS = ["kernel_stack", "pagetables", "percpu", "slab", "sock", "vmalloc"];

/** Undefined when the cgroup has no such figures. */
export function memoryDetails(text: ReadText): MemoryDetails | undefined {
  const stat = text("memory.stat");
  if (stat === undefined) return undefined;
  const of = (key: string): number => keyed(stat, key) ?? 0;
  // A cgroup of v2 counts what is below it as well, and nothing apart.
  const faults = { pageFaults: of("pgfault"), majorPageFaults: of("pgmajfault") };
  if (keyed(stat, "anon") !== undefined) {
    return {
      cacheBytes: of("file"),
      mappedFileBytes: of("file_mapped"),
      kernelBytes: keyed(stat, "kernel") ?? KERNEL_PARTS.reduce((sum, part) => sum + of(part), 0),
      peakBytes: single(text("memory.peak")) ?? 0,
      limitHits: keyed(text("memory.events"), "max") ?? 0,
      ...faults,
    };
  }
  return {
    cacheBytes: of("total_cache"),
    mappedFileBytes: of("total_mapped_file"),
    kernelBytes: single(text("memory.kmem.usage_in_bytes")) ?? 0,
    peakBytes: single(text("memory.max_usage_in_bytes")) ?? 0,
    limitHits: single(text("memory.failcnt")) ?? 0,
    ...faults,
  };
}

/** Processes that the kernel has ended for want of memory; undefined when the cgroup has no such figure. */
export function oomKills(text: ReadText): number | undefined {
  return keyed(text("memory.events"), "oom_kill") ?? keyed(text("memory.oom_control"), "oom_kill");
}
