import { type ControllerFiles, keyed, type ReadText, singleBig } from "./_parse.ts";

/** What cpuDetails is read from. */
export const CPU_DETAIL_FILES: ControllerFiles = {
  v1: { cpuacct: ["cpuacct.usage_user", "cpuacct.usage_sys", "cpuacct.usage_percpu"], cpu: ["cpu.stat"] },
  v2: ["cpu.stat"],
};

/** CPU time of a cgroup and those below it, by kind, and how often its quota held it up. */
export interface CpuDetails {
  readonly userNanos: bigint;
  readonly systemNanos: bigint;
  /** By number of the CPU; empty on v2, which does not count them apart. */
  readonly perCpuNanos: readonly bigint[];
  /** Periods of the quota, and those of them in which it was used up; 0 without a quota. */
  readonly periods: bigint;
  readonly throttledPeriods: bigint;
  readonly throttledNanos: bigint;
}

/** Undefined when the cgroup has no such figures. */
export function cpuDetails(text: ReadText): CpuDetails | undefined {
  const stat = text("cpu.stat");
  const micros = (key: string): bigint => BigInt(keyed(stat, key) ?? 0) * 1000n;
  const of = (key: string): bigint => BigInt(keyed(stat, key) ?? 0);
  const quota = { periods: of("nr_periods"), throttledPeriods: of("nr_throttled") };
  if (keyed(stat, "usage_usec") !== undefined) {
    const times = { userNanos: micros("user_usec"), systemNanos: micros("system_usec"), perCpuNanos: [] };
    return { ...times, ...quota, throttledNanos: micros("throttled_usec") };
  }
  const [userNanos, systemNanos] = [singleBig(text("cpuacct.usage_user")), singleBig(text("cpuacct.usage_sys"))];
  if (userNanos === undefined || systemNanos === undefined) return undefined;
  const perCpu = (text("cpuacct.usage_percpu") ?? "").split(/\s+/).filter((word) => /^\d+$/.test(word));
  return { userNanos, systemNanos, perCpuNanos: perCpu.map(BigInt), ...quota, throttledNanos: of("throttled_time") };
}
