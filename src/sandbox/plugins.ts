import type { SandboxRecord } from "./types.ts";

/** Those outside who take part in the life of pods: plugins of the Node Resource Interface. */
export interface PodPlugins {
  /**
   * A pod has all that it needs, and is not ready yet. `ran` or `notRun` follows.
   *
   * @param record as it will be
   * @throws what refuses the pod
   */
  running(record: SandboxRecord, options: { signal: AbortSignal }): Promise<void>;
  ran(record: SandboxRecord): void;
  /** The pod failed, perhaps before anybody was asked. Never rejects. */
  notRun(record: SandboxRecord): Promise<void>;
  /** All containers of a pod have ended; its namespaces are there. Tells of it once. Never rejects. */
  stopped(record: SandboxRecord): Promise<void>;
  /** A pod is gone. Never rejects. */
  removed(record: SandboxRecord): Promise<void>;
}
