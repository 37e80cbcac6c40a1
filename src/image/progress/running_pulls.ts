/** What each pull of this daemon is doing: for `GET /pulls`, metrics and the time limit on silence. */
import type { ImageObserver } from "../../metrics/image_metrics.ts";
import type { PullStatus } from "./pull_status.ts";
import { PullTracker } from "./pull_tracker.ts";

export interface RunningPullsOptions {
  /** A pull that gets on in no way for this long is cancelled; 0: never. Milliseconds. */
  readonly progressTimeoutMs?: number;
  readonly observer?: ImageObserver;
}

/** Pulls that have ended are told of for this long, and this many at most. */
const KEPT_MS = 60_000;
const KEPT_PULLS = 50;

/** See the module comment. */
export class RunningPulls {
  readonly #pulls = new Map<number, PullTracker>();
  readonly #watchers = new Set<(id: number) => void>();
  #lastId = 0;

  constructor(private readonly options: RunningPullsOptions = {}) {}

  /** How often progress has to be told for the time limit to be kept, milliseconds. */
  get intervalMs(): number | undefined {
    const { progressTimeoutMs = 0 } = this.options;
    return progressTimeoutMs === 0 ? undefined : Math.max(10, progressTimeoutMs / 10);
  }

  /** A pull begins. @param signal the caller's; the tracker's own aborts for a pull that gets on in no way, too */
  begin(image: string, signal: AbortSignal): PullTracker {
    return this.#begin(image, signal, this.options);
  }

  /** An image comes from a file of this node: no registry is waited for, and no pull is counted. */
  beginImport(image: string, signal: AbortSignal): PullTracker {
    return this.#begin(image, signal, {});
  }

  #begin(image: string, signal: AbortSignal, options: RunningPullsOptions): PullTracker {
    this.#forget();
    const id = ++this.#lastId;
    const { progressTimeoutMs = 0, observer } = options;
    const tracker = new PullTracker({ id, image, signal, progressTimeoutMs, observer }, () => this.#changed(id));
    this.#pulls.set(id, tracker);
    this.#changed(id);
    return tracker;
  }

  /** Running pulls and those that ended lately, oldest first. */
  list(): readonly PullStatus[] {
    this.#forget();
    return [...this.#pulls.values()].map((pull) => pull.status());
  }

  find(id: number): PullStatus | undefined {
    return this.#pulls.get(id)?.status();
  }

  /** Calls `changed` with the id of each pull that changes, until it is disposed. */
  watch(changed: (id: number) => void): Disposable {
    this.#watchers.add(changed);
    return { [Symbol.dispose]: (): void => void this.#watchers.delete(changed) };
  }

  #changed(id: number): void {
    for (const watcher of this.#watchers) watcher(id);
  }

  #forget(): void {
    const ended = [...this.#pulls].filter(([, pull]) => pull.endedAgoMs !== undefined);
    const tooMany = ended.length - KEPT_PULLS;
    ended.forEach(([id, pull], i) => {
      if (i < tooMany || (pull.endedAgoMs ?? 0) > KEPT_MS) this.#pulls.delete(id);
    });
  }
}
