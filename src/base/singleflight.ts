import { abortable } from "./keyed_mutex.ts";

/**
 * Runs one operation per key at a time; callers that come while it runs share its outcome.
 *
 * The operation gets a signal of its own that aborts only when every caller has gone away, so one impatient caller
 * never cancels the work of the others.
 */
export class Singleflight<K, T> {
  readonly #running = new Map<K, Flight<T>>();

  /**
   * @param key what makes two calls the same
   * @param options.signal of this caller only
   * @param operation started for the first caller; the others join it
   */
  async run(
    key: K,
    options: { signal?: AbortSignal },
    operation: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const flight = this.#running.get(key) ?? this.#start(key, operation);
    flight.callers += 1;
    try {
      return await abortable(flight.result, options.signal);
    } finally {
      flight.callers -= 1;
      if (flight.callers === 0 && !flight.settled) {
        // Nobody waits any more: a later caller must not join an operation that is being cancelled.
        if (this.#running.get(key) === flight) this.#running.delete(key);
        flight.controller.abort(options.signal?.reason);
      }
    }
  }

  /** Keys that run now. */
  keys(): IterableIterator<K> {
    return this.#running.keys();
  }

  #start(key: K, operation: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const flight: Flight<T> = { controller, callers: 0, settled: false, result: operation(controller.signal) };
    const settle = (): void => {
      flight.settled = true;
      if (this.#running.get(key) === flight) this.#running.delete(key);
    };
    flight.result.then(settle, settle);
    this.#running.set(key, flight);
    return flight;
  }
}

interface Flight<T> {
  readonly controller: AbortController;
  readonly result: Promise<T>;
  callers: number;
  settled: boolean;
}
