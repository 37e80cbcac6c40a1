const DEFAULT_TIMEOUT_MS = 90_000;
const INTERVAL_MS = 100;

export interface UntilOptions {
  /** Default: 90 s, as kubelets have time limits of their own and this machine may be busy. */
  readonly timeoutMs?: number;
  /** What was seen last, for the error. */
  readonly seen?: () => string;
}

/**
 * Asks again and again until there is an answer: for what other programs do in their own time.
 *
 * @throws Error that says what was awaited, and what was seen instead
 */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined>,
  options: UntilOptions = {},
): Promise<T> {
  const { timeoutMs = DEFAULT_TIMEOUT_MS, seen } = options;
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > endMs) {
      throw new Error(`waited ${timeoutMs} ms for ${what}${seen === undefined ? "" : `; last seen: ${seen()}`}`);
    }
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
  }
}
