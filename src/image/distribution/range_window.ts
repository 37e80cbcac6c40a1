import { Semaphore } from "../../base/semaphore.ts";
import type { ByteReader } from "./transport.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** When a blob is read by several requests at once, and how. */
export interface WindowPolicy {
  /** Of each request. */
  readonly segmentBytes: number;
  /** How many requests at once; the most that is held is this many segments. */
  readonly segments: number;
  /** How long one stream is watched before. */
  readonly afterMs: number;
  /** A stream at least this fast stays alone. */
  readonly fastBytesPerSecond: number;
  /** How many times faster the window has to be than the stream was. */
  readonly gain: number;
}

/**
 * Where a connection is what limits: a far registry, or one that limits each. On the loopback, and wherever unpacking is what is
 * waited for, one stream stays.
 */
export const WINDOW_POLICY: WindowPolicy = {
  segmentBytes: 4 * 1024 * 1024,
  segments: 4,
  afterMs: 2000,
  fastBytesPerSecond: 48 * 1024 * 1024,
  gain: 1.2,
};

/** At most so many windows in this process: 32 MiB. */
const WINDOWS = new Semaphore(2);

/** How fast something comes while it is waited for. */
export class Pace {
  #bytes = 0;
  #waitedMs = 0;
  readonly #beganMs = performance.now();

  /** Waits for a piece, and counts the time and the piece. */
  async of(read: () => Promise<Bytes | undefined>): Promise<Bytes | undefined> {
    const startMs = performance.now();
    const piece = await read();
    this.#waitedMs += performance.now() - startMs;
    this.#bytes += piece?.length ?? 0;
    return piece;
  }

  /** Since this object was made. */
  get elapsedMs(): number {
    return performance.now() - this.#beganMs;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get bytesPerSecond(): number {
    return this.#bytes / this.elapsedMs * 1000;
  }

  /** Whether nearly all of the time went by waiting. */
  get isWaiting(): boolean {
    return this.#waitedMs > this.elapsedMs * 0.7;
  }
}

/** A part of a blob by requests for its segments, a few at once, given out in order. */
export class RangeWindow implements ByteReader {
  readonly #stop = new AbortController();
  readonly #ahead: Promise<Bytes>[] = [];
  #next: number;
  #isOpen = true;

  private constructor(
    private readonly fetchSegment: FetchSegment,
    private readonly range: { readonly from: number; readonly end: number },
    private readonly policy: WindowPolicy,
    private readonly place: Disposable,
  ) {
    this.#next = range.from;
  }

  /** Undefined when there are enough windows. */
  static open(
    fetchSegment: FetchSegment,
    range: { readonly from: number; readonly end: number },
    policy: WindowPolicy,
  ): RangeWindow | undefined {
    const place = WINDOWS.tryAcquire();
    return place === undefined ? undefined : new RangeWindow(fetchSegment, range, policy, place);
  }

  async read(): Promise<Bytes | undefined> {
    this.#fill();
    const segment = this.#ahead.shift();
    if (segment === undefined) return undefined;
    const bytes = await segment;
    this.#fill();
    return bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#stop.abort(new Error("the window is closed"));
    await Promise.allSettled(this.#ahead.splice(0));
    this.place[Symbol.dispose]();
  }

  #fill(): void {
    const { segments, segmentBytes } = this.policy;
    while (this.#isOpen && this.#ahead.length < segments && this.#next < this.range.end) {
      const end = Math.min(this.#next + segmentBytes, this.range.end);
      const segment = this.fetchSegment({ from: this.#next, end }, this.#stop.signal);
      // Looked at when its turn comes.
      segment.catch(() => {});
      this.#ahead.push(segment);
      this.#next = end;
    }
  }
}

/** Gives the bytes from `from` up to, not including, `end`. @throws RegistryError when they cannot be had */
export type FetchSegment = (
  range: { readonly from: number; readonly end: number },
  signal: AbortSignal,
) => Promise<Bytes>;
