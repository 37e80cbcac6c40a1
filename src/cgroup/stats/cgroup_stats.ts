import type { Clock } from "../../base/clock.ts";
import type { CgroupLayout } from "../../linux/host.ts";
import type { ControllerFiles, ReadText } from "./_parse.ts";
import { filesOf, type SampleContext, SampledCgroups } from "./sampled_cgroups.ts";
import { CPU_FILES, type CpuStats, cpuStats } from "./cpu.ts";
import { IO_FILES, type IoStats, ioStats } from "./io.ts";
import { MEMORY_FILES, type MemoryStats, memoryStats } from "./memory.ts";
import { PIDS_FILES, type PidsStats, pidsStats } from "./pids.ts";
import { SWAP_FILES, type SwapStats, swapStats } from "./swap.ts";

/** Figures of one cgroup at one moment. What the host does not count is absent. */
export interface CgroupStats {
  /** When they were read, nanoseconds since the epoch. */
  readonly atNanos: bigint;
  readonly cpu?: CpuStats & {
    /** Nanoseconds of CPU time per second since the read before; absent at the first one. */
    readonly usageNanoCores?: bigint;
  };
  readonly memory?: MemoryStats;
  readonly swap?: SwapStats;
  readonly pids?: PidsStats;
  readonly io?: IoStats;
}

const CONTROLLERS: readonly ControllerFiles[] = [CPU_FILES, MEMORY_FILES, SWAP_FILES, PIDS_FILES, IO_FILES];
const MAX_AGE_MS = 1000;
const NANOS = 1_000_000_000n;

/** Reads the figures of cgroups that stats need, each at most once a second, whoever asks. */
export class CgroupStatsReader {
  readonly #cgroups: SampledCgroups<CgroupStats>;

  /** @param options.maxAgeMs how old figures may be; default 1000 */
  constructor(layout: CgroupLayout, clock: Clock, { maxAgeMs = MAX_AGE_MS }: { readonly maxAgeMs?: number } = {}) {
    this.#cgroups = new SampledCgroups({ files: filesOf(layout, CONTROLLERS), sample: sampleOf, clock, maxAgeMs });
  }

  /** Undefined when the cgroup does not exist. */
  async read(path: string, options: { signal?: AbortSignal } = {}): Promise<CgroupStats | undefined> {
    return await this.#cgroups.read(path, options);
  }
}

/** Makes a sample of the texts of a cgroup's files. */
export function sampleOf(text: ReadText, { atNanos, previous }: SampleContext<CgroupStats>): CgroupStats {
  const cpu = cpuStats(text);
  const memory = memoryStats(text);
  const swap = swapStats(text);
  const pids = pidsStats(text);
  const io = ioStats(text);
  return {
    atNanos,
    ...(cpu === undefined ? {} : { cpu: { ...cpu, ...rate(cpu, { atNanos, previous }) } }),
    ...(memory === undefined ? {} : { memory }),
    ...(swap === undefined ? {} : { swap }),
    ...(pids === undefined ? {} : { pids }),
    ...(io === undefined ? {} : { io }),
  };
}

function rate(
  cpu: CpuStats,
  { atNanos, previous }: SampleContext<CgroupStats>,
): { readonly usageNanoCores?: bigint } {
  if (previous?.cpu === undefined) return {};
  const elapsed = atNanos - previous.atNanos;
  const used = cpu.usageNanos - previous.cpu.usageNanos;
  // A smaller counter: another cgroup of the same name.
  return elapsed <= 0n || used < 0n ? {} : { usageNanoCores: used * NANOS / elapsed };
}
