import { createHash } from "node:crypto";
import { abortable } from "../base/keyed_mutex.ts";

/** What one pull downloads and unpacks; others that need a layer of it wait until this is disposed. */
export interface LayerClaim extends Disposable {
  /** How many layers, base first, are in the store. */
  readonly present: number;
}

/**
 * Which layers are being unpacked, so that none is downloaded twice at the same time. A layer is known by its own diff ID and
 * all of those below it, as in the store.
 */
export class LayerClaims {
  readonly #held = new Map<string, Promise<void>>();
  #releases = 0;

  /**
   * Waits for pulls that unpack a layer that is missing here, and claims those that are missing still. Nothing is held while it waits,
   * so pulls cannot wait for each other in a circle.
   *
   * @param countPresent asks the store, before and after each wait
   * @param options.onWait called before each wait
   * @throws the signal's reason; what `countPresent` throws
   */
  async claim(
    diffIds: readonly string[],
    countPresent: () => Promise<number>,
    options: { readonly signal: AbortSignal; readonly onWait?: () => void },
  ): Promise<LayerClaim> {
    const keys = chainKeys(diffIds);
    for (;;) {
      const releases = this.#releases;
      const present = await countPresent();
      // What was let go meanwhile may be in the store now.
      if (releases !== this.#releases) continue;
      const missing = keys.slice(present);
      const busy = missing.map((key) => this.#held.get(key)).find((held) => held !== undefined);
      if (busy === undefined) return this.#hold(missing, present);
      options.onWait?.();
      await abortable(busy, options.signal);
    }
  }

  #hold(keys: readonly string[], present: number): LayerClaim {
    const { promise, resolve } = Promise.withResolvers<void>();
    for (const key of keys) this.#held.set(key, promise);
    return {
      present,
      [Symbol.dispose]: (): void => {
        for (const key of keys) this.#held.delete(key);
        this.#releases++;
        resolve();
      },
    };
  }
}

function chainKeys(diffIds: readonly string[]): string[] {
  let below = "";
  return diffIds.map((diffId) => below = createHash("sha256").update(`${below} ${diffId}`).digest("base64"));
}
