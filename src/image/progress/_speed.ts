/** Bytes per second over the last few seconds. */
export class Speed {
  #samples: { readonly atMs: number; readonly bytes: number }[] = [];

  add(bytes: number): void {
    this.#samples.push({ atMs: performance.now(), bytes });
    this.#drop();
  }

  bytesPerSecond(): number {
    this.#drop();
    const [first] = this.#samples;
    if (first === undefined) return 0;
    // The oldest sample's bytes came before it was taken: they count, with the time that a sample stands for.
    const spanMs = Math.max(performance.now() - first.atMs + LEAST_MS, LEAST_MS);
    return this.#samples.reduce((sum, { bytes }) => sum + bytes, 0) / spanMs * 1000;
  }

  #drop(): void {
    const since = performance.now() - WINDOW_MS;
    while (this.#samples[0] !== undefined && this.#samples[0].atMs < since) this.#samples.shift();
  }
}

const WINDOW_MS = 5000;
const LEAST_MS = 500;
