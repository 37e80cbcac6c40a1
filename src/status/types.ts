import type { SandboxId } from "../base/ids.ts";
import type { ReloadReport } from "../config/live.ts";
import type { ContainerRecord } from "../container/types.ts";
import type { ArchiveStatus } from "../image/import/drop_folder.ts";
import type { PullStatus } from "../image/progress/pull_status.ts";
import type { SandboxStats } from "../sandbox/stats.ts";
import type { SandboxRecord } from "../sandbox/types.ts";

/** A range of user or group ids that is the same for all pods. */
export interface DefaultIdMap {
  readonly containerId: number;
  readonly hostId: number;
  readonly size: number;
}

/** What `/info` tells of the node. */
export interface NodeInfo {
  readonly storageDriver: string;
  readonly storageRoot: string;
  /** Directory of image layers where it is not below the root; else empty. */
  readonly storageImage: string;
  readonly cgroupDriver: string;
  readonly uidMaps?: readonly DefaultIdMap[];
  readonly gidMaps?: readonly DefaultIdMap[];
}

/** The pulls of this daemon. */
export interface Pulls {
  /** Running ones, and those that ended lately. */
  list(): readonly PullStatus[];
  find(id: number): PullStatus | undefined;
  /** Calls back with the id of each pull that changes. */
  watch(changed: (id: number) => void): Disposable;
}

/** Told of a change of a record: `previous` is undefined for a new one, `record` for one that was removed. */
export type Change<R> = (record: R | undefined, previous: R | undefined) => void;

/** An image or artifact. */
export interface ShownImage {
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly sizeBytes: number;
  readonly pinned: boolean;
}

/** What runs on this node, for people who look. */
export interface NodeView {
  /** Pods, oldest first, without those that are being made. */
  pods(): Iterable<SandboxRecord>;
  /** As {@link pods}. */
  containers(): Iterable<ContainerRecord>;
  images(options: { readonly signal: AbortSignal }): Promise<Iterable<ShownImage>>;
  /** Whether a container of this daemon uses the image. */
  usesImage(id: string): boolean;
  /** What pods use, at most a second old. */
  figures(options: { readonly signal: AbortSignal }): Promise<readonly SandboxStats[]>;
  watchPods(changed: Change<SandboxRecord>): Disposable;
  watchContainers(changed: Change<ContainerRecord>): Disposable;
}

/** What this folder needs from the rest of the daemon. */
export interface StatusDeps {
  /**
   * By id or unique prefix of it, also one that is being made: cAdvisor asks as soon as it sees the cgroup, and once only.
   * May throw when a prefix names several.
   */
  findContainer(id: string): ContainerRecord | undefined;
  /** As {@link findContainer}. */
  findSandbox(id: string): SandboxRecord | undefined;
  /** Where a container's root file system is: cAdvisor measures the layer below it. */
  rootOf(container: ContainerRecord): Promise<string>;
  /** Any process in a pod's network; 0 when none runs. */
  processIn(sandboxId: SandboxId): number;
  /** Freezes a running container. */
  pause(id: string, options: { readonly signal: AbortSignal }): Promise<void>;
  /** Lets a paused container go on. */
  unpause(id: string, options: { readonly signal: AbortSignal }): Promise<void>;
  info(): NodeInfo;
  readonly pulls: Pulls;
  /** The drop folder. */
  readonly archives: {
    status(): { readonly directory: string; readonly problem: string; readonly archives: readonly ArchiveStatus[] };
  };
  readonly node: NodeView;
  /** Aborts when the daemon stops: streams end then. */
  readonly signal: AbortSignal;
  /** The effective configuration. */
  configToml(): string;
  /** Reads the configuration anew. @throws with the reason why nothing was changed */
  reload(): Promise<ReloadReport>;
  /** What the daemon is doing: running requests, held locks, counts of records. Plain JSON data. */
  debug(): Readonly<Record<string, unknown>>;
}
