import { InvalidArgumentError } from "../base/errors.ts";
import type { ResourceLimits } from "../base/resources.ts";
import type { Annotations } from "../config/annotations.ts";
import type { WorkloadConfig } from "../config/schema.ts";
import { unifiedOf } from "./annotation_effects.ts";

/** What changes the limits of a request before the container is made. */
export interface LimitSources {
  readonly container: string;
  readonly annotations: Annotations;
  /** What the pod belongs to, if anything. */
  readonly workload: WorkloadConfig | undefined;
}

const DEFAULT_PERIOD_MICROS = 100_000;
/** The kernel's smallest quota. */
const MIN_QUOTA_MICROS = 1000;
const MILLIS_PER_CPU = 1000;

/**
 * The limits that a container starts with: those of the request, then its workload's, then the files of cgroup v2 that an annotation
 * names.
 *
 * @throws InvalidArgumentError for an annotation that is wrong
 */
export function startingLimits(limits: ResourceLimits, sources: LimitSources): ResourceLimits {
  const { container, annotations, workload } = sources;
  const unified = { ...limits.unified, ...unifiedOf(annotations, container) };
  return {
    ...limits,
    ...(workload === undefined ? {} : workloadLimits(limits, { container, annotations, workload })),
    ...(Object.keys(unified).length === 0 ? {} : { unified }),
  };
}

type WorkloadResources = WorkloadConfig["resources"];

/** What a container gets of its workload: the annotation's values, for what it leaves out the configuration's; 0 and empty are "none". */
function workloadLimits(limits: ResourceLimits, sources: LimitSources & { workload: WorkloadConfig }): ResourceLimits {
  const { workload, annotations, container } = sources;
  const own = overrides(annotations, `${workload.annotationPrefix}/${container}`);
  const pick = (name: NumberName): number | undefined => own[name] || workload.resources[name] || undefined;
  const cpuset = (own.cpuset ?? "") === "" ? workload.resources.cpuset : own.cpuset ?? "";
  const period = pick("cpuPeriodMicros");
  const millis = pick("cpuLimitMillis");
  const usedPeriod = period ?? limits.cpuPeriodMicros ?? DEFAULT_PERIOD_MICROS;
  const quota = millis === undefined
    ? pick("cpuQuotaMicros")
    : Math.max(MIN_QUOTA_MICROS, Math.floor(millis * usedPeriod / MILLIS_PER_CPU));
  const shares = pick("cpuShares");
  return {
    ...(shares === undefined ? {} : { cpuShares: shares }),
    ...(quota === undefined ? {} : { cpuQuotaMicros: quota }),
    ...(period === undefined && millis === undefined ? {} : { cpuPeriodMicros: usedPeriod }),
    ...(cpuset === "" ? {} : { cpusetCpus: cpuset }),
  };
}

/** Field names of the annotation, which are the option's. */
const NUMBERS = {
  cpushares: "cpuShares",
  cpuquota: "cpuQuotaMicros",
  cpuperiod: "cpuPeriodMicros",
  cpulimit: "cpuLimitMillis",
} as const;
type NumberName = typeof NUMBERS[keyof typeof NUMBERS];

function overrides(annotations: Annotations, key: string): Partial<WorkloadResources> {
  const text = key.startsWith("/") || !Object.hasOwn(annotations, key) ? undefined : annotations[key];
  if (text === undefined) return {};
  const refuse = (why: string): InvalidArgumentError =>
    new InvalidArgumentError(`annotation ${key}: ${why}; the form is {"cpushares": 512, "cpuset": "0-1"}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refuse("is not JSON");
  }
  if (value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw refuse("is not an object");
  const fields = new Map(Object.entries(value));
  const { cpuset } = { cpuset: fields.get("cpuset") ?? "" };
  if (typeof cpuset !== "string" || !/^(?:\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)?$/.test(cpuset)) {
    throw refuse("cpuset is not a list of CPUs");
  }
  const numbers = Object.entries(NUMBERS).map(([field, name]) => {
    const number = fields.get(field) ?? 0;
    if (!Number.isSafeInteger(number) || Number(number) < -1) throw refuse(`${field} is not a whole number`);
    return [name, Number(number)] as const;
  });
  return { ...Object.fromEntries(numbers), cpuset };
}
