import { InvalidArgumentError } from "../base/errors.ts";
import { type AnnotationName, type Annotations, annotationValue } from "../config/annotations.ts";
import { parseCpuSet } from "./cpu_set.ts";

/** What is tuned for one container, kept in its record: it has to be taken back, by another daemon perhaps. */
export interface PerformancePlan {
  /** CPUs that the container has for itself, as a list; may be empty where nothing needs them. */
  readonly cpus: string;
  /** CPUs that it may use with others, as a list. */
  readonly sharedCpus?: string;
  /** The scheduler leaves its CPUs out when it balances load. */
  readonly isolate?: true;
  /** It and its pod have no CPU quota. */
  readonly unthrottle?: true;
  /** Interrupts stay away from its CPUs, or from all but the first core's. */
  readonly interrupts?: "disable" | "housekeeping";
  /** Those of its CPUs that keep interrupts, as a list. */
  readonly housekeepingCpus?: string;
  /** For `pm_qos_resume_latency_us`: `n/a` is no sleep state, `0` any, else microseconds. */
  readonly resumeLatency?: string;
  /** The frequency governor. */
  readonly governor?: string;
  /** Where processes start that are run in it later. */
  readonly execCpu?: number;
}

export interface PlanInput {
  readonly annotations: Annotations;
  readonly container: string;
  /** Name of the runtime handler. */
  readonly handler: string;
  readonly cgroupParent: string;
  readonly limits: { readonly cpuShares?: number; readonly cpusetCpus?: string };
  /** `shared_cpuset` of the configuration. */
  readonly sharedCpuset: string;
  /** `exec_cpu_affinity` of the handler. */
  readonly execCpuAffinity: string;
}

const SHARES_PER_CPU = 1024;
const NAMES: readonly AnnotationName[] = [
  "cpuLoadBalancing",
  "cpuQuota",
  "irqLoadBalancing",
  "cpuCStates",
  "cpuFreqGovernor",
  "cpuShared",
];

/**
 * What the annotations of a container or its pod ask for. Only guaranteed containers with whole CPUs are tuned; others
 * that ask get nothing, as with CRI-O: a pod may have both kinds.
 *
 * @returns undefined when there is nothing to do
 * @throws InvalidArgumentError for a value that means nothing, and where CPUs are needed that the container has not
 */
export function performancePlan(input: PlanInput): PerformancePlan | undefined {
  const { annotations, container, handler, cgroupParent, limits } = input;
  const value = (name: AnnotationName): string | undefined =>
    annotationValue(annotations, name, { container }) ??
      (name === "cpuShared" ? undefined : annotationValue(annotations, name));
  const isAsked = handler.includes("high-performance") || NAMES.some((name) => value(name) !== undefined);
  const shares = limits.cpuShares ?? 0;
  const isGuaranteed = !/burstable|besteffort/.test(cgroupParent);
  if (!isAsked || !isGuaranteed || shares === 0 || shares % SHARES_PER_CPU !== 0) return undefined;
  const cpus = limits.cpusetCpus ?? "";
  const sharedCpus = sharedOf(value("cpuShared"), input);
  const plan = withoutAbsent({
    sharedCpus,
    isolate: switchedOff("cpuLoadBalancing", value("cpuLoadBalancing")),
    unthrottle: switchedOff("cpuQuota", value("cpuQuota")),
    interrupts: interruptsOf(value("irqLoadBalancing")),
    resumeLatency: latencyOf(value("cpuCStates")),
    governor: governorOf(value("cpuFreqGovernor")),
    execCpu: input.execCpuAffinity === "first" ? parseCpuSet(sharedCpus ?? cpus)[0] : undefined,
  });
  const { unthrottle: _unthrottle, ...needy } = plan;
  if (cpus === "" && Object.keys(needy).length > 0) {
    throw new InvalidArgumentError(
      `container ${container}: its annotations (${
        NAMES.filter((name) => value(name) !== undefined).join(", ")
      }) need ` +
        "CPUs of its own, which the kubelet gives with cpuManagerPolicy static",
    );
  }
  return Object.keys(plan).length === 0 ? undefined : { cpus, ...plan };
}

function sharedOf(value: string | undefined, { sharedCpuset, container }: PlanInput): string | undefined {
  if (value !== "enable") return undefined;
  if (sharedCpuset !== "") return sharedCpuset;
  throw new InvalidArgumentError(
    `container ${container}: cpu-shared is asked for, but shared_cpuset is not configured`,
  );
}

function switchedOff(name: AnnotationName, value: string | undefined): true | undefined {
  if (value === "disable" || value === "true") return true;
  return isUsual(value) ? undefined : refuse(name, { value, known: "disable" });
}

function interruptsOf(value: string | undefined): "disable" | "housekeeping" | undefined {
  if (value === "disable" || value === "true") return "disable";
  if (value === "housekeeping") return value;
  return isUsual(value) ? undefined : refuse("irqLoadBalancing", { value, known: "disable, housekeeping" });
}

function latencyOf(value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (value === "enable") return "0";
  if (value === "disable") return "n/a";
  const micros = Number(/^max_latency:(\d{1,9})$/.exec(value)?.[1] ?? 0);
  return micros > 0 ? String(micros) : refuse("cpuCStates", { value, known: "enable, disable, max_latency:<us>" });
}

function governorOf(value: string | undefined): string | undefined {
  if (value === undefined || /^[a-z_]{1,15}$/.test(value)) return value;
  return refuse("cpuFreqGovernor", { value, known: "a governor of the kernel, such as performance" });
}

/** What leaves everything as it is. */
function isUsual(value: string | undefined): boolean {
  return value === undefined || value === "enable" || value === "false";
}

function refuse(name: AnnotationName, { value, known }: { value: string | undefined; known: string }): never {
  throw new InvalidArgumentError(`annotation ${name}: ${JSON.stringify(value)} is not one of: ${known}`);
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function withoutAbsent<T extends object>(fields: T): Present<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>;
}
