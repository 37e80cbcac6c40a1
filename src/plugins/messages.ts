import type { ContainerRecord, ContainerState, ProfileChoice } from "../container/types.ts";
import {
  Container,
  ContainerState as StateOfMessage,
  Hooks,
  IOPrioClass,
  LinuxContainer,
  LinuxDevice,
  LinuxNamespace,
  LinuxPodSandbox,
  LinuxRdt,
  type LinuxScheduler,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
  LinuxSeccomp,
  Mount,
  PodSandbox,
  type SecurityProfile,
  SecurityProfile_ProfileType as ProfileType,
} from "../nri/gen/nri.ts";
import { message } from "../nri/message.ts";
import type { OciDevice, OciHook, OciProcess, OciScheduler, OciSpec } from "../oci/spec/types.ts";
import type { SandboxRecord } from "../sandbox/types.ts";
import { limitsMessage, resourcesMessage } from "./resources_message.ts";

/** A pod as plugins see it. */
export function podMessage(record: SandboxRecord): PodSandbox {
  const { spec, namespaces } = record;
  const paths = Object.entries(namespaces).map(([type, path]) => message(LinuxNamespace, { type, path }));
  return message(PodSandbox, {
    id: record.id,
    name: spec.metadata.name,
    uid: spec.metadata.uid,
    namespace: spec.metadata.namespace,
    labels: new Map(Object.entries(spec.labels)),
    annotations: new Map(Object.entries(spec.annotations)),
    runtimeHandler: spec.runtimeHandler,
    linux: message(LinuxPodSandbox, {
      podOverhead: limitsMessage(spec.overhead),
      podResources: limitsMessage(spec.resources),
      cgroupParent: record.cgroupParent,
      namespaces: paths,
    }),
    pid: record.infra?.pid ?? 0,
    ips: [...record.ips],
  });
}

const STATES: Readonly<Record<ContainerState, StateOfMessage>> = {
  creating: StateOfMessage.CONTAINER_UNKNOWN,
  created: StateOfMessage.CONTAINER_CREATED,
  running: StateOfMessage.CONTAINER_RUNNING,
  paused: StateOfMessage.CONTAINER_PAUSED,
  exited: StateOfMessage.CONTAINER_STOPPED,
};

/**
 * A container as plugins see it.
 *
 * @param spec its runtime specification; undefined when that is gone, then only what the record says is told
 */
export function containerMessage(record: ContainerRecord, spec: OciSpec | undefined): Container {
  const { spec: asked, user } = record;
  return message(Container, {
    id: record.id,
    podSandboxId: record.sandboxId,
    name: asked.metadata.name,
    state: STATES[record.state],
    labels: new Map(Object.entries(asked.labels)),
    annotations: new Map(Object.entries({ ...spec?.annotations, ...asked.annotations })),
    args: [...spec?.process.args ?? []],
    env: [...spec?.process.env ?? []],
    mounts: (spec?.mounts ?? []).map((mount) => message(Mount, { ...mount, options: [...mount.options] })),
    hooks: message(Hooks, {
      prestart: hooks(spec?.hooks?.["prestart"]),
      createRuntime: hooks(spec?.hooks?.["createRuntime"]),
      createContainer: hooks(spec?.hooks?.["createContainer"]),
      startContainer: hooks(spec?.hooks?.["startContainer"]),
      poststart: hooks(spec?.hooks?.["poststart"]),
      poststop: hooks(spec?.hooks?.["poststop"]),
    }),
    linux: linuxMessage(record, spec),
    pid: record.process?.pid ?? 0,
    rlimits: (spec?.process.rlimits ?? []).map(({ type, hard, soft }) => ({
      type,
      hard: BigInt(hard),
      soft: BigInt(soft),
    })),
    createdAt: BigInt(record.createdAtNanos),
    startedAt: BigInt(record.startedAtNanos),
    finishedAt: BigInt(record.finishedAtNanos),
    exitCode: record.exitCode,
    statusReason: record.oomKilled ? "OOMKilled" : "",
    statusMessage: record.message,
    CDIDevices: asked.cdiDevices.map((name) => ({ name })),
    user: { uid: user.uid, gid: user.gid, additionalGids: [...user.supplementalGroups] },
    image: { name: record.imageName, digest: "", configDigest: `sha256:${record.imageId}` },
  });
}

function linuxMessage(record: ContainerRecord, spec: OciSpec | undefined): LinuxContainer {
  const { security } = record.spec;
  const linux = message(LinuxContainer, {
    cgroupsPath: record.cgroupPath,
    seccompProfile: profileMessage(security.privileged ? undefined : security.seccomp),
  });
  if (spec === undefined) return linux;
  const { process } = spec;
  const { namespaces, devices = [], resources, seccomp, sysctl = {}, netDevices = {}, intelRdt } = spec.linux;
  return {
    ...linux,
    namespaces: namespaces.map(({ type, path = "" }) => ({ type, path })),
    devices: devices.map(deviceMessage),
    resources: resources && resourcesMessage(resources),
    oomScoreAdj: process.oomScoreAdj === undefined ? undefined : { value: BigInt(process.oomScoreAdj) },
    ioPriority: ioPriorityMessage(process),
    seccompPolicy: seccomp === undefined ? undefined : seccompMessage(seccomp as OciSeccomp),
    sysctl: new Map(Object.entries(sysctl)),
    netDevices: new Map(Object.entries(netDevices).map(([host, { name = "" }]) => [host, { name }])),
    scheduler: process.scheduler && schedulerMessage(process.scheduler),
    rdt: intelRdt && message(LinuxRdt, {
      closId: intelRdt.closID === undefined ? undefined : { value: intelRdt.closID },
      schemata: intelRdt.schemata && { value: [...intelRdt.schemata] },
      enableMonitoring: intelRdt.enableMonitoring === undefined ? undefined : { value: intelRdt.enableMonitoring },
    }),
  };
}

function hooks(stage: readonly OciHook[] = []): Hooks["prestart"] {
  return stage.map(({ path, args = [], env = [], timeout }) => ({
    path,
    args: [...args],
    env: [...env],
    timeout: timeout === undefined ? undefined : { value: BigInt(timeout) },
  }));
}

function deviceMessage(device: OciDevice): LinuxDevice {
  const { path, type, major = 0, minor = 0, fileMode, uid, gid } = device;
  return message(LinuxDevice, {
    path,
    type,
    major: BigInt(major),
    minor: BigInt(minor),
    fileMode: wrapped(fileMode),
    uid: wrapped(uid),
    gid: wrapped(gid),
  });
}

function wrapped(value: number | undefined): { value: number } | undefined {
  return value === undefined ? undefined : { value };
}

/** Without a profile a container is unconfined. */
function profileMessage(choice: ProfileChoice | undefined): SecurityProfile {
  if (choice?.kind === "runtimeDefault") return { profileType: ProfileType.RUNTIME_DEFAULT, localhostRef: "" };
  if (choice?.kind === "localhost") return { profileType: ProfileType.LOCALHOST, localhostRef: choice.ref };
  return { profileType: ProfileType.UNCONFINED, localhostRef: "" };
}

function ioPriorityMessage({ ioPriority }: OciProcess): LinuxContainer["ioPriority"] {
  if (ioPriority === undefined) return undefined;
  return { class: valueOf(IOPrioClass, ioPriority.class), priority: ioPriority.priority };
}

function schedulerMessage(scheduler: OciScheduler): LinuxScheduler {
  const { nice = 0, priority = 0, runtime = 0, deadline = 0, period = 0 } = scheduler;
  return {
    policy: valueOf(LinuxSchedulerPolicy, scheduler.policy),
    nice,
    priority,
    flags: (scheduler.flags ?? []).map((flag) => valueOf(LinuxSchedulerFlag, flag)),
    runtime: BigInt(runtime),
    deadline: BigInt(deadline),
    period: BigInt(period),
  };
}

/** The number of a name; the lowest for one that is not known. */
function valueOf<T extends Readonly<Record<string, number>>>(names: T, name: string): T[keyof T] {
  return (names[name] ?? 0) as T[keyof T];
}

/** `linux.seccomp` of the runtime specification. */
interface OciSeccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly flags?: readonly string[];
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls?: ReadonlyArray<{
    readonly names: readonly string[];
    readonly action: string;
    readonly errnoRet?: number;
    readonly args?: ReadonlyArray<
      { readonly index: number; readonly value: number; readonly valueTwo?: number; readonly op: string }
    >;
  }>;
}

function seccompMessage(policy: OciSeccomp): LinuxSeccomp {
  return message(LinuxSeccomp, {
    defaultAction: policy.defaultAction,
    defaultErrno: wrapped(policy.defaultErrnoRet),
    architectures: [...policy.architectures ?? []],
    flags: [...policy.flags ?? []],
    listenerPath: policy.listenerPath ?? "",
    listenerMetadata: policy.listenerMetadata ?? "",
    syscalls: (policy.syscalls ?? []).map(({ names, action, errnoRet, args = [] }) => ({
      names: [...names],
      action,
      errnoRet: wrapped(errnoRet),
      args: args.map(({ index, value, valueTwo = 0, op }) => ({
        index,
        value: BigInt(value),
        valueTwo: BigInt(valueTwo),
        op,
      })),
    })),
  });
}
