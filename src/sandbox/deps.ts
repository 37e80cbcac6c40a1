import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { ResourceLimits } from "../base/resources.ts";
import type { AnnotationGate } from "../config/annotation_gate.ts";
import type { SelinuxLabels } from "../security/selinux/labels.ts";
import type { RecordStore } from "../state/record_store.ts";
import type { InfraProcesses, NamespacePins, PodCgroups, PodContainers, PodMounts, PodNetworking } from "./ports.ts";
import type { PodPlugins } from "./plugins.ts";
import type { SandboxRecord } from "./types.ts";
import type { UserNamespaces } from "./user_namespaces/user_namespaces.ts";

/** What the verbs of this folder work with. */
export interface SandboxDeps {
  readonly records: RecordStore<SandboxRecord>;
  readonly containers: PodContainers;
  readonly network: PodNetworking;
  readonly namespaces: NamespacePins;
  readonly infra: InfraProcesses;
  readonly mounts: PodMounts;
  /** Absent: the node has no SELinux. */
  readonly selinux?: Pick<SelinuxLabels, "forPod" | "release">;
  readonly cgroups: PodCgroups;
  /** Kills every process whose arguments name this id: network plugins and runtimes that a crash left. */
  readonly killNaming: (id: string) => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Absent: nobody is asked or told. */
  readonly plugins?: PodPlugins;
  /** Pods keep their files in `<runDirectory>/<id>`. */
  readonly runDirectory: string;
  readonly userNamespaces: Pick<UserNamespaces, "mapsOf">;
  /** Which annotations of a pod count. */
  readonly annotations: Pick<AnnotationGate, "forPod">;
  /** Containers of pods that name no log directory log into `<logDirectory>/<id>`. */
  readonly logDirectory: () => string;
  /** @throws InvalidArgumentError for a handler that is not configured; gives the effective name */
  readonly resolveHandler: (name: string) => string;
  /** Set in every pod that has the namespaces for them; a pod's own come on top. */
  readonly defaultSysctls: () => Readonly<Record<string, string>>;
  /** Where the kubelet keeps the volumes of pods, `<uid>/volumes` below it. */
  readonly kubeletPods: string;
  /** Default `/dev/shm` size. */
  readonly shmSizeBytes: number;
  /** Time that a container has between its stop signal and SIGKILL when its pod is stopped. */
  readonly stopTimeoutMs: number;
  readonly runLimitMs: number;
  /** Told of a repeated request for a pod that is still being made, with the stage it is at. */
  readonly stalled?: (stage: string) => void;
  /** Told of each stage that an operation has left. */
  readonly staged?: (stage: string, elapsedMs: number) => void;
  /** Asked when a client tells new limits of a whole pod (NRI's plugins); what it throws refuses them. */
  readonly vetResources?: (
    record: SandboxRecord,
    change: { overhead: ResourceLimits; resources: ResourceLimits },
    options: { signal: AbortSignal },
  ) => Promise<void>;
}
