import type { Clock } from "./clock.ts";
import { abortable } from "./keyed_mutex.ts";
import { nextTurn } from "./turns.ts";

/** Reads of one slice together; one more read may begin just before its end. */
const SLICE_MS = 0.3;
/** A read that takes longer than this, twice in a row, is left to other threads for a while. */
const SLOW_MS = 1;
const SLOW_IN_A_ROW = 2;
const SLOW_FOR_MS = 60_000;
/** Slow reads at a time: they hold threads that files and names of the whole daemon need as well. */
const SLOW_PARALLEL = 4;
/** What nobody asked for in this time, or in twice its age, is forgotten. */
const FORGET_MS = 120_000;

/** How the values come about. */
export interface SlicedReadsOptions<K, V> {
  /**
   * Reads one value at once, within some ten microseconds; undefined when there is none (any more).
   *
   * @param previous the last value of this key, at most three minutes old
   */
  read(key: K, previous: V | undefined): V | undefined;
  /** The same without blocking, for when the kernel is slow. Without it `read` does all. */
  readSlowly?(key: K, previous: V | undefined): Promise<V | undefined>;
  /** Callers may get a value that is up to this old. */
  readonly maxAgeMs: number;
  readonly clock: Pick<Clock, "monotonicMs">;
}

interface Known<V> {
  readonly value: V;
  readonly readAtMs: number;
}

/**
 * Values that are read synchronously from the kernel, many in a row, without holding the event loop up: after each slice
 * of a third of a millisecond other work gets its turn. Callers that want the same key at the same time share one read.
 */
export class SlicedReads<K, V> {
  readonly #known = new Map<K, Known<V>>();
  /** In the order of the requests. */
  readonly #wanted = new Map<K, PromiseWithResolvers<V | undefined>>();
  #draining = false;
  #slowInARow = 0;
  #slowUntilMs = 0;
  #forgotAtMs = 0;

  constructor(private readonly options: SlicedReadsOptions<K, V>) {}

  /** The value, at most `maxAgeMs` old; undefined when there is none. Rejects with what `read` throws. */
  async get(key: K, options: { signal?: AbortSignal } = {}): Promise<V | undefined> {
    options.signal?.throwIfAborted();
    const known = this.#known.get(key);
    if (known !== undefined && this.#age(known) < this.options.maxAgeMs) return known.value;
    return await abortable(this.#request(key), options.signal);
  }

  /** Number of remembered values. */
  get size(): number {
    return this.#known.size;
  }

  #request(key: K): Promise<V | undefined> {
    const running = this.#wanted.get(key);
    if (running !== undefined) return running.promise;
    const wanted = Promise.withResolvers<V | undefined>();
    this.#wanted.set(key, wanted);
    // A caller that went away leaves its read behind.
    wanted.promise.catch(() => {});
    if (!this.#draining) {
      this.#draining = true;
      // Requests of the same turn go together.
      this.#continue();
    }
    return wanted.promise;
  }

  #drain(): void {
    this.#forget();
    if (this.options.readSlowly !== undefined && this.options.clock.monotonicMs() < this.#slowUntilMs) {
      this.#readSomeSlowly().then(() => this.#continue());
      return;
    }
    const end = performance.now() + SLICE_MS;
    for (const key of [...this.#wanted.keys()]) {
      this.#readNow(key);
      if (performance.now() >= end || this.options.clock.monotonicMs() < this.#slowUntilMs) break;
    }
    this.#continue();
  }

  #continue(): void {
    if (this.#wanted.size === 0) this.#draining = false;
    else nextTurn().then(() => this.#drain());
  }

  #readNow(key: K): void {
    const began = performance.now();
    try {
      this.#settle(key, this.options.read(key, this.#known.get(key)?.value));
    } catch (error) {
      this.#fail(key, error);
    }
    this.#slowInARow = performance.now() - began > SLOW_MS ? this.#slowInARow + 1 : 0;
    if (this.#slowInARow >= SLOW_IN_A_ROW) this.#slowUntilMs = this.options.clock.monotonicMs() + SLOW_FOR_MS;
  }

  async #readSomeSlowly(): Promise<void> {
    const keys = [...this.#wanted.keys()].slice(0, SLOW_PARALLEL);
    await Promise.all(keys.map(async (key) => {
      try {
        this.#settle(key, await this.options.readSlowly?.(key, this.#known.get(key)?.value));
      } catch (error) {
        this.#fail(key, error);
      }
    }));
  }

  #settle(key: K, value: V | undefined): void {
    if (value === undefined) this.#known.delete(key);
    else this.#known.set(key, { value, readAtMs: this.options.clock.monotonicMs() });
    this.#take(key)?.resolve(value);
  }

  #fail(key: K, error: unknown): void {
    this.#known.delete(key);
    this.#take(key)?.reject(error);
  }

  #take(key: K): PromiseWithResolvers<V | undefined> | undefined {
    const wanted = this.#wanted.get(key);
    this.#wanted.delete(key);
    return wanted;
  }

  #age(known: Known<V>): number {
    return this.options.clock.monotonicMs() - known.readAtMs;
  }

  #forget(): void {
    const nowMs = this.options.clock.monotonicMs();
    if (nowMs - this.#forgotAtMs < FORGET_MS / 2) return;
    this.#forgotAtMs = nowMs;
    const limitMs = Math.max(FORGET_MS, 2 * this.options.maxAgeMs);
    for (const [key, known] of this.#known) if (this.#age(known) > limitMs) this.#known.delete(key);
  }
}
