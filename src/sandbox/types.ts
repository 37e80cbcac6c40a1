import type { IdMaps } from "../base/id_maps.ts";
import type { SandboxId } from "../base/ids.ts";
import type { ResourceLimits } from "../base/resources.ts";
import type { PodLabels } from "../security/selinux/labels.ts";
import type { NamespaceModes, ProcessIdentity, ProfileChoice, SelinuxOptions } from "../container/types.ts";

export interface PodMetadata {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly attempt: number;
}

export interface PortMapping {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly containerPort: number;
  readonly hostPort: number;
  readonly hostIp: string;
}

export interface DnsConfig {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

/** Pod-wide security settings; a container's own request comes on top. */
export interface PodSecurity {
  readonly namespaces: NamespaceModes;
  readonly privileged: boolean;
  readonly selinux?: SelinuxOptions;
  readonly runAsUser?: number;
  readonly runAsGroup?: number;
  readonly readonlyRootfs: boolean;
  readonly supplementalGroups: readonly number[];
  readonly seccomp?: ProfileChoice;
  readonly apparmor?: ProfileChoice;
}

/** A RunPodSandbox request after all checks that need no state. */
export interface SandboxSpec {
  readonly metadata: PodMetadata;
  readonly hostname: string;
  /** Absolute, or empty when the pod's containers log nowhere. */
  readonly logDirectory: string;
  readonly dns?: DnsConfig;
  readonly portMappings: readonly PortMapping[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
  readonly cgroupParent: string;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly overhead: ResourceLimits;
  readonly resources: ResourceLimits;
  readonly security: PodSecurity;
}

/**
 * `creating` is written before anything exists on the host, so that a crash leaves a trace; never listed. `ready` until
 * the sandbox is stopped or its namespaces are found to be gone; `not_ready` is final.
 */
export type SandboxState = "creating" | "ready" | "not_ready";

/** The one record of a pod sandbox, stored as JSON. */
export interface SandboxRecord {
  readonly version: 1;
  readonly id: SandboxId;
  /** `k8s_<pod>_<namespace>_<uid>_<attempt>`, unique on the node. */
  readonly name: string;
  readonly spec: SandboxSpec;
  readonly state: SandboxState;
  readonly runtimeHandler: string;
  /** Decimal nanoseconds since the epoch. */
  readonly createdAtNanos: string;
  /** Pinned namespaces; absent: the node's. */
  readonly namespaces: {
    readonly network?: string;
    readonly ipc?: string;
    readonly uts?: string;
    readonly user?: string;
    readonly pid?: string;
  };
  /** Of its user namespace, where it has one of its own. */
  readonly userMaps?: IdMaps;
  /** Addresses without prefix length, the primary one first. */
  readonly ips: readonly string[];
  /** Set before the plugins are asked, cleared when they have cleaned up. */
  readonly networkAttached: boolean;
  /** SELinux labels; absent: the node had none. */
  readonly selinux?: PodLabels;
  readonly runDirectory: string;
  readonly resolvConf: string;
  readonly hostnameFile: string;
  readonly hostsFile: string;
  readonly shmPath: string;
  readonly hostname: string;
  /** Where containers log whose pod names no directory; ours, so it goes with the pod. */
  readonly ownLogDirectory?: string;
  readonly cgroupParent: string;
  /** The volume of the pod that shows its logs; absent: none does. */
  readonly linkedLogs?: string;
  /** The process that holds the pod's PID namespace, where there is one. */
  readonly infra?: ProcessIdentity;
}
