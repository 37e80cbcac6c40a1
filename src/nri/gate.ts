import { abortable } from "../base/keyed_mutex.ts";

/**
 * Operations that run side by side, and pauses during which none runs. One that comes during a pause, or while one is waited for,
 * waits for its end. Without a pause, entering costs nothing.
 */
export class Gate {
  #inside = 0;
  #paused: Promise<void> | undefined;
  #emptied: (() => void) | undefined;

  /** Enters; leave by disposing. An aborted wait rejects with the signal's reason. */
  async enter(options: { readonly signal?: AbortSignal } = {}): Promise<Disposable> {
    while (this.#paused !== undefined) await abortable(this.#paused, options.signal);
    this.#inside += 1;
    return { [Symbol.dispose]: once(() => this.#leave()) };
  }

  /** Waits until all have left; nobody enters until it is disposed. */
  async pause(): Promise<Disposable> {
    while (this.#paused !== undefined) await this.#paused;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#paused = promise;
    if (this.#inside > 0) await new Promise<void>((emptied) => this.#emptied = emptied);
    const end = once(() => {
      this.#paused = undefined;
      resolve();
    });
    return { [Symbol.dispose]: end };
  }

  #leave(): void {
    this.#inside -= 1;
    if (this.#inside > 0) return;
    this.#emptied?.();
    this.#emptied = undefined;
  }
}

function once(work: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    work();
  };
}
