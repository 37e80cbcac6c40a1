import { type ControllerFiles, keyed, type ReadText, singleBig } from "./_parse.ts";
import { type Pressure, pressure } from "./pressure.ts";

/** What cpuStats is read from. */
export const CPU_FILES: ControllerFiles = { v1: { cpuacct: ["cpuacct.usage"] }, v2: ["cpu.stat", "cpu.pressure"] };

/** CPU time that a cgroup has used. */
export interface CpuStats {
  /** Nanoseconds over all CPUs since the cgroup was made. */
  readonly usageNanos: bigint;
  readonly pressure?: Pressure;
}

/** Undefined when the cgroup has no such figure. */
export function cpuStats(text: ReadText): CpuStats | undefined {
  const micros = keyed(text("cpu.stat"), "usage_usec");
  const usageNanos = micros === undefined ? singleBig(text("cpuacct.usage")) : BigInt(micros) * 1000n;
  if (usageNanos === undefined) return undefined;
  const stalled = pressure(text("cpu.pressure"));
  return { usageNanos, ...(stalled === undefined ? {} : { pressure: stalled }) };
}
