import type { OciSpec } from "../oci/spec/types.ts";
import type { ContainerDeps } from "./deps.ts";
import type { PodContext } from "./ports.ts";
import type { ContainerRecord } from "./types.ts";

/** A container that is about to be made, and what its node can do. */
export interface Creation {
  readonly record: ContainerRecord;
  readonly spec: OciSpec;
  readonly pod: PodContext;
  readonly deps: Pick<ContainerDeps, "node" | "runtimes" | "annotations" | "cdi">;
}

/** What plugins make of it. */
export interface AdjustedContainer {
  readonly spec: OciSpec;
  /** What changes in the record with it. */
  readonly changes: Partial<Pick<ContainerRecord, "resources" | "cgroupPath" | "cgroupParent">>;
}

/**
 * Those outside who take part in the life of containers: plugins of the Node Resource Interface. None of these is called while a
 * container's lock is held, because a plugin's answer may change other containers.
 */
export interface ContainerPlugins {
  /**
   * Before the runtime makes a container. `created` or `notCreated` follows.
   *
   * @returns the container as the plugins want it; undefined: as it is
   * @throws what refuses the container
   */
  creating(creation: Creation, options: { signal: AbortSignal }): Promise<AdjustedContainer | undefined>;
  /** Never rejects. */
  created(record: ContainerRecord): Promise<void>;
  /** The creation failed, perhaps before anybody was asked. Never rejects. */
  notCreated(record: ContainerRecord): Promise<void>;
  /** Before a created container is started. `started` or `notStarted` follows. @throws what refuses it */
  starting(record: ContainerRecord, options: { signal: AbortSignal }): Promise<void>;
  /** Never rejects. */
  started(record: ContainerRecord): Promise<void>;
  notStarted(record: ContainerRecord): void;
  /** A container has ended. Tells of it once, however often it is called; resolves when that is done. Never rejects. */
  ended(record: ContainerRecord): Promise<void>;
  /** A container is about to be removed, its files are still there. @returns what tells of it once it is gone; never rejects */
  removing(record: ContainerRecord): Promise<() => Promise<void>>;
}
