/**
 * One first-come, first-served lock per key; keys without holders take no memory.
 *
 * `using lock = await mutex.acquire(id)` holds it to the end of the block.
 */
export class KeyedMutex<K> {
  readonly #tails = new Map<K, Promise<void>>();

  /**
   * Waits for its turn on `key`. An aborted wait gives its place up and rejects with the signal's reason.
   */
  async acquire(key: K, options: { signal?: AbortSignal } = {}): Promise<Disposable> {
    const { signal } = options;
    signal?.throwIfAborted();
    const before = this.#tails.get(key);
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const tail = before === undefined ? released : before.then(() => released);
    this.#tails.set(key, tail);
    // The key goes when everybody up to us is done: one that gave its place up may stand behind a holder still.
    tail.then(() => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    });
    const free = (): void => release();
    try {
      if (before !== undefined) await abortable(before, signal);
    } catch (error) {
      free();
      throw error;
    }
    return { [Symbol.dispose]: free };
  }

  /** Number of keys that are held or waited for. */
  get size(): number {
    return this.#tails.size;
  }
}

/** Settles like `promise`, or rejects with the signal's reason as soon as that aborts; leaves no listener behind. */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await promise;
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
