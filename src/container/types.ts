import type { IdMap, IdMaps } from "../base/id_maps.ts";
import type { ContainerId, SandboxId } from "../base/ids.ts";
import type { ResourceLimits } from "../base/resources.ts";
import type { PerformancePlan } from "../performance/plan.ts";
import type { ProfileChoice, SelinuxOptions } from "../security/choices.ts";

/** A namespace of a container: its own, the pod's, the node's, or that of another container of the pod. */
export type PidMode =
  | { readonly kind: "pod" }
  | { readonly kind: "container" }
  | { readonly kind: "node" }
  | { readonly kind: "target"; readonly containerId: string };

/** Namespace modes of a pod; the container's own request can only differ in `pid`. */
export interface NamespaceModes {
  readonly network: "pod" | "node";
  readonly ipc: "pod" | "node";
  readonly pid: PidMode;
  /** The pod's own by these maps, or expressly the node's; absent: nothing is said of it. */
  readonly user?: IdMaps | "node";
}

export type { ProfileChoice, SelinuxOptions };

/** What a container may do, and as whom. */
export interface SecurityContext {
  readonly privileged: boolean;
  readonly capabilities: {
    readonly add: readonly string[];
    readonly drop: readonly string[];
    readonly addAmbient: readonly string[];
  };
  readonly namespaces: NamespaceModes;
  readonly selinux?: SelinuxOptions;
  readonly runAsUser?: number;
  readonly runAsGroup?: number;
  readonly runAsUserName?: string;
  readonly supplementalGroups: readonly number[];
  readonly supplementalGroupsPolicy: "merge" | "strict";
  readonly readonlyRootfs: boolean;
  readonly noNewPrivs: boolean;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly seccomp?: ProfileChoice;
  readonly apparmor?: ProfileChoice;
}

export interface MountRequest {
  readonly containerPath: string;
  /** Empty when `image` is given. */
  readonly hostPath: string;
  readonly readonly: boolean;
  readonly selinuxRelabel: boolean;
  readonly propagation: "private" | "hostToContainer" | "bidirectional";
  readonly recursiveReadOnly: boolean;
  readonly uidMaps: readonly IdMap[];
  readonly gidMaps: readonly IdMap[];
  /** An image volume: reference, path inside the image, and what stands in the pod's manifest where that differs. */
  readonly image?: { readonly reference: string; readonly subPath: string; readonly specified?: string };
}

export interface DeviceRequest {
  readonly containerPath: string;
  readonly hostPath: string;
  /** Some of `r`, `w`, `m`. */
  readonly permissions: string;
}

/** A CreateContainer request after all checks that need no state. */
export interface ContainerSpec {
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly image: {
    /** What the request names: an id, a reference or a digest. */
    readonly image: string;
    readonly userSpecifiedImage: string;
    readonly runtimeHandler: string;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly env: ReadonlyArray<{ readonly key: string; readonly value: string }>;
  readonly mounts: readonly MountRequest[];
  readonly devices: readonly DeviceRequest[];
  readonly cdiDevices: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Relative to the pod's log directory; empty when nothing is logged. */
  readonly logPath: string;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  readonly tty: boolean;
  readonly resources: ResourceLimits;
  readonly security: SecurityContext;
  /** `SIGTERM` style name from the request; absent: the image's, else SIGTERM. */
  readonly stopSignal?: string;
}

/**
 * States of a container. `exited` is final; `creating` is never listed.
 *
 *     creating --created--> created --start--> running --exit--> exited
 *         \--fail--> (removed)    \--exit--> exited    pause/resume: running <-> paused
 */
export type ContainerState = "creating" | "created" | "running" | "paused" | "exited";

/** A process that is told from a later one with the same pid by its start time (clock ticks since boot). */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: string;
}

/** A mount as ContainerStatus reports it. */
export interface ReportedMount extends MountRequest {
  readonly imageId?: string;
}

/** The one record of a container, stored as JSON. Times are decimal nanoseconds since the epoch, `0`: not yet. */
export interface ContainerRecord {
  readonly version: 1;
  readonly id: ContainerId;
  readonly sandboxId: SandboxId;
  /** `k8s_<container>_<pod>_<namespace>_<uid>_<attempt>`, unique on the node. */
  readonly name: string;
  readonly spec: ContainerSpec;
  readonly state: ContainerState;
  readonly runtimeHandler: string;
  readonly imageId: string;
  /** What people are shown as the image's identity: a repository with the digest there, else the id. */
  readonly imageRef: string;
  readonly imageName: string;
  readonly createdAtNanos: string;
  readonly startedAtNanos: string;
  readonly finishedAtNanos: string;
  /** -1 while unknown. */
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly seccompKilled: boolean;
  /** Its seccomp profile: `RuntimeDefault` or a file; absent: system calls are not filtered. */
  readonly seccompProfile?: string;
  /** Why the start failed, or what else the status has to say. */
  readonly message: string;
  readonly process?: ProcessIdentity;
  readonly monitor?: ProcessIdentity;
  /** Persistent directory: config.json and this record. */
  readonly directory: string;
  /** Volatile directory: bundle, pid files, attach and control pipes. */
  readonly runDirectory: string;
  readonly rootfs: string;
  /** The `linux.cgroupsPath` that the runtime got. */
  readonly cgroupPath: string;
  /** The pod's cgroup, below which ours lies. */
  readonly cgroupParent: string;
  /** Absolute path of the log file, or empty. */
  readonly logFile: string;
  /** A link to the log file, for pods that show their logs in a volume. */
  readonly logLink?: string;
  /** How its CPUs are tuned while it runs; absent: not at all. */
  readonly performance?: PerformancePlan;
  /** Set while they are, or may be. */
  readonly tuned?: true;
  readonly stopSignal: string;
  readonly mounts: readonly ReportedMount[];
  /** Images that are mounted for its volumes, by id. */
  readonly imageVolumes?: readonly string[];
  readonly resources: ResourceLimits;
  /** A checkpoint has it frozen; a daemon that finds this after a start lets it go on. */
  readonly isCheckpointing?: boolean;
  readonly checkpointedAtNanos?: string;
  /** The archive or image whose checkpoint it goes on from. */
  readonly restoredFrom?: string;
  /** User and groups that the init process runs with. */
  readonly user: { readonly uid: number; readonly gid: number; readonly supplementalGroups: readonly number[] };
}
