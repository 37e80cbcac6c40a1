import { type ControllerFiles, keyed, limit, type ReadText, single } from "./_parse.ts";
import { type Pressure, pressure } from "./pressure.ts";

/** What memoryStats is read from. */
export const MEMORY_FILES: ControllerFiles = {
  v1: { memory: ["memory.usage_in_bytes", "memory.stat"] },
  v2: ["memory.current", "memory.stat", "memory.max", "memory.pressure"],
};

/** Memory that a cgroup and those below it hold, in bytes. */
export interface MemoryStats {
  /** With page cache. */
  readonly usageBytes: number;
  /** Usage without the file pages that the kernel would drop first. */
  readonly workingSetBytes: number;
  /** Up to the limit; absent without one. On v1 the limits of the parents count as well. */
  readonly availableBytes?: number;
  /** Anonymous memory. */
  readonly rssBytes: number;
  readonly pageFaults: number;
  readonly majorPageFaults: number;
  readonly pressure?: Pressure;
}

/** Undefined when the cgroup has no such figures. */
export function memoryStats(text: ReadText): MemoryStats | undefined {
  const stat = text("memory.stat");
  const current = single(text("memory.current"));
  const usageBytes = current ?? single(text("memory.usage_in_bytes"));
  if (usageBytes === undefined || stat === undefined) return undefined;
  // v1 counts a cgroup alone, and under `total_` with all below it; v2 only the latter.
  const names = current === undefined
    ? { prefix: "total_", rss: "total_rss", limit: keyed(stat, "hierarchical_memory_limit") }
    : { prefix: "", rss: "anon", limit: single(text("memory.max")) };
  const of = (key: string): number => keyed(stat, names.prefix + key) ?? 0;
  const workingSetBytes = Math.max(0, usageBytes - of("inactive_file"));
  const limitBytes = limit(names.limit);
  const stalled = pressure(text("memory.pressure"));
  return {
    usageBytes,
    workingSetBytes,
    ...(limitBytes === undefined ? {} : { availableBytes: Math.max(0, limitBytes - workingSetBytes) }),
    rssBytes: keyed(stat, names.rss) ?? 0,
    pageFaults: of("pgfault"),
    majorPageFaults: of("pgmajfault"),
    ...(stalled === undefined ? {} : { pressure: stalled }),
  };
}
