/** How long one is not waited for again. */
const REMEMBERED_MS = 60_000;
/** Long enough for a registry that is well. */
const SHORT_MS = 1_000;

/**
 * Hosts that could not be reached of late: asked again by each pull, as they may be back, but not waited for. Kubelets pull
 * one image after the other: each would wait anew for a mirror that is down.
 */
export class SilentHosts {
  readonly #untilMs = new Map<string, number>();

  /** @param nowMs a clock that never jumps. Default performance.now */
  constructor(private readonly nowMs: () => number = (): number => performance.now()) {}

  /** It did not answer. */
  add(host: string): void {
    this.#untilMs.set(host, this.nowMs() + REMEMBERED_MS);
  }

  /** It answered. */
  delete(host: string): void {
    this.#untilMs.delete(host);
  }

  /** How long to wait for it, when another place follows. Milliseconds. */
  patience(host: string, usualMs: number): number {
    return (this.#untilMs.get(host) ?? 0) > this.nowMs() ? Math.min(usualMs, SHORT_MS) : usualMs;
  }
}
