import type { Clock } from "../../base/clock.ts";
import { SlicedReads } from "../../base/sliced_reads.ts";
import type { CgroupLayout } from "../../linux/host.ts";
import type { ControllerFiles, ReadText } from "./_parse.ts";

/** Where a file is: `<mount><cgroup>/<name>`. */
export interface StatsFile {
  readonly mount: string;
  readonly name: string;
}

/** What a sample is made of, besides the texts of the files. */
export interface SampleContext<Sample> {
  readonly atNanos: bigint;
  /** The sample before; absent at the first one. */
  readonly previous: Sample | undefined;
}

export interface SampledCgroupsOptions<Sample> {
  readonly files: readonly StatsFile[];
  sample(text: ReadText, context: SampleContext<Sample>): Sample;
  /** Callers share what was read within this time. */
  readonly maxAgeMs: number;
  readonly clock: Clock;
}

/**
 * Samples of cgroups, each read at most once in a time, whoever asks. A cgroup is named by its path below the mount
 * points, as `podCgroup` and `containerCgroup` give it.
 */
export class SampledCgroups<Sample> {
  readonly #reads: SlicedReads<string, Sample>;

  constructor(private readonly options: SampledCgroupsOptions<Sample>) {
    const { clock, maxAgeMs } = options;
    this.#reads = new SlicedReads<string, Sample>({
      clock,
      maxAgeMs,
      read: (path, previous) => this.#sample(this.#texts(path), previous),
      readSlowly: async (path, previous) => this.#sample(await this.#textsSlowly(path), previous),
    });
  }

  /** Undefined when the cgroup does not exist. */
  async read(path: string, options: { signal?: AbortSignal } = {}): Promise<Sample | undefined> {
    return await this.#reads.get(path, options);
  }

  #texts(path: string): Map<string, string> {
    const texts = new Map<string, string>();
    for (const { mount, name } of this.options.files) {
      const text = readSync(`${mount}${path}/${name}`);
      if (text !== undefined) texts.set(name, text);
    }
    return texts;
  }

  async #textsSlowly(path: string): Promise<Map<string, string>> {
    const texts = new Map<string, string>();
    for (const { mount, name } of this.options.files) {
      try {
        texts.set(name, await Deno.readTextFile(`${mount}${path}/${name}`));
      } catch (error) {
        if (!isAbsent(error)) throw error;
      }
    }
    return texts;
  }

  #sample(texts: ReadonlyMap<string, string>, previous: Sample | undefined): Sample | undefined {
    if (texts.size === 0) return undefined;
    return this.options.sample((name) => texts.get(name), { atNanos: this.options.clock.nowNanos(), previous });
  }
}

/** The files that this host has for each cgroup, each once. */
export function filesOf(layout: CgroupLayout, controllers: readonly ControllerFiles[]): readonly StatsFile[] {
  const files = new Map<string, StatsFile>();
  for (const controller of controllers) {
    const own = layout.mode === "v2"
      ? controller.v2.map((name) => ({ mount: layout.unified, name }))
      : Object.entries(controller.v1).flatMap(([v1, names]) => names.map((name) => ({ mount: layout.v1[v1], name })));
    for (const { mount, name } of own) if (mount !== undefined) files.set(name, { mount, name });
  }
  return [...files.values()];
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
