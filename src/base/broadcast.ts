import { abortable } from "./keyed_mutex.ts";

export interface BroadcastOptions {
  /** Items that one subscriber may leave waiting; what comes beyond is dropped for that subscriber alone. */
  readonly limit: number;
  /** Told of each item that a subscriber did not get. @param inARow how many it has missed since it took one */
  readonly onDrop?: (inARow: number) => void;
}

/** Items for one subscriber, in order, without those that were dropped. Dispose it to leave. */
export interface Subscription<T> extends Disposable {
  /**
   * The next item, at once when one waits; undefined when there will be none any more.
   *
   * @throws the signal's reason
   */
  next(options: { readonly signal: AbortSignal }): Promise<T | undefined>;
}

/**
 * Hands each item to every subscriber of that moment. A publisher never waits: each subscriber has a queue of its own,
 * with a limit, so that one that hangs costs nobody else anything.
 */
export class Broadcast<T> implements Disposable {
  readonly #subscribers = new Set<Queue<T>>();
  #ended = false;

  constructor(private readonly options: BroadcastOptions) {}

  /** Number of subscribers: without any there is no need to make an item. */
  get size(): number {
    return this.#subscribers.size;
  }

  /** Puts an item into the queue of each subscriber. */
  publish(item: T): void {
    for (const subscriber of this.#subscribers) subscriber.push(item);
  }

  /** Gets all items from now on. */
  subscribe(): Subscription<T> {
    const queue = new Queue<T>(this.options, () => this.#subscribers.delete(queue));
    if (this.#ended) queue.end();
    else this.#subscribers.add(queue);
    return queue;
  }

  /** Ends all subscriptions: each hears what waits for it, and then of the end. */
  [Symbol.dispose](): void {
    this.#ended = true;
    for (const subscriber of this.#subscribers) subscriber.end();
    this.#subscribers.clear();
  }
}

class Queue<T> implements Subscription<T> {
  #items: T[] = [];
  #taken = 0;
  #dropped = 0;
  #ended = false;
  #wake = Promise.withResolvers<void>();

  constructor(private readonly options: BroadcastOptions, private readonly leave: () => void) {}

  push(item: T): void {
    if (this.#items.length - this.#taken >= this.options.limit) {
      this.#dropped += 1;
      this.options.onDrop?.(this.#dropped);
      return;
    }
    this.#items.push(item);
    this.#wake.resolve();
  }

  end(): void {
    this.#ended = true;
    this.#wake.resolve();
  }

  async next({ signal }: { readonly signal: AbortSignal }): Promise<T | undefined> {
    signal.throwIfAborted();
    if (this.#items.length === this.#taken && !this.#ended) {
      this.#wake = Promise.withResolvers<void>();
      await abortable(this.#wake.promise, signal);
    }
    const item = this.#items[this.#taken];
    if (item === undefined) return undefined;
    this.#taken += 1;
    this.#dropped = 0;
    this.#compact();
    return item;
  }

  [Symbol.dispose](): void {
    this.leave();
    this.end();
    this.#items = [];
    this.#taken = 0;
  }

  /** Shifting an array by one for each item costs more the longer it is. */
  #compact(): void {
    if (this.#taken < this.#items.length && this.#taken < this.options.limit) return;
    this.#items.splice(0, this.#taken);
    this.#taken = 0;
  }
}
