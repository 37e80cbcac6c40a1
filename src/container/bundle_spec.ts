import { InvalidArgumentError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { resolveCapabilities } from "../oci/spec/capabilities.ts";
import { readonlySysfsPaths } from "../oci/spec/mounts.ts";
import { deviceRules } from "../oci/spec/devices.ts";
import { ociResources } from "../oci/spec/resources.ts";
import type { OciCapabilities, OciNamespace, OciProcess, OciSpec } from "../oci/spec/types.ts";
import type { Annotated } from "./annotated.ts";
import { gomaxprocsOf, umaskOf } from "./annotation_effects.ts";
import type { Confiner } from "./confinement.ts";
import { grantedDevices } from "./devices.ts";
import { containerMounts } from "./mounts.ts";
import type { ContainerImage, ContainerRuntime, NodeDefaults, PodContext } from "./ports.ts";
import { cpuVariables } from "./performance.ts";
import type { SeccompArtifact } from "./seccomp_artifact.ts";
import { specAnnotations } from "./spec_annotations.ts";
import { idMappings, userNamespaces } from "./user_namespace.ts";
import { runsSystemd, SYSTEMD_ENVIRONMENT } from "./volumes/systemd_mounts.ts";
import type { ContainerRecord, ContainerSpec, PidMode, ReportedMount } from "./types.ts";
import type { ResolvedUser } from "./user.ts";
import type { VolumeContext } from "./volumes/volumes.ts";

/** Everything that shapes a container's runtime configuration. */
export interface BundleInput extends Annotated {
  readonly pod: PodContext;
  readonly spec: ContainerSpec;
  readonly image: ContainerImage;
  readonly user: ResolvedUser;
  readonly rootfs: string;
  readonly record: ContainerRecord;
  readonly node: NodeDefaults;
  readonly confinement: Confiner;
  readonly seccompArtifact: SeccompArtifact | undefined;
  /** The least memory limit of the runtime handler. */
  readonly minMemoryBytes: number;
  /** What the runtime of this container can do. */
  readonly handler: ContainerRuntime["features"];
  readonly log: Logger;
  /** Mounts an image for the container's volume with this number. */
  readonly openImage: VolumeContext["openImage"];
  readonly mapIds: VolumeContext["mapIds"];
  /** Pid of the container whose PID namespace is joined, for the mode `target`. */
  readonly targetPid: number | undefined;
}

/** The runtime configuration, and the mounts as ContainerStatus reports them. */
export interface BundleSpec {
  readonly spec: OciSpec;
  readonly mounts: readonly ReportedMount[];
  /** The seccomp profile: `RuntimeDefault`, a file or an artifact; absent: none. */
  readonly seccompProfile?: string;
}

/** @throws InvalidArgumentError, UnimplementedError for what this node or this version cannot give */
export async function buildBundleSpec(input: BundleInput): Promise<BundleSpec> {
  const { spec, node, handler, record, rootfs, annotations } = input;
  const { security } = spec;
  const capabilities = capabilitySets(input);
  const { seccompArtifact } = input;
  const confine = {
    security,
    handler: input.pod.runtimeHandler,
    capabilities: capabilities.bounding,
    ...(seccompArtifact === undefined ? {} : { seccompArtifact }),
  };
  const { seccomp, apparmorProfile } = await input.confinement.confine(confine);
  const { privileged } = security;
  const allDevices = privileged && node.handlers.get(input.pod.runtimeHandler)?.privilegedWithoutHostDevices !== true;
  const mounts = await containerMounts(input, commandLine(input));
  const devices = await grantedDevices({ spec, annotations, allDevices, policy: node.devices });
  return {
    mounts: mounts.reported,
    ...(seccomp.profile === undefined ? {} : { seccompProfile: seccomp.ref }),
    spec: {
      ociVersion: handler.ociVersion,
      process: {
        ...processOf(input),
        capabilities,
        ...(apparmorProfile === undefined ? {} : { apparmorProfile }),
      },
      root: { path: rootfs, readonly: security.readonlyRootfs || node.readOnly },
      mounts: mounts.mounts,
      annotations: {
        ...specAnnotations({ ...input, mounts: mounts.reported, systemdCgroups: node.systemdCgroups }),
        "io.kubernetes.cri-o.SeccompProfilePath": seccomp.ref,
      },
      linux: {
        namespaces: namespacesOf(input),
        ...idMappings(input.pod, handler),
        devices: devices.map(({ device }) => device),
        cgroupsPath: record.cgroupPath,
        resources: ociResources(record.resources, {
          ...node,
          deviceRules: deviceRules(devices, { allDevices }),
          minMemoryBytes: input.minMemoryBytes,
        }),
        ...(seccomp.profile === undefined ? {} : { seccomp: seccomp.profile }),
        ...(mounts.rootPropagation === undefined ? {} : { rootfsPropagation: mounts.rootPropagation }),
        maskedPaths: privileged ? [] : security.maskedPaths,
        readonlyPaths: privileged ? [] : [
          ...security.readonlyPaths,
          ...readonlySysfsPaths({ privileged, ...handler }),
        ],
      },
    },
  };
}

function capabilitySets({ spec, node, record, log }: BundleInput): OciCapabilities {
  const { privileged, capabilities, noNewPrivs } = spec.security;
  const { sets, missing } = resolveCapabilities({
    privileged,
    ...capabilities,
    defaults: node.defaultCapabilities,
    available: node.availableCapabilities,
    addInheritable: node.addInheritableCapabilities,
  });
  const container = record.id;
  if (missing.length > 0) log.warn(`left out, for this node does not have them: ${missing.join(", ")}`, { container });
  if (noNewPrivs && sets.bounding.includes("CAP_SYS_ADMIN")) {
    log.warn("noNewPrivs restricts a container with CAP_SYS_ADMIN little: it has what it could gain", { container });
  }
  return sets;
}

function processOf(input: BundleInput): OciProcess {
  const { spec, image, user, node } = input;
  const { security } = spec;
  const umask = umaskOf(input.annotations);
  const execCpu = input.performance?.execCpu;
  const workingDir = spec.workingDir === "" ? image.defaults.workingDir : spec.workingDir;
  return {
    terminal: spec.tty,
    user: {
      uid: user.uid,
      gid: user.gid,
      additionalGids: user.supplementalGroups,
      ...(umask === undefined ? {} : { umask }),
    },
    args: commandLine(input),
    env: environment(input),
    cwd: workingDir === "" ? "/" : workingDir,
    noNewPrivileges: security.noNewPrivs,
    rlimits: node.defaultUlimits,
    ...(execCpu === undefined ? {} : { execCPUAffinity: { initial: String(execCpu) } }),
    oomScoreAdj: Math.max(spec.resources.oomScoreAdj ?? 0, node.minOomScoreAdj),
  };
}

/** Kubernetes' rule: a command replaces the image's entrypoint and its arguments; arguments replace only those. */
export function commandLine({ spec, image }: Pick<BundleInput, "spec" | "image">): readonly string[] {
  const { entrypoint, cmd } = image.defaults;
  const line = spec.command.length > 0
    ? [...spec.command, ...spec.args]
    : [...entrypoint, ...(spec.args.length > 0 ? spec.args : cmd)];
  if (line.length > 0) return line;
  throw new InvalidArgumentError(
    `image ${image.name} has neither entrypoint nor command, and the request gives none: say what to run`,
  );
}

const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The node's environment, then the image's, then the request's; a later value takes an earlier one's place. */
function environment(input: BundleInput): string[] {
  const { spec, image, pod, node } = input;
  const values = new Map<string, string>();
  const put = (line: string): void => void values.set(line.split("=", 1)[0] ?? line, line);
  put(DEFAULT_PATH);
  if (spec.tty) put("TERM=xterm");
  put(`HOSTNAME=${pod.hostname}`);
  if (runsSystemd(commandLine(input))) put(SYSTEMD_ENVIRONMENT);
  node.defaultEnv.forEach(put);
  image.defaults.env.forEach(put);
  for (const { key, value } of spec.env) put(`${key}=${value}`);
  cpuVariables(input.performance).forEach(put);
  const maxProcs = gomaxprocs(input);
  if (maxProcs !== undefined && !values.has("GOMAXPROCS")) put(`GOMAXPROCS=${maxProcs}`);
  return [...values.values()];
}

function gomaxprocs({ annotations, node, pod, workload, record }: BundleInput): number | undefined {
  const { cgroupParent } = pod;
  const limits = record.resources;
  return gomaxprocsOf({
    annotations,
    floor: node.minGomaxprocs,
    cgroupParent,
    inWorkload: workload !== undefined,
    limits,
  });
}

function namespacesOf({ pod, spec, node, targetPid }: BundleInput): OciNamespace[] {
  const { network, ipc, uts } = pod.namespaces;
  const pid = pidNamespace(spec.security.namespaces.pid, { pod, targetPid });
  return [
    ...userNamespaces(pod),
    { type: "mount" },
    ...(pid === undefined ? [] : [pid]),
    ...(network === undefined ? [] : [{ type: "network", path: network } as const]),
    ...(ipc === undefined ? [] : [{ type: "ipc", path: ipc } as const]),
    ...(uts === undefined ? [] : [{ type: "uts", path: uts } as const]),
    ...(node.cgroupNamespaces ? [{ type: "cgroup" } as const] : []),
  ];
}

function pidNamespace(
  mode: PidMode,
  { pod, targetPid }: { pod: PodContext; targetPid: number | undefined },
): OciNamespace | undefined {
  switch (mode.kind) {
    case "node":
      return undefined;
    case "container":
      return { type: "pid" };
    case "pod":
      // The pod decides whether it shares one; clients that say nothing of the container mean "as the pod does".
      return pod.namespaces.pid === undefined ? { type: "pid" } : { type: "pid", path: pod.namespaces.pid };
    case "target":
      if (targetPid === undefined) {
        throw new InvalidArgumentError(
          `container ${mode.containerId}, whose PID namespace is asked for, does not run in this pod`,
        );
      }
      return { type: "pid", path: `/proc/${targetPid}/ns/pid` };
  }
}
