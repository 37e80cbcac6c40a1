/**
 * What this folder needs from others; `daemon.ts` supplies it.
 *
 * @module
 */
import type { IdMaps } from "../base/id_maps.ts";
import type { SandboxId } from "../base/ids.ts";
import type { ContainerRecord, ProcessIdentity } from "../container/types.ts";
import type { PortMapping, SandboxRecord } from "./types.ts";

/** A pod as the network plugins know it. */
export interface PodAttachment {
  readonly sandboxId: SandboxId;
  readonly netnsPath: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly portMappings: readonly PortMapping[];
  readonly cgroupParent: string;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface PodNetworking {
  /** Resolves when a network is configured and its plugins are there. */
  waitReady(options: { signal: AbortSignal }): Promise<void>;
  attach(pod: PodAttachment, options: { signal: AbortSignal }): Promise<{ ips: readonly string[] }>;
  /** Succeeds when there is nothing to detach, or the namespace is gone. */
  detach(pod: PodAttachment, options: { signal: AbortSignal }): Promise<void>;
}

export interface NamespacePins {
  /** Makes namespaces and pins each to a file; all or none. They belong to a user namespace where maps are given. */
  pin(request: {
    name: string;
    kinds: ReadonlyArray<"network" | "ipc" | "uts">;
    hostname: string;
    sysctls: Readonly<Record<string, string>>;
    userMaps?: IdMaps;
    signal: AbortSignal;
  }): Promise<{ readonly network?: string; readonly ipc?: string; readonly uts?: string; readonly user?: string }>;
  /** Where `pin` puts the namespaces of this name. */
  paths(name: string): readonly string[];
  /** Lets a namespace go; succeeds when it is not there. */
  unpin(path: string): void;
  isPinned(path: string): boolean;
}

/** The process that holds a pod's PID namespace. */
export interface InfraProcesses {
  start(record: SandboxRecord, options: { signal: AbortSignal }): Promise<ProcessIdentity>;
  /** Succeeds when it is gone. */
  remove(record: SandboxRecord): Promise<void>;
  isAlive(process: ProcessIdentity): boolean;
}

export interface PodMounts {
  mountShm(
    path: string,
    options: { sizeBytes: number; label?: string; owner: { uid: number; gid: number } },
  ): void;
  /** Succeeds when it is not mounted. */
  unmountShm(path: string): Promise<void>;
  /** Shows the log directory in a volume of the pod. */
  linkLogs(logDirectory: string, volume: string): Promise<void>;
  /** Succeeds when it does not show them. */
  unlinkLogs(logDirectory: string, volume: string): Promise<void>;
}

/** Where a pod's cgroups hang. The kubelet makes and removes the pod's own; we only what lies below. */
export interface PodCgroups {
  /**
   * The cgroup parent to use for a request's, which may be empty.
   *
   * @throws InvalidArgumentError when it does not fit the cgroup driver
   */
  parent(requested: string): string;
  /** Makes an empty cgroup that stands for a pod without infra process: cAdvisor finds pods by their cgroups. */
  mark(parent: string, id: SandboxId): Promise<void>;
  /** Takes it away; succeeds when there is none. */
  unmark(parent: string, id: SandboxId): Promise<void>;
}

/** The containers of a pod. */
export interface PodContainers {
  ofSandbox(id: SandboxId): Promise<ContainerRecord[]>;
  stop(id: string, options: { timeoutMs: number; signal: AbortSignal }): Promise<void>;
  remove(id: string, options: { signal: AbortSignal }): Promise<void>;
}
