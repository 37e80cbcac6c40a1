import { InvalidArgumentError } from "../base/errors.ts";
import {
  type Hook,
  IOPrioClass,
  type LinuxDevice,
  type LinuxIOPriority,
  type LinuxMemoryPolicy,
  type LinuxScheduler,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
  type LinuxSeccomp,
  MpolFlag,
  MpolMode,
} from "../nri/gen/nri.ts";
import type { OciDevice, OciDeviceRule, OciHook, OciLinux, OciProcess, OciScheduler } from "../oci/spec/types.ts";

/** A number that stands in JSON as it is, however large: runtimes read 64 bits. */
export function exact(value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  // A wrapper that only JSON.stringify() looks into. Nothing here calculates with values of plugins.
  return (JSON as unknown as { rawJSON(text: string): number }).rawJSON(String(value));
}

export function hookOf({ path, args, env, timeout }: Hook): OciHook {
  return {
    path,
    ...(args.length === 0 ? {} : { args }),
    ...(env.length === 0 ? {} : { env }),
    ...(timeout === undefined ? {} : { timeout: Number(timeout.value) }),
  };
}

export function deviceOf({ path, type, major, minor, fileMode, uid, gid }: LinuxDevice): OciDevice {
  return {
    path,
    type,
    major: Number(major),
    minor: Number(minor),
    ...(fileMode === undefined ? {} : { fileMode: fileMode.value }),
    ...(uid === undefined ? {} : { uid: uid.value }),
    ...(gid === undefined ? {} : { gid: gid.value }),
  };
}

/** What a container may do with a device that a plugin gives it. */
export function deviceRuleOf({ type, major, minor }: LinuxDevice): OciDeviceRule {
  const access = type === "b" ? "rwm" : "rw";
  return { allow: true, type, major: Number(major), minor: Number(minor), access };
}

/** Undefined: the process keeps the node's. */
export function ioPriorityOf({ class: number, priority }: LinuxIOPriority): OciProcess["ioPriority"] | undefined {
  if (number === IOPrioClass.IOPRIO_CLASS_NONE) return undefined;
  return { class: nameOf(IOPrioClass, { value: number, what: "class of I/O priority" }), priority };
}

/** Undefined: the process keeps the node's. */
export function schedulerOf(scheduler: LinuxScheduler): OciScheduler | undefined {
  const { policy, nice, priority, flags, runtime, deadline, period } = scheduler;
  if (policy === LinuxSchedulerPolicy.SCHED_NONE) return undefined;
  return {
    policy: nameOf(LinuxSchedulerPolicy, { value: policy, what: "scheduling policy" }),
    ...(nice === 0 ? {} : { nice }),
    ...(priority === 0 ? {} : { priority }),
    ...(flags.length === 0
      ? {}
      : { flags: flags.map((value) => nameOf(LinuxSchedulerFlag, { value, what: "scheduling flag" })) }),
    ...(runtime === 0n ? {} : { runtime: exact(runtime) }),
    ...(deadline === 0n ? {} : { deadline: exact(deadline) }),
    ...(period === 0n ? {} : { period: exact(period) }),
  };
}

export function memoryPolicyOf({ mode, nodes, flags }: LinuxMemoryPolicy): OciLinux["memoryPolicy"] & object {
  return {
    mode: nameOf(MpolMode, { value: mode, what: "mode of memory policy" }),
    ...(nodes === "" ? {} : { nodes }),
    ...(flags.length === 0
      ? {}
      : { flags: flags.map((value) => nameOf(MpolFlag, { value, what: "flag of memory policy" })) }),
  };
}

/** `linux.seccomp` of the runtime specification. */
export function seccompOf(policy: LinuxSeccomp): object {
  const { defaultAction, defaultErrno, architectures, flags, listenerPath, listenerMetadata, syscalls } = policy;
  return {
    defaultAction,
    ...(defaultErrno === undefined ? {} : { defaultErrnoRet: defaultErrno.value }),
    ...(architectures.length === 0 ? {} : { architectures }),
    ...(flags.length === 0 ? {} : { flags }),
    ...(listenerPath === "" ? {} : { listenerPath }),
    ...(listenerMetadata === "" ? {} : { listenerMetadata }),
    syscalls: syscalls.map(({ names, action, errnoRet, args }) => ({
      names,
      action,
      ...(errnoRet === undefined ? {} : { errnoRet: errnoRet.value }),
      ...(args.length === 0 ? {} : {
        args: args.map(({ index, value, valueTwo, op }) => ({
          index,
          value: exact(value),
          ...(valueTwo === 0n ? {} : { valueTwo: exact(valueTwo) }),
          op,
        })),
      }),
    })),
  };
}

/** @throws InvalidArgumentError for a number that has no name */
function nameOf(
  names: Readonly<Record<string, number>>,
  { value, what }: { readonly value: number; readonly what: string },
): string {
  const name = Object.keys(names).find((one) => names[one] === value);
  if (name === undefined) throw new InvalidArgumentError(`${what} ${value} has no name in the runtime specification`);
  return name;
}
