import { messageOf, PodError } from "../../base/errors.ts";
import type { ImageObserver } from "../../metrics/image_metrics.ts";
import type { Descriptor } from "../manifest/documents.ts";
import { Speed } from "./_speed.ts";
import type { LayerProgress, LayerState, PullStage, PullStatus } from "./pull_status.ts";

/** Nothing came for too long. */
export class StalledPullError extends PodError {
  override readonly kind = "deadline_exceeded";
}

interface TrackerOptions {
  readonly id: number;
  readonly image: string;
  readonly signal: AbortSignal;
  readonly progressTimeoutMs: number;
  readonly observer: ImageObserver | undefined;
}

interface Layer {
  readonly descriptor: Pick<Descriptor, "digest" | "sizeBytes" | "mediaType">;
  downloaded: number;
  unpacked: number;
  state: LayerState;
}

/** One pull, as it goes on. */
export class PullTracker {
  /** Aborts with the caller's signal, or with a {@link StalledPullError}. */
  readonly signal: AbortSignal;
  readonly #stop = new AbortController();
  readonly #startedAtMs = Date.now();
  readonly #beganMs = performance.now();
  readonly #speed = new Speed();
  #endedMs: number | undefined;
  #stage: PullStage = "looking";
  #endpoint = "";
  #layers: readonly Layer[] = [];
  #end: { readonly imageId?: string; readonly error?: string } = {};
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly options: TrackerOptions, private readonly changed: () => void) {
    this.signal = AbortSignal.any([options.signal, this.#stop.signal]);
    this.#gotOn();
  }

  /** Since its end, milliseconds; undefined while it runs. */
  get endedAgoMs(): number | undefined {
    return this.#endedMs === undefined ? undefined : performance.now() - this.#endedMs;
  }

  /** A place is asked now: for the manifest, or for a layer that the one before did not give. */
  asking(endpoint: string): void {
    this.#endpoint = endpoint;
    this.#gotOn();
    this.changed();
  }

  /** Another pull unpacks layers of this image: that one's progress is watched, not this one's. */
  waiting(): void {
    clearTimeout(this.#timer);
    this.#stage = "waiting";
    this.changed();
  }

  /**
   * The manifest is known.
   *
   * @param found.present how many layers, base first, are in the store already
   */
  resolved(found: {
    readonly endpoint: string;
    readonly layers: readonly Layer["descriptor"][];
    readonly present: number;
    /** Layers and configuration. */
    readonly imageBytes: number;
  }): void {
    const { endpoint, layers, present, imageBytes } = found;
    this.#stage = "downloading";
    this.#endpoint = endpoint;
    this.#layers = layers.map((descriptor, i) => ({
      descriptor,
      downloaded: 0,
      unpacked: 0,
      state: i < present ? "present" : "waiting",
    }));
    const { observer, image } = this.options;
    for (const { digest } of layers.slice(0, present)) observer?.layerReused(`${image}@${digest}`);
    if (present === layers.length) observer?.skipped(imageBytes);
    this.#gotOn();
    this.changed();
  }

  /** What has come by now. A report without anything new is no progress. */
  progress({ downloaded, unpacked, finished }: LayerProgress): void {
    let isNew = false;
    this.#layers.forEach((layer, i) => {
      if (layer.state === "present" || layer.state === "done") return;
      const added = this.#received(layer, downloaded[i] ?? 0);
      const unpackedNow = unpacked[i] ?? 0;
      const state = finished.includes(i) ? "done" : stateOf(layer);
      if (added === 0 && unpackedNow === layer.unpacked && state === layer.state) return;
      isNew = true;
      layer.unpacked = unpackedNow;
      layer.state = state;
      if (state === "done") this.options.observer?.layerDone(layer.descriptor.sizeBytes);
    });
    if (!isNew) return;
    this.#gotOn();
    this.changed();
  }

  /** All layers are here. Our own work is not waited for with a time limit. */
  committing(): void {
    for (const layer of this.#layers) {
      if (layer.state === "present" || layer.state === "done") continue;
      this.#received(layer, layer.descriptor.sizeBytes);
      layer.state = "done";
      this.options.observer?.layerDone(layer.descriptor.sizeBytes);
    }
    clearTimeout(this.#timer);
    this.#stage = "committing";
    this.changed();
  }

  succeeded(imageId: string): void {
    this.options.observer?.succeeded();
    this.#ended("done", { imageId });
  }

  failed(error: unknown): void {
    const { codes = [], status } = error as { readonly codes?: readonly string[]; readonly status?: number };
    const kind = error instanceof PodError ? error.kind : "internal";
    const message = messageOf(error);
    this.options.observer?.failed({ kind, message, codes, status });
    this.#ended("failed", { error: message });
  }

  status(): PullStatus {
    const { id, image } = this.options;
    const elapsedMs = (this.#endedMs ?? performance.now()) - this.#beganMs;
    const received = this.#layers.reduce((sum, { downloaded }) => sum + downloaded, 0);
    const average = elapsedMs === 0 ? 0 : received / elapsedMs * 1000;
    return {
      id,
      image,
      stage: this.#stage,
      endpoint: this.#endpoint,
      startedAtMs: this.#startedAtMs,
      elapsedMs: Math.round(elapsedMs),
      bytesPerSecond: Math.round(this.#endedMs === undefined ? this.#speed.bytesPerSecond() : average),
      layers: this.#layers.map(({ descriptor, downloaded, unpacked, state }) => ({
        digest: descriptor.digest,
        sizeBytes: descriptor.sizeBytes,
        downloadedBytes: downloaded,
        unpackedBytes: unpacked,
        state,
      })),
      ...this.#end,
    };
  }

  /** @returns how many bytes are new */
  #received(layer: Layer, downloaded: number): number {
    const added = Math.max(0, downloaded - layer.downloaded);
    if (added === 0) return 0;
    layer.downloaded = downloaded;
    this.#speed.add(added);
    const { mediaType, sizeBytes: layerBytes } = layer.descriptor;
    this.options.observer?.received(added, { mediaType, layerBytes });
    return added;
  }

  #ended(stage: "done" | "failed", end: { readonly imageId?: string; readonly error?: string }): void {
    clearTimeout(this.#timer);
    this.#stage = stage;
    this.#end = end;
    this.#endedMs = performance.now();
    this.changed();
  }

  #gotOn(): void {
    const { progressTimeoutMs } = this.options;
    if (progressTimeoutMs === 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#stop.abort(this.#stalled()), progressTimeoutMs);
  }

  #stalled(): StalledPullError {
    const { image, progressTimeoutMs } = this.options;
    const open = this.#layers.filter(({ state }) => state !== "done" && state !== "present");
    const missing = open.map(({ descriptor, downloaded }) =>
      `layer ${descriptor.digest} is at ${downloaded} of ${descriptor.sizeBytes} bytes`
    );
    const from = this.#endpoint === "" ? "" : ` from ${this.#endpoint}`;
    const at = this.#stage === "looking" ? `while looking for the manifest${from}` : `while downloading${from}`;
    const where = missing.length === 0
      ? ""
      : `; ${missing[0]}${missing.length > 1 ? `, ${missing.length} are open` : ""}`;
    return new StalledPullError(
      `pull ${image}: no progress for ${progressTimeoutMs / 1000} s ${at}${where}; ` +
        "look at the registry and the way to it, or raise pull_progress_timeout",
    );
  }
}

function stateOf({ downloaded, descriptor }: Layer): LayerState {
  if (downloaded === 0) return "waiting";
  return downloaded < descriptor.sizeBytes ? "downloading" : "unpacking";
}
