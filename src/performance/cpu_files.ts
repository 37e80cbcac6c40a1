import { FailedPreconditionError } from "../base/errors.ts";
import { parseCpuSet } from "./cpu_set.ts";

/** Where the kernel keeps what it knows of CPUs, and where we keep what was there before. */
export interface CpuPlaces {
  /** `/sys/devices/system/cpu`. */
  readonly cpuDirectory: string;
  /** `/var/run/crio/cpu`, which CRI-O uses too: values that one saved the other restores. */
  readonly saveDirectory: string;
}

const LATENCY = "power/pm_qos_resume_latency_us";
const GOVERNOR = "cpufreq/scaling_governor";
const GOVERNORS = "cpufreq/scaling_available_governors";

/** Files of single CPUs: the value before the first change is saved, and comes back at the end. */
export class CpuFiles {
  constructor(private readonly places: CpuPlaces) {}

  /** How long these CPUs may take to wake up: `n/a`, `0` or microseconds. */
  async setLatency(cpus: string, value: string): Promise<void> {
    for (const cpu of parseCpuSet(cpus)) await this.#set(cpu, { file: LATENCY, value });
  }

  async restoreLatency(cpus: string): Promise<void> {
    for (const cpu of parseCpuSet(cpus)) await this.#restore(cpu, LATENCY);
  }

  /** @throws FailedPreconditionError when a CPU does not know the governor; no CPU is changed then */
  async setGovernor(cpus: string, governor: string): Promise<void> {
    for (const cpu of parseCpuSet(cpus)) {
      const known = await Deno.readTextFile(this.#path(cpu, GOVERNORS)).catch(() => "");
      if (known.split(/\s+/).includes(governor)) continue;
      throw new FailedPreconditionError(
        `CPU ${cpu} has no frequency governor ${governor} (it has: ${known.trim() || "none"})`,
      );
    }
    for (const cpu of parseCpuSet(cpus)) await this.#set(cpu, { file: GOVERNOR, value: governor });
  }

  async restoreGovernor(cpus: string): Promise<void> {
    for (const cpu of parseCpuSet(cpus)) await this.#restore(cpu, GOVERNOR);
  }

  /** The threads of the core that a CPU belongs to, as a list. */
  async siblings(cpu: number): Promise<string> {
    return (await Deno.readTextFile(this.#path(cpu, "topology/thread_siblings_list"))).trim();
  }

  /** CPUs that are online, as a list. */
  async online(): Promise<string> {
    return (await Deno.readTextFile(`${this.places.cpuDirectory}/online`)).trim();
  }

  async #set(cpu: number, { file, value }: { file: string; value: string }): Promise<void> {
    const saved = `${this.places.saveDirectory}/cpu${cpu}/${file}`;
    const path = this.#path(cpu, file);
    if (await read(saved) === undefined) {
      await Deno.mkdir(saved.slice(0, saved.lastIndexOf("/")), { recursive: true, mode: 0o750 });
      await Deno.writeTextFile(saved, await Deno.readTextFile(path), { mode: 0o644 });
    }
    await Deno.writeTextFile(path, value);
  }

  async #restore(cpu: number, file: string): Promise<void> {
    const saved = `${this.places.saveDirectory}/cpu${cpu}/${file}`;
    const value = await read(saved);
    if (value === undefined) return; // restored before
    await Deno.writeTextFile(this.#path(cpu, file), value.trim());
    await Deno.remove(saved);
  }

  #path(cpu: number, file: string): string {
    return `${this.places.cpuDirectory}/cpu${cpu}/${file}`;
  }
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
