/**
 * What this folder needs from others. Each interface is small on purpose; `daemon.ts` supplies them.
 *
 * @module
 */
import type { IdMaps } from "../base/id_maps.ts";
import type { ContainerId, SandboxId } from "../base/ids.ts";
import type { ResourceLimits } from "../base/resources.ts";
import type { Annotations } from "../config/annotations.ts";
import type { LimitSupport } from "../oci/spec/resources.ts";
import type { OciResources } from "../oci/spec/types.ts";
import type { HandlerFeatures } from "../oci/runtime/handler_features.ts";
import type { HandlerConfig } from "../config/schema.ts";
import type { PodLabels } from "../security/selinux/labels.ts";
import type { SelinuxOptions } from "../security/choices.ts";
import type { ProcessStreams, TerminalSize } from "../streaming/handlers.ts";
import type { MountRules } from "./volumes/mount_rules.ts";
import type { ProcessIdentity } from "./types.ts";

/** The parts of an image's configuration that a container takes over. */
export interface ImageDefaults {
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly user: string;
  readonly workingDir: string;
  readonly stopSignal: string;
  readonly volumes: readonly string[];
  /** `<os>/<architecture>` that it is built for. */
  readonly platform: string;
}

/** An image on this node. */
export interface ContainerImage {
  readonly id: string;
  /** What ContainerStatus gives as `image_ref`. */
  readonly ref: string;
  /** A name of the image for people; its id when it has none. */
  readonly name: string;
  readonly defaults: ImageDefaults;
  /** Of its manifest. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** Looks images up by id, id prefix or reference. */
export interface ImageSource {
  /**
   * @param options.specified what stands in the pod's manifest, for the names that are shown and for the policy
   * @param options.namespace of the pod, for the policy
   * @throws NotFoundError when the image is not on this node; with the kind `signature_validation_failed` when the
   *   policy does not let it run
   */
  resolve(
    reference: string,
    options: { signal?: AbortSignal; specified?: string; namespace?: string },
  ): Promise<ContainerImage>;
}

/** Where a container's writable file system comes from. */
export interface RootfsStore {
  /** Where a container's directories are, made or not. */
  places(id: ContainerId): { directory: string; runDirectory: string };
  /** Makes the writable layer and the container's directories. */
  create(
    container: {
      id: ContainerId;
      name: string;
      imageId: string;
      metadata: string;
      labels?: PodLabels;
      idMaps?: IdMaps;
    },
    options: { signal?: AbortSignal },
  ): Promise<void>;
  /** Mounts it and gives the path. A user namespace with the container's maps saves making one. */
  mount(id: ContainerId, options: { userNamespace?: string }): Promise<string>;
  /** Where {@link mount} mounts it. @throws NotFoundError */
  mountPoint(id: ContainerId): Promise<string>;
  /** The directories of its layers, for reading what the container has changed. @throws NotFoundError */
  layers(id: ContainerId): Promise<LayerDirectories>;
  /** Lets `use` read an image's files, mounted read-only meanwhile. @throws NotFoundError */
  withImage(imageId: string, use: (root: string) => Promise<void>): Promise<void>;
  /** Unmounts and deletes everything of it; succeeds when it is gone already. */
  remove(id: ContainerId): Promise<void>;
}

/** Layers of a container's root file system. */
export interface LayerDirectories {
  /** What the container wrote. */
  readonly upper: string;
  /** What it stands on, the upper ones first. */
  readonly lowers: readonly string[];
}

/** What this node offers of checkpoints. */
export interface CheckpointOffer {
  /** Why it is not offered here, with the remedy; undefined when it is. */
  refusal(what: "checkpoint" | "restore"): string | undefined;
  /** On the file system of the containers' directories; what a crash leaves there is nobody's. */
  readonly stagingDirectory: string;
}

/** A container's bundle as the monitor needs it. */
export interface MonitorRequest {
  readonly id: ContainerId;
  readonly name: string;
  readonly bundle: string;
  readonly persistDirectory: string;
  readonly logFile: string;
  readonly terminal: boolean;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  readonly cgroupParent: string;
  /** What CRIU wrote of a container that is to go on here: it then runs at once. */
  readonly restoreFrom?: string;
}

/** The outcome of a command run inside a container. */
export interface ExecResult {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly exitCode: number;
  readonly timedOut: boolean;
}

/** The way to a container's own streams. */
export interface AttachPoint {
  /** A unix socket with message boundaries: packets from it begin with the number of the stream (2, 3). */
  readonly socketPath: string;
  /** @throws FailedPreconditionError when there is no monitor */
  resize(size: TerminalSize): void;
}

/** One runtime handler: the OCI runtime with the monitor that runs it. */
export interface ContainerRuntime {
  readonly name: string;
  /** The least memory limit with which it can start a container. */
  readonly minMemoryBytes: number;
  /** What its containers can have on this host. */
  readonly features: HandlerFeatures;
  /** Makes the container; its init process waits for `start`. */
  create(
    request: MonitorRequest,
    options: { signal: AbortSignal },
  ): Promise<{ process: ProcessIdentity; monitor: ProcessIdentity }>;
  start(id: ContainerId, options: { signal: AbortSignal }): Promise<void>;
  /** Deletes the container in the runtime, killing what is left of it; succeeds when it is gone. */
  delete(id: ContainerId, options: { signal: AbortSignal }): Promise<void>;
  pause(id: ContainerId, options: { signal: AbortSignal }): Promise<void>;
  resume(id: ContainerId, options: { signal: AbortSignal }): Promise<void>;
  /** Changes limits; those that are not named stay. */
  update(id: ContainerId, resources: OciResources, options: { signal: AbortSignal }): Promise<void>;
  /** Has CRIU write the processes of a frozen container into `imagePath`; its log goes to `workPath`. */
  checkpoint(
    id: ContainerId,
    places: { readonly imagePath: string; readonly workPath: string },
    options: { signal: AbortSignal },
  ): Promise<void>;
  execSync(
    id: ContainerId,
    request: { process: object; timeoutMs: number },
    options: { signal: AbortSignal },
  ): Promise<ExecResult>;
  /** Runs a process with its streams connected, to its end; gives the exit code. */
  execStream(
    id: ContainerId,
    request: { process: { readonly terminal?: boolean }; streams: ProcessStreams },
    options: { signal: AbortSignal },
  ): Promise<number>;
  /** Where the monitor hands out the container's own streams, and how its terminal's size is set. */
  attachPoint(container: { id: ContainerId; bundle: string }): AttachPoint;
  /** Makes the monitor open its log file anew. */
  reopenLog(container: { bundle: string; logFile: string }, options: { signal: AbortSignal }): Promise<void>;
  /** Whether the runtime says that the container has been started. */
  wasStarted(id: ContainerId, options: { signal: AbortSignal }): Promise<boolean>;
}

/** Finds the runtime of a handler name; the empty name is the default's. */
export interface RuntimeTable {
  /** @throws InvalidArgumentError for an unknown handler */
  find(handler: string): ContainerRuntime;
  /** The runtime that the handler has for images of a platform such as `linux/arm64`; mostly the same as `find` gives. */
  forPlatform(handler: string, platform: string): ContainerRuntime;
}

/** A container's cgroup: its pod's, and its id. */
export interface CgroupPlace {
  readonly parent: string;
  readonly id: ContainerId;
}

/** What `cgroup/` does for a container. */
export interface ContainerCgroups {
  /** The `linux.cgroupsPath` for the runtime, given the pod's parent. */
  containerPath(parent: string, id: ContainerId): string;
  /** Kills what still runs in it (a container without a PID namespace of its own leaves children). */
  killAll(parent: string, id: ContainerId): Promise<void>;
  /** How many of its processes the kernel has killed for want of memory; undefined when it is gone. */
  oomKills(parent: string, id: ContainerId): Promise<number | undefined>;
  /** Memory that it uses now, in bytes; undefined when it is gone. */
  memoryUsageBytes(parent: string, id: ContainerId): Promise<number | undefined>;
  /** Remembers these limits; what it gives writes them back and tells the files that could not be. */
  holdLimits(parent: string, id: ContainerId, limits: ResourceLimits): Promise<() => Promise<string[]>>;
  /** Sets those of the limits that not every runtime's update can set. */
  finishLimits(parent: string, id: ContainerId, limits: ResourceLimits): Promise<void>;
  /** Moves all processes of one container's cgroup into another's; does nothing where there are none. */
  takeOver(from: CgroupPlace, to: CgroupPlace): Promise<void>;
  /** Removes the container's and its monitor's cgroups; succeeds when they are gone. */
  remove(parent: string, id: ContainerId): Promise<void>;
}

/** What a container needs to know of its pod; `sandbox/` supplies it. */
export interface PodContext {
  readonly id: SandboxId;
  readonly ready: boolean;
  /** Only then its containers may be. */
  readonly privileged: boolean;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Its SELinux labels, and what it asked for; absent: the node has none. */
  readonly selinux?: { readonly labels: PodLabels; readonly options?: SelinuxOptions };
  /** The name that is unique on the node. */
  readonly sandboxName: string;
  /** Addresses, the primary one first. */
  readonly ips: readonly string[];
  /** The pod's annotations that count. */
  readonly annotations: Annotations;
  readonly runtimeHandler: string;
  readonly hostname: string;
  readonly hostNetwork: boolean;
  /** Paths of pinned namespaces; absent: the node's. */
  readonly namespaces: {
    readonly network?: string;
    readonly ipc?: string;
    readonly uts?: string;
    readonly pid?: string;
    readonly user?: string;
  };
  /** Of the pod's user namespace. */
  readonly userMaps?: IdMaps;
  readonly cgroupParent: string;
  readonly logDirectory: string;
  /** The volume that shows the pod's logs; absent: none does. */
  readonly linkedLogs?: string;
  readonly resolvConf: string;
  readonly hostnameFile: string;
  readonly hostsFile: string;
  readonly shmPath: string;
}

/** Which devices containers get and may get. */
export interface DevicePolicy {
  /** Lines of `additional_devices`: for every container. */
  readonly additional: readonly string[];
  /** Host paths that a pod may ask for by annotation. */
  readonly allowed: readonly string[];
  /** Whether requested devices belong to the user and group of the request. */
  readonly ownedByUser: boolean;
}

/** Limits and habits of this node that shape every container. */
export interface NodeDefaults extends LimitSupport {
  readonly defaultCapabilities: readonly string[];
  /** Capabilities that the daemon itself has and can hand on, as `CAP_X`. */
  readonly availableCapabilities: ReadonlySet<string>;
  readonly addInheritableCapabilities: boolean;
  /** Whether containers get a cgroup namespace of their own (cgroup v2). */
  readonly cgroupNamespaces: boolean;
  readonly defaultEnv: readonly string[];
  readonly defaultUlimits: ReadonlyArray<{ readonly type: string; readonly soft: number; readonly hard: number }>;
  readonly pidsLimit: number;
  /** `timezone` of crio.conf. */
  readonly timezone: string;
  readonly readOnly: boolean;
  readonly rules: MountRules;
  /** The lowest oom_score_adj that can be set here (our own, without CAP_SYS_RESOURCE). */
  readonly minOomScoreAdj: number;
  readonly createTimeoutMs: number;
  readonly devices: DevicePolicy;
  /** The least GOMAXPROCS that is put into containers without a CPU limit; 0: none is. */
  readonly minGomaxprocs: number;
  /** CPUs that containers with CPUs of their own may share by annotation, as a list; may be empty. */
  readonly sharedCpuset: string;
  /** Whether systemd makes cgroups. */
  readonly systemdCgroups: boolean;
  /** Runtime handlers by their effective names. */
  readonly handlers: ReadonlyMap<string, HandlerConfig>;
}
