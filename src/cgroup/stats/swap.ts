import { type ControllerFiles, keyed, limit, type ReadText, single } from "./_parse.ts";

/** What swapStats is read from. */
export const SWAP_FILES: ControllerFiles = {
  v1: { memory: ["memory.stat"] },
  v2: ["memory.swap.current", "memory.swap.max"],
};

/** Swap that a cgroup and those below it hold, in bytes; memory itself is not in it. */
export interface SwapStats {
  readonly usageBytes: number;
  /** Up to the limit; absent without one. */
  readonly availableBytes?: number;
}

/** Undefined where the kernel does not count swap. */
export function swapStats(text: ReadText): SwapStats | undefined {
  const current = single(text("memory.swap.current"));
  if (current !== undefined) return withLimit(current, limit(single(text("memory.swap.max"))));
  const stat = text("memory.stat");
  const usageBytes = keyed(stat, "total_swap");
  if (usageBytes === undefined) return undefined;
  // v1 limits memory and swap together: what is beyond the memory limit can only be swap.
  const memory = limit(keyed(stat, "hierarchical_memory_limit"));
  const both = limit(keyed(stat, "hierarchical_memsw_limit"));
  return withLimit(usageBytes, memory === undefined || both === undefined ? undefined : Math.max(0, both - memory));
}

function withLimit(usageBytes: number, limitBytes: number | undefined): SwapStats {
  return limitBytes === undefined
    ? { usageBytes }
    : { usageBytes, availableBytes: Math.max(0, limitBytes - usageBytes) };
}
