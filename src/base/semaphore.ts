import { abortable } from "./keyed_mutex.ts";

export interface SemaphoreOptions {
  readonly signal?: AbortSignal;
  /** Goes before those who wait without it; every {@link TURNS}th place goes to them all the same. */
  readonly urgent?: boolean;
}

/** Urgent holders in a row while others wait. */
const TURNS = 8;

/** At most `limit` holders at a time, first come, first served among equals. */
export class Semaphore {
  #free: number;
  #urgentInARow = 0;
  readonly #urgent: Array<() => void> = [];
  readonly #waiting: Array<() => void> = [];

  constructor(readonly limit: number) {
    this.#free = limit;
  }

  /** Waits for a place; an aborted wait gives it up and rejects with the signal's reason. */
  async acquire(options: SemaphoreOptions = {}): Promise<Disposable> {
    options.signal?.throwIfAborted();
    if (this.#free > 0) {
      this.#free -= 1;
      return this.#permit();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const queue = options.urgent === true ? this.#urgent : this.#waiting;
    queue.push(resolve);
    try {
      await abortable(promise, options.signal);
    } catch (error) {
      const place = queue.indexOf(resolve);
      if (place >= 0) queue.splice(place, 1);
      else this.#release();
      throw error;
    }
    return this.#permit();
  }

  /** A place at once, or undefined. */
  tryAcquire(): Disposable | undefined {
    if (this.#free === 0) return undefined;
    this.#free -= 1;
    return this.#permit();
  }

  #permit(): Disposable {
    let held = true;
    return {
      [Symbol.dispose]: (): void => {
        if (!held) return;
        held = false;
        this.#release();
      },
    };
  }

  #release(): void {
    const next = this.#next();
    if (next === undefined) this.#free += 1;
    else next();
  }

  #next(): (() => void) | undefined {
    const patient = this.#waiting.length > 0 && (this.#urgent.length === 0 || this.#urgentInARow >= TURNS);
    this.#urgentInARow = patient ? 0 : this.#urgentInARow + 1;
    return patient ? this.#waiting.shift() : this.#urgent.shift();
  }
}
