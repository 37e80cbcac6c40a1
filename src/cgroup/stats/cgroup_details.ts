import type { Clock } from "../../base/clock.ts";
import type { CgroupLayout } from "../../linux/host.ts";
import { type ControllerFiles, limit, type ReadText, single } from "./_parse.ts";
import { CPU_DETAIL_FILES, type CpuDetails, cpuDetails } from "./cpu_details.ts";
import { hugetlbDetails, hugetlbFiles, type HugetlbUse, pageSizeName } from "./hugetlb_details.ts";
import { type DeviceIo, type DeviceNames, IO_DETAIL_FILES, ioDetails } from "./io_details.ts";
import { MEMORY_DETAIL_FILES, type MemoryDetails, memoryDetails, OOM_FILES, oomKills } from "./memory_details.ts";
import { filesOf, SampledCgroups } from "./sampled_cgroups.ts";

/** Kinds of figures that only metrics ask for. */
export type DetailKind = "cpu" | "memory" | "oom" | "pids" | "io" | "hugetlb";

/** Figures of one cgroup at one moment, beyond `CgroupStats`. What was not asked for, or is not counted, is absent. */
export interface CgroupDetails {
  /** When they were read, nanoseconds since the epoch. */
  readonly atNanos: bigint;
  readonly cpu?: CpuDetails;
  readonly memory?: MemoryDetails;
  readonly oomKills?: number;
  readonly pids?: {
    /** Tasks, that is threads. */
    readonly current: number;
    /** Absent without a limit. */
    readonly max?: number;
  };
  readonly io?: readonly DeviceIo[];
  readonly hugetlb?: readonly HugetlbUse[];
}

export interface CgroupDetailsOptions {
  readonly kinds: readonly DetailKind[];
  /** As in file names; see {@link hugePageSizes}. */
  readonly pageSizes: readonly string[];
  readonly deviceNames: DeviceNames;
  /** How old figures may be; default 1000. */
  readonly maxAgeMs?: number;
}

const MAX_AGE_MS = 1000;
const PIDS_DETAIL_FILES: ControllerFiles = {
  v1: { pids: ["pids.current", "pids.max"] },
  v2: ["pids.current", "pids.max"],
};

/** Reads figures of cgroups that metrics need, each at most once a second, whoever asks. */
export class CgroupDetailsReader {
  readonly #cgroups: SampledCgroups<CgroupDetails>;

  constructor(layout: CgroupLayout, clock: Clock, options: CgroupDetailsOptions) {
    const { kinds, pageSizes, maxAgeMs = MAX_AGE_MS } = options;
    const files: Readonly<Record<DetailKind, ControllerFiles>> = {
      cpu: CPU_DETAIL_FILES,
      memory: MEMORY_DETAIL_FILES,
      oom: OOM_FILES,
      pids: PIDS_DETAIL_FILES,
      io: IO_DETAIL_FILES,
      hugetlb: hugetlbFiles(pageSizes),
    };
    this.#cgroups = new SampledCgroups({
      files: filesOf(layout, kinds.map((kind) => files[kind])),
      sample: (text, { atNanos }) => ({ atNanos, ...detailsOf(text, options) }),
      maxAgeMs,
      clock,
    });
  }

  /** Undefined when the cgroup does not exist. */
  async read(path: string, options: { signal?: AbortSignal } = {}): Promise<CgroupDetails | undefined> {
    return await this.#cgroups.read(path, options);
  }
}

/** Sizes of huge pages of this machine, as cgroup file names have them; read once, at start. */
export async function hugePageSizes(directory = "/sys/kernel/mm/hugepages"): Promise<readonly string[]> {
  const sizes: number[] = [];
  try {
    for await (const { name } of Deno.readDir(directory)) {
      const kibi = Number(/^hugepages-(\d+)kB$/.exec(name)?.[1]);
      if (Number.isSafeInteger(kibi) && kibi > 0) sizes.push(kibi);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return sizes.sort((a, b) => a - b).map(pageSizeName);
}

/** Makes a sample of the texts of a cgroup's files. */
export function detailsOf(
  text: ReadText,
  { pageSizes, deviceNames }: Pick<CgroupDetailsOptions, "pageSizes" | "deviceNames">,
): Omit<CgroupDetails, "atNanos"> {
  return {
    ...present("cpu", cpuDetails(text)),
    ...present("memory", memoryDetails(text)),
    ...present("oomKills", oomKills(text)),
    ...present("pids", pidsDetails(text)),
    ...present("io", ioDetails(text, deviceNames)),
    ...present("hugetlb", hugetlbDetails(text, pageSizes)),
  };
}

function pidsDetails(text: ReadText): CgroupDetails["pids"] | undefined {
  const current = single(text("pids.current"));
  if (current === undefined) return undefined;
  const max = limit(single(text("pids.max")));
  return { current, ...present("max", max) };
}

function present<Key extends string, Value>(key: Key, value: Value | undefined): { readonly [K in Key]?: Value } {
  return value === undefined ? {} : { [key]: value } as { readonly [K in Key]?: Value };
}
