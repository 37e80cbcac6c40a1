/** What is told of a pull while it runs, and shortly after. */
/** `looking`: registries are asked for the manifest. `waiting`: another pull has layers of this image in hand. `committing`: everything is here, the store records it. */
export type PullStage = "looking" | "waiting" | "downloading" | "committing" | "done" | "failed";
export type LayerState = "waiting" | "downloading" | "unpacking" | "done" | "present";

export interface LayerStatus {
  readonly digest: string;
  /** Compressed. */
  readonly sizeBytes: number;
  readonly downloadedBytes: number;
  /** Of the plain archive, handed to the unpacker. */
  readonly unpackedBytes: number;
  readonly state: LayerState;
}

/** One pull at one moment. Immutable. */
export interface PullStatus {
  /** Counted from the daemon's start. */
  readonly id: number;
  /** As the request has it. */
  readonly image: string;
  readonly stage: PullStage;
  /** The place that answered or is asked; empty before the first. */
  readonly endpoint: string;
  readonly startedAtMs: number;
  readonly elapsedMs: number;
  /** Of late while it runs, on average once it has ended. */
  readonly bytesPerSecond: number;
  readonly layers: readonly LayerStatus[];
  readonly imageId?: string;
  readonly error?: string;
}

/** Bytes so far, one number per layer of the manifest. */
export interface LayerProgress {
  readonly downloaded: readonly number[];
  readonly unpacked: readonly number[];
  /** Layers that are ready, by their place. */
  readonly finished: readonly number[];
}
