import { InvalidArgumentError, UnimplementedError } from "../base/errors.ts";
import type { ResourceLimits } from "../base/resources.ts";
import type {
  ContainerAdjustment,
  Hooks,
  KeyValue,
  LinuxContainerAdjustment,
  LinuxDevice,
  LinuxNamespace,
  LinuxRdt,
  LinuxResources,
  POSIXRlimit,
} from "../nri/gen/nri.ts";
import { removedName } from "../nri/message.ts";
import type { LimitContext } from "../oci/spec/resources.ts";
import type {
  OciIntelRdt,
  OciLinux,
  OciNamespace,
  OciProcess,
  OciResources,
  OciRlimit,
  OciSpec,
} from "../oci/spec/types.ts";
import { adjustMounts } from "./adjust_mounts.ts";
import { adjustResources } from "./adjust_resources.ts";
import {
  deviceOf,
  deviceRuleOf,
  exact,
  hookOf,
  ioPriorityOf,
  memoryPolicyOf,
  schedulerOf,
  seccompOf,
} from "./oci_values.ts";

/** What adjustments need to know of the container and its node. */
export interface AdjustmentContext {
  /** The container's limits without the adjustment. */
  readonly now: ResourceLimits;
  readonly limits: LimitContext;
  /** The lowest oom_score_adj that can be set here. */
  readonly minOomScoreAdj: number;
  /** Those annotations that may be set. */
  allowed(annotations: Readonly<Record<string, string>>): Readonly<Record<string, string>>;
  /** Puts CDI devices into a specification. */
  withCdiDevices(spec: OciSpec, devices: readonly string[]): Promise<OciSpec>;
}

/** A runtime specification after the adjustment, and the limits that it changed. */
export interface Adjusted {
  readonly spec: OciSpec;
  readonly changed: ResourceLimits;
}

/** The runtime specification that knows a field; older runtimes would pass it over in silence. */
const SINCE = { ioPriority: "1.1", scheduler: "1.1", netDevices: "1.3", memoryPolicy: "1.3" } as const;

/**
 * The runtime specification as plugins want it. CDI devices come before other devices, so that plugins can change what they bring.
 *
 * @throws InvalidArgumentError, UnimplementedError for what this node or the container's runtime cannot do
 */
export async function adjustSpec(
  spec: OciSpec,
  adjustment: ContainerAdjustment,
  context: AdjustmentContext,
): Promise<Adjusted> {
  const { linux, annotations, hooks, mounts, CDIDevices } = adjustment;
  const own: OciSpec = {
    ...spec,
    process: adjustProcess(spec.process, adjustment),
    annotations: adjustAnnotations(spec.annotations, annotations, context),
    ...(hooks === undefined ? {} : { hooks: adjustHooks(spec.hooks ?? {}, hooks) }),
  };
  const names = CDIDevices.map(({ name }) => name);
  const devised = names.length === 0 ? own : await context.withCdiDevices(own, names);
  const { spec: adjusted, changed } = linux === undefined
    ? { spec: devised, changed: {} }
    : adjustLinux(devised, linux, context);
  return { spec: await adjustMounts(adjusted, mounts), changed };
}

function adjustProcess(process: OciProcess, { args, env, rlimits }: ContainerAdjustment): OciProcess {
  return {
    ...process,
    args: args.length === 0 ? process.args : args,
    env: adjustEnv(process.env, env),
    ...(rlimits.length === 0 ? {} : { rlimits: adjustRlimits(process.rlimits ?? [], rlimits) }),
  };
}

/** A variable that is there keeps its place. */
function adjustEnv(env: readonly string[], wanted: readonly KeyValue[]): string[] {
  const lines = new Map(env.map((line) => [line.split("=", 1)[0] ?? line, line]));
  for (const { key, value } of wanted) {
    const removed = removedName(key);
    if (removed === undefined) lines.set(key, `${key}=${value}`);
    else lines.delete(removed);
  }
  return [...lines.values()];
}

function adjustRlimits(rlimits: readonly OciRlimit[], wanted: readonly POSIXRlimit[]): OciRlimit[] {
  const limits = new Map(rlimits.map((limit) => [limit.type, limit]));
  for (const { type, soft, hard } of wanted) limits.set(type, { type, soft: exact(soft), hard: exact(hard) });
  return [...limits.values()];
}

function adjustAnnotations(
  annotations: Readonly<Record<string, string>>,
  wanted: ReadonlyMap<string, string>,
  context: AdjustmentContext,
): Record<string, string> {
  const removed = new Set([...wanted.keys()].map(removedName));
  const added = [...wanted].filter(([key]) => removedName(key) === undefined);
  const kept = Object.entries(annotations).filter(([key]) => !removed.has(key));
  return { ...Object.fromEntries(kept), ...context.allowed(Object.fromEntries(added)) };
}

function adjustHooks(hooks: OciSpec["hooks"] & object, wanted: Hooks): OciSpec["hooks"] & object {
  const stages = Object.entries(wanted) as Array<[keyof Hooks, Hooks[keyof Hooks]]>;
  const added = stages.filter(([, list]) => list.length > 0)
    .map(([stage, list]) => [stage, [...hooks[stage] ?? [], ...list.map(hookOf)]]);
  return { ...hooks, ...Object.fromEntries(added) };
}

function adjustLinux(spec: OciSpec, wanted: LinuxContainerAdjustment, context: AdjustmentContext): Adjusted {
  refuseUnknown(spec.ociVersion, wanted);
  const { linux } = spec;
  const { resources, changed } = adjustLimits(linux.resources ?? {}, wanted.resources, context);
  const { seccompPolicy, memoryPolicy, cgroupsPath } = wanted;
  return {
    changed,
    spec: {
      ...spec,
      process: adjustScheduling(spec.process, wanted, context),
      linux: {
        ...adjustRdt(linux, wanted),
        ...adjustDevices(linux, { wanted: wanted.devices, resources }),
        namespaces: adjustNamespaces(linux.namespaces, wanted.namespaces),
        ...(wanted.sysctl.size === 0 ? {} : { sysctl: adjustRecord(linux.sysctl ?? {}, wanted.sysctl) }),
        ...(wanted.netDevices.size === 0
          ? {}
          : { netDevices: adjustRecord(linux.netDevices ?? {}, wanted.netDevices) }),
        ...(cgroupsPath === "" ? {} : { cgroupsPath }),
        ...(seccompPolicy === undefined ? {} : { seccomp: seccompOf(seccompPolicy) }),
        ...(memoryPolicy === undefined ? {} : { memoryPolicy: memoryPolicyOf(memoryPolicy) }),
      },
    },
  };
}

/** @throws UnimplementedError for a field that the container's runtime would pass over in silence */
function refuseUnknown(ociVersion: string, wanted: LinuxContainerAdjustment): void {
  const { ioPriority, scheduler, netDevices, memoryPolicy } = wanted;
  const used: Record<keyof typeof SINCE, boolean> = {
    ioPriority: ioPriority !== undefined && ioPriorityOf(ioPriority) !== undefined,
    scheduler: scheduler !== undefined && schedulerOf(scheduler) !== undefined,
    netDevices: [...netDevices.keys()].some((name) => removedName(name) === undefined),
    memoryPolicy: memoryPolicy !== undefined,
  };
  for (const [field, since] of Object.entries(SINCE)) {
    if (!used[field as keyof typeof SINCE] || isAtLeast(ociVersion, since)) continue;
    throw new UnimplementedError(
      `a plugin sets ${field}, which the container's runtime does not know: it takes runtime specifications up to ` +
        `${ociVersion}, and this is new in ${since}`,
    );
  }
}

function isAtLeast(version: string, least: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [leastMajor = 0, leastMinor = 0] = least.split(".").map(Number);
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
}

/** OOM score, I/O priority and scheduling policy; without a class or policy the process keeps the node's. */
function adjustScheduling(
  process: OciProcess,
  wanted: LinuxContainerAdjustment,
  { minOomScoreAdj }: AdjustmentContext,
): OciProcess {
  const { ioPriority, scheduler, ...rest } = process;
  const { oomScoreAdj } = wanted;
  const priority = wanted.ioPriority === undefined ? ioPriority : ioPriorityOf(wanted.ioPriority);
  const policy = wanted.scheduler === undefined ? scheduler : schedulerOf(wanted.scheduler);
  return {
    ...rest,
    ...(oomScoreAdj === undefined ? {} : { oomScoreAdj: Math.max(Number(oomScoreAdj.value), minOomScoreAdj) }),
    ...(priority === undefined ? {} : { ioPriority: priority }),
    ...(policy === undefined ? {} : { scheduler: policy }),
  };
}

function adjustLimits(
  resources: OciResources,
  wanted: LinuxResources | undefined,
  context: AdjustmentContext,
): { resources: OciResources; changed: ResourceLimits } {
  return wanted === undefined ? { resources, changed: {} } : adjustResources(resources, wanted, context);
}

/** A device comes with the right to use it. */
function adjustDevices(
  { devices = [] }: OciLinux,
  { wanted, resources }: { wanted: readonly LinuxDevice[]; resources: OciResources },
): Pick<OciLinux, "devices" | "resources"> {
  const touched = new Set(wanted.map(({ path }) => removedName(path) ?? path));
  const added = wanted.filter(({ path }) => removedName(path) === undefined);
  return {
    devices: [...devices.filter(({ path }) => !touched.has(path)), ...added.map(deviceOf)],
    resources: { ...resources, devices: [...resources.devices ?? [], ...added.map(deviceRuleOf)] },
  };
}

const NAMESPACES: ReadonlySet<string> = new Set<OciNamespace["type"]>([
  "pid",
  "network",
  "mount",
  "ipc",
  "uts",
  "user",
  "cgroup",
]);

/** One that is taken away is the node's. */
function adjustNamespaces(namespaces: readonly OciNamespace[], wanted: readonly LinuxNamespace[]): OciNamespace[] {
  const byType = new Map<string, OciNamespace>(namespaces.map((namespace) => [namespace.type, namespace]));
  for (const { type, path } of wanted) {
    const removed = removedName(type);
    if (removed !== undefined) byType.delete(removed);
    else if (isNamespace(type)) byType.set(type, path === "" ? { type } : { type, path });
    else {throw new InvalidArgumentError(
        `a plugin sets a namespace of type ${JSON.stringify(type)}, which is not known`,
      );}
  }
  return [...byType.values()];
}

function isNamespace(type: string): type is OciNamespace["type"] {
  return NAMESPACES.has(type);
}

function adjustRecord<Value>(
  present: Readonly<Record<string, Value>>,
  wanted: ReadonlyMap<string, Value>,
): Record<string, Value> {
  const values = new Map(Object.entries(present));
  for (const [key, value] of wanted) {
    const removed = removedName(key);
    if (removed === undefined) values.set(key, value);
    else values.delete(removed);
  }
  return Object.fromEntries(values);
}

/** A class is a group of resctrl; the empty one is the node's own. */
function adjustRdt(linux: OciLinux, { rdt, resources }: LinuxContainerAdjustment): OciLinux {
  const { intelRdt, ...rest } = linux;
  const name = resources?.rdtClass?.value;
  const named = name === undefined ? intelRdt : name === "" ? undefined : { closID: name };
  const adjusted = rdt === undefined ? named : rdtOf(rdt, rdt.remove ? {} : named ?? {});
  return adjusted === undefined || Object.keys(adjusted).length === 0 ? rest : { ...rest, intelRdt: adjusted };
}

function rdtOf({ closId, schemata, enableMonitoring }: LinuxRdt, now: OciIntelRdt): OciIntelRdt {
  return {
    ...now,
    ...(closId === undefined ? {} : { closID: closId.value }),
    ...(schemata === undefined ? {} : { schemata: schemata.value }),
    ...(enableMonitoring === undefined ? {} : { enableMonitoring: enableMonitoring.value }),
  };
}
