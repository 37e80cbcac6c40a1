/** Writes a line to stdout. */
export function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

/** Announces each step and says how long it took. An interrupt ends the step that is running. */
export class Steps {
  readonly #startMs = performance.now();
  readonly #interrupted: Promise<never>;

  constructor() {
    const { promise, reject } = Promise.withResolvers<never>();
    this.#interrupted = promise;
    promise.catch(() => {});
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      Deno.addSignalListener(signal, () => reject(new Error("interrupted: cleaning up")));
    }
  }

  async run<T>(what: string, work: () => Promise<T>): Promise<T> {
    const startMs = performance.now();
    const encoder = new TextEncoder();
    Deno.stdout.writeSync(encoder.encode(`${what} ...`));
    try {
      const result = await Promise.race([work(), this.#interrupted]);
      say(` ${Math.round(performance.now() - startMs)} ms`);
      return result;
    } catch (error) {
      say(` failed after ${Math.round(performance.now() - startMs)} ms`);
      throw error;
    }
  }

  total(): void {
    say(`all done in ${((performance.now() - this.#startMs) / 1000).toFixed(1)} s`);
  }
}
