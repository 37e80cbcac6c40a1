import type { Clock } from "../../base/clock.ts";
import { SlicedReads } from "../../base/sliced_reads.ts";
import type { CgroupLayout } from "../../linux/host.ts";
import type { ControllerFiles, ReadText } from "./_parse.ts";
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
/** Callers share what was read within this time. */
const MAX_AGE_MS = 1000;
const NANOS = 1_000_000_000n;

/** Where a file is: `<mount><cgroup>/<name>`. */
interface StatsFile {
  readonly mount: string;
  readonly name: string;
}

/**
 * Reads the figures of cgroups, each at most once a second, whoever asks. A cgroup is named by its path below the mount
 * points, as `podCgroup` and `containerCgroup` give it.
 */
export class CgroupStatsReader {
  readonly #files: readonly StatsFile[];
  readonly #reads: SlicedReads<string, CgroupStats>;

  constructor(layout: CgroupLayout, private readonly clock: Clock) {
    this.#files = statsFiles(layout);
    this.#reads = new SlicedReads<string, CgroupStats>({
      clock,
      maxAgeMs: MAX_AGE_MS,
      read: (path, previous) => this.#sample(this.#texts(path), previous),
      readSlowly: async (path, previous) => this.#sample(await this.#textsSlowly(path), previous),
    });
  }

  /** Figures that are at most a second old; undefined when the cgroup does not exist. */
  async read(path: string, options: { signal?: AbortSignal } = {}): Promise<CgroupStats | undefined> {
    return await this.#reads.get(path, options);
  }

  #texts(path: string): Map<string, string> {
    const texts = new Map<string, string>();
    for (const { mount, name } of this.#files) {
      const text = readSync(`${mount}${path}/${name}`);
      if (text !== undefined) texts.set(name, text);
    }
    return texts;
  }

  async #textsSlowly(path: string): Promise<Map<string, string>> {
    const texts = new Map<string, string>();
    for (const { mount, name } of this.#files) {
      try {
        texts.set(name, await Deno.readTextFile(`${mount}${path}/${name}`));
      } catch (error) {
        if (!isAbsent(error)) throw error;
      }
    }
    return texts;
  }

  #sample(texts: ReadonlyMap<string, string>, previous: CgroupStats | undefined): CgroupStats | undefined {
    if (texts.size === 0) return undefined;
    return sampleOf((name) => texts.get(name), { atNanos: this.clock.nowNanos(), previous });
  }
}

/** The files that this host has for each cgroup, each once. */
export function statsFiles(layout: CgroupLayout): readonly StatsFile[] {
  const files = new Map<string, StatsFile>();
  for (const controller of CONTROLLERS) {
    const own = layout.mode === "v2"
      ? controller.v2.map((name) => ({ mount: layout.unified, name }))
      : Object.entries(controller.v1).flatMap(([v1, names]) => names.map((name) => ({ mount: layout.v1[v1], name })));
    for (const { mount, name } of own) if (mount !== undefined) files.set(name, { mount, name });
  }
  return [...files.values()];
}

/** Makes a sample of the texts of a cgroup's files. */
export function sampleOf(
  text: ReadText,
  { atNanos, previous }: { readonly atNanos: bigint; readonly previous: CgroupStats | undefined },
): CgroupStats {
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
  { atNanos, previous }: { readonly atNanos: bigint; readonly previous: CgroupStats | undefined },
): { readonly usageNanoCores?: bigint } {
  if (previous?.cpu === undefined) return {};
  const elapsed = atNanos - previous.atNanos;
  const used = cpu.usageNanos - previous.cpu.usageNanos;
  // A smaller counter: another cgroup of the same name.
  return elapsed <= 0n || used < 0n ? {} : { usageNanoCores: used * NANOS / elapsed };
}

function readSync(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** ENOENT; ENODEV: the cgroup went away between open and read; EOPNOTSUPP: the kernel was started without pressure. */
function isAbsent(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    (error instanceof Error && /os error (19|95)\)/.test(error.message));
}
