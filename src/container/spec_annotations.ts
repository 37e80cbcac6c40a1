import {
  type Annotations,
  annotationValue,
  GATED_ANNOTATIONS,
  isReservedKey,
  namesKey,
} from "../config/annotations.ts";
import type { ContainerImage, PodContext } from "./ports.ts";
import { systemdProperties } from "./systemd_properties.ts";
import type { ContainerRecord, ReportedMount } from "./types.ts";

/** What the annotations of a runtime configuration are made of. */
export interface SpecAnnotationInput {
  readonly pod: PodContext;
  readonly record: ContainerRecord;
  readonly image: ContainerImage;
  /** Those of the container that count, with the pod's below them. */
  readonly annotations: Annotations;
  readonly rootfs: string;
  readonly mounts: readonly ReportedMount[];
  /** Whether systemd makes the cgroups, and takes properties of their units from here. */
  readonly systemdCgroups: boolean;
}

const OWN = "io.kubernetes.cri-o.";
const PROPAGATION = { private: 0, hostToContainer: 1, bidirectional: 2 } as const;

/**
 * The annotations of a container's runtime configuration: the pod's and its own, for hooks and runtimes; its labels; and this
 * daemon's notes, for tools that look at running containers or at checkpoints. The daemon itself reads none of them back.
 */
export function specAnnotations(input: SpecAnnotationInput): Record<string, string> {
  const { record, annotations } = input;
  const { spec } = record;
  return {
    ...(input.systemdCgroups ? systemdProperties(spec) : {}),
    ...Object.fromEntries(Object.entries(annotations).filter(([key]) => !isReservedKey(key))),
    ...traced(annotations, spec.metadata.name),
    ...Object.fromEntries(Object.entries(spec.labels).filter(([key]) => isPlain(key))),
    "io.kubernetes.container.name": spec.metadata.name,
    ...notes(input),
    "org.opencontainers.image.stopSignal": record.stopSignal,
  };
}

function notes(
  { pod, record, image, rootfs, mounts }: SpecAnnotationInput,
): Record<string, string> {
  const { spec } = record;
  const values: Record<string, string> = {
    ContainerType: "container",
    ContainerID: record.id,
    ContainerName: record.name,
    Name: record.name,
    SandboxID: pod.id,
    SandboxName: pod.sandboxName,
    Created: timestamp(record.createdAtNanos),
    Image: spec.image.image,
    ImageName: image.name,
    ImageRef: image.ref,
    KubeName: pod.name,
    Namespace: pod.namespace,
    HostName: pod.hostname,
    LogPath: record.logFile,
    MountPoint: rootfs,
    ResolvPath: pod.resolvConf,
    ShmPath: pod.shmPath,
    RuntimeHandler: pod.runtimeHandler,
    CgroupParent: record.cgroupParent,
    PrivilegedRuntime: String(spec.security.privileged),
    TTY: String(spec.tty),
    Stdin: String(spec.stdin),
    StdinOnce: String(spec.stdinOnce),
    Metadata: JSON.stringify(spec.metadata),
    Labels: JSON.stringify(spec.labels),
    Annotations: JSON.stringify(spec.annotations),
    PlatformRuntimePath: record.runtimeHandler === pod.runtimeHandler ? "" : image.defaults.platform,
    Volumes: JSON.stringify(mounts.map(volumeNote)),
  };
  pod.ips.forEach((ip, index) => values[`IP.${index}`] = ip);
  const own = Object.entries(values).map(([name, value]) => [OWN + name, value] as const);
  return {
    "io.container.manager": "cri-o",
    "io.kubernetes.pod.name": pod.name,
    "io.kubernetes.pod.namespace": pod.namespace,
    "io.kubernetes.pod.uid": pod.uid,
    ...Object.fromEntries(own),
  };
}

/** The field names are those that tools know from CRI-O. */
function volumeNote(mount: ReportedMount): Record<string, unknown> {
  return {
    container_path: mount.containerPath,
    host_path: mount.hostPath,
    readonly: mount.readonly,
    recursive_read_only: mount.recursiveReadOnly,
    propagation: PROPAGATION[mount.propagation],
    selinux_relabel: mount.selinuxRelabel,
    ...(mount.image === undefined ? {} : { image: mount.image.reference, image_sub_path: mount.image.subPath }),
  };
}

/** The hook that records system calls knows no containers: the annotation with this one's name becomes the plain one. */
function traced(annotations: Annotations, container: string): Record<string, string> {
  const value = annotationValue(annotations, "traceSyscall", { container });
  return value === undefined ? {} : { "io.containers.trace-syscall": value };
}

/** Labels go into the same table as annotations, and must not say there what annotations may not. */
function isPlain(key: string): boolean {
  return !isReservedKey(key) && !GATED_ANNOTATIONS.some((name) => namesKey(name, key));
}

const NANOS_PER_SECOND = 1_000_000_000n;

/** RFC 3339 with nanoseconds, UTC. */
function timestamp(nanos: string): string {
  const time = BigInt(nanos);
  const seconds = new Date(Number(time / NANOS_PER_SECOND) * 1000).toISOString().slice(0, "YYYY-MM-DDThh:mm:ss".length);
  return `${seconds}.${String(time % NANOS_PER_SECOND).padStart(9, "0")}Z`;
}
