import type { OciSpec } from "../oci/spec/types.ts";
import type { PodContext } from "./ports.ts";
import type { ContainerRecord } from "./types.ts";

/**
 * Those outside who take part in the life of containers: plugins of the Node Resource Interface. None of these is called while a
 * container's lock is held, because a plugin's answer may change other containers.
 */
export interface ContainerPlugins {
  /**
   * Before the runtime makes a container. `created` or `notCreated` follows.
   *
   * @returns the runtime specification as the plugins want it
   * @throws what refuses the container
   */
  creating(
    container: { readonly pod: PodContext; readonly record: ContainerRecord; readonly spec: OciSpec },
    options: { signal: AbortSignal },
  ): Promise<OciSpec>;
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
