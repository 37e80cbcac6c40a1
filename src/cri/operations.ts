/**
 * What the handlers of this folder need from the rest of the daemon. `daemon.ts` supplies it.
 *
 * Ids that come from a client may be unique prefixes; `find` resolves them, and throws when a prefix names several.
 *
 * @module
 */
import type { Subscription } from "../base/broadcast.ts";
import type { ContainerId, SandboxId } from "../base/ids.ts";
import type { ResourceLimits } from "../base/resources.ts";
import type { MetricSet } from "../container/metrics.ts";
import type { ContainerStats } from "../container/stats.ts";
import type { ContainerRecord, ContainerSpec } from "../container/types.ts";
import type { PodMetrics } from "../sandbox/metrics.ts";
import type { PodEvent } from "../sandbox/pod_events.ts";
import type { SandboxStats } from "../sandbox/stats.ts";
import type { SandboxRecord, SandboxSpec } from "../sandbox/types.ts";
import type { AttachStreamRequest, ExecStreamRequest, PortForwardStreamRequest } from "../streaming/handlers.ts";

/** What every operation that waits takes. */
export interface Cancellable {
  readonly signal: AbortSignal;
}

/** Pod sandboxes. Records are immutable: a change makes a new object. */
export interface SandboxOperations {
  /** Makes a pod; a repeated request joins the running one or gets the pod that is there. */
  run(spec: SandboxSpec, options: Cancellable): Promise<SandboxId>;
  /** Succeeds when the pod is stopped or does not exist. */
  stop(id: string, options: Cancellable): Promise<void>;
  /** Succeeds when the pod does not exist. */
  remove(id: string, options: Cancellable): Promise<void>;
  /** Hears of new limits of a whole pod. */
  updateResources(
    id: string,
    change: { readonly overhead: ResourceLimits; readonly resources: ResourceLimits },
    options: Cancellable,
  ): Promise<void>;
  find(id: string): SandboxRecord | undefined;
  list(): Iterable<SandboxRecord>;
}

/** A CreateContainer request after its checks. */
export interface CreateRequest {
  readonly sandbox: SandboxRecord;
  readonly spec: ContainerSpec;
  /** The pod's configuration as this request repeats it. */
  readonly sandboxSpec: SandboxSpec;
}

/** The outcome of a command; at most 16 MiB of output, which the container side enforces. */
export interface CommandOutcome {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly exitCode: number;
  readonly timedOut: boolean;
}

/** Containers. Records are immutable: a change makes a new object. */
export interface ContainerOperations {
  create(request: CreateRequest, options: Cancellable): Promise<ContainerId>;
  start(id: string, options: Cancellable): Promise<void>;
  /** Succeeds when the container has ended or does not exist. */
  stop(id: string, options: Cancellable & { readonly timeoutMs: number }): Promise<void>;
  /** Succeeds when the container does not exist. */
  remove(id: string, options: Cancellable): Promise<void>;
  /** Changes limits of a container that has not ended; those that are not named stay. */
  updateResources(id: string, limits: ResourceLimits, options: Cancellable): Promise<void>;
  find(id: string): ContainerRecord | undefined;
  list(): Iterable<ContainerRecord>;
  /** @param request.timeoutMs 0: no limit */
  execSync(
    id: string,
    request: Cancellable & { readonly command: readonly string[]; readonly timeoutMs: number },
  ): Promise<CommandOutcome>;
  reopenLog(id: string, options: Cancellable): Promise<void>;
  /** @param request.timeoutMs 0: no limit */
  checkpoint(
    id: string,
    request: Cancellable & { readonly location: string; readonly timeoutMs: number },
  ): Promise<void>;
  /** The OCI configuration that the container was made with, for verbose answers. */
  runtimeSpec(record: ContainerRecord): Promise<unknown>;
}

/** Streams: the answer is a URL that works once, for a minute. */
export interface StreamingOperations {
  /** @throws NotFoundError, FailedPreconditionError unless the container runs; InvalidArgumentError */
  exec(request: ExecStreamRequest): string;
  /** @throws NotFoundError, FailedPreconditionError when the container has ended; InvalidArgumentError */
  attach(request: AttachStreamRequest): string;
  /** @throws NotFoundError, FailedPreconditionError unless the pod is ready; InvalidArgumentError */
  portForward(request: PortForwardStreamRequest): string;
}

/** An image on this node. Immutable: a change of names makes a new object. */
export interface ImageInfo {
  /** 64 hex digits. */
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly sizeBytes: number;
  /** The image configuration's user: empty, a name or a number, either with `:group`. */
  readonly user: string;
  readonly pinned: boolean;
  readonly annotations: Readonly<Record<string, string>>;
}

/** How to log in at the image's registry. */
export type RegistryCredentials =
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  | { readonly kind: "identityToken"; readonly token: string }
  | { readonly kind: "registryToken"; readonly token: string };

/** A PullImage request after its checks. */
export interface PullRequest {
  readonly image: string;
  /** What stands in the pod's manifest; may be empty. */
  readonly userSpecifiedImage: string;
  readonly runtimeHandler: string;
  readonly credentials?: RegistryCredentials;
  /** Registry that the credentials are for, `host[:port]` or a URL; absent when the client named none. */
  readonly serverAddress?: string;
  /** Of the pod that needs the image; absent when the client named none. */
  readonly pod?: { readonly namespace: string; readonly name: string; readonly uid: string };
  /** The pod's cgroup; empty when the client named none. */
  readonly cgroupParent: string;
}

/** Disk use of one file system. */
export interface FilesystemUse {
  readonly mountpoint: string;
  readonly usedBytes: number;
  readonly inodesUsed: number;
  readonly timestampNanos: bigint;
}

/** Images. */
export interface ImageOperations {
  list(options: Cancellable): Promise<Iterable<ImageInfo>>;
  /** The image with this id, id prefix or reference. */
  find(reference: string, options: Cancellable): Promise<ImageInfo | undefined>;
  /** Gives the id of the image. */
  pull(request: PullRequest, options: Cancellable): Promise<string>;
  /** Succeeds when the image does not exist. */
  remove(reference: string, options: Cancellable): Promise<void>;
  fsInfo(
    options: Cancellable,
  ): Promise<{ readonly images: readonly FilesystemUse[]; readonly containers: readonly FilesystemUse[] }>;
  /** The OCI image configuration, for verbose answers. */
  config(id: string, options: Cancellable): Promise<unknown>;
}

/** A runtime handler and what its OCI runtime can do. */
export interface HandlerInfo {
  readonly name: string;
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
}

/** The node as Version, Status and RuntimeConfig describe it. */
export interface NodeOperations {
  /** Semantic version of this daemon. */
  readonly version: string;
  readonly cgroupDriver: "systemd" | "cgroupfs";
  /** Undefined when pods can get a network, else why they cannot. */
  networkProblem(): string | undefined;
  handlers(): { readonly default: string; readonly all: readonly HandlerInfo[] };
  /** The effective configuration, for verbose answers; has to be JSON. */
  verboseConfig(): unknown;
}

/** Figures of pods or containers, at most a second old. */
export interface StatsSource<Item, Figures> {
  /** Of those among `records` that run, in their order. */
  list(records: Iterable<Item>, options: Cancellable): Promise<readonly Figures[]>;
  get(record: Item, options: Cancellable): Promise<Figures>;
}

/** What pods and containers use. */
export interface StatsOperations {
  readonly containers: StatsSource<ContainerRecord, ContainerStats>;
  readonly sandboxes: StatsSource<SandboxRecord, SandboxStats>;
}

/** What metrics of pods and containers are made of. */
export interface MetricsOperations {
  /** The sets that are offered. */
  readonly sets: ReadonlySet<MetricSet>;
  /** Of all pods that are ready, at most a second old. */
  list(options: Cancellable): Promise<readonly PodMetrics[]>;
}

/** Events of pods and containers. */
export interface EventOperations {
  /** All events from now on; dispose it to leave. */
  subscribe(): Subscription<PodEvent>;
}
