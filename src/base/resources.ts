/** Limits of a container or pod, as the CRI gives them. An absent field means: leave the kernel's default. */
export interface ResourceLimits {
  readonly cpuPeriodMicros?: number;
  readonly cpuQuotaMicros?: number;
  readonly cpuShares?: number;
  /** CPUs in list form, such as `0-2,7`. */
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly memoryLimitBytes?: number;
  /** Memory plus swap; -1 is no limit. */
  readonly memorySwapLimitBytes?: number;
  /** The kernel's score adjustment for the init process, -1000 to 1000. */
  readonly oomScoreAdj?: number;
  readonly hugepageLimits?: readonly HugepageLimit[];
  /** cgroup v2 file name -> value, written as they are. */
  readonly unified?: Readonly<Record<string, string>>;
}

export interface HugepageLimit {
  /** As in cgroup file names: `2MB`, `1GB`. */
  readonly pageSize: string;
  readonly limitBytes: number;
}
