import { sleep } from "../../base/clock.ts";
import { RegistryError } from "./registry_error.ts";

export interface RetryPolicy {
  /** Attempts in all. Default 5: about 4 s of waiting in the worst case. */
  readonly attempts?: number;
  /** Attempts where nothing answers at all. Default 3: a mirror that is down must not cost much. */
  readonly connectAttempts?: number;
  /** A server that asks for more patience than this is given up: the caller's own back-off is longer. Default 60 s. */
  readonly maxRetryAfterMs?: number;
  /** Wait before the second attempt; doubles from then on. Default 250 ms. */
  readonly baseMs?: number;
  /** Default 10 s. */
  readonly maxMs?: number;
  /** Default Math.random. */
  readonly random?: () => number;
}

/** For a place that another one follows: that one may be well, and asking it costs less than waiting for this. */
export const BEFORE_OTHERS: RetryPolicy = { attempts: 2, connectAttempts: 1, maxRetryAfterMs: 1000 };

/**
 * Runs `operation` until it succeeds, fails for good, or was tried often enough. Only {@link RegistryError}s that say
 * so are retried, after an exponential wait with jitter, or after what the server asked for.
 */
export async function withRetries<T>(
  operation: (attempt: number) => Promise<T>,
  options: RetryPolicy & { readonly signal: AbortSignal },
): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return await operation(attempt);
    } catch (error) {
      options.signal.throwIfAborted();
      const waitMs = waitBefore(error, { attempt, policy: options });
      if (waitMs === undefined) throw error;
      await sleep(waitMs, { signal: options.signal });
    }
  }
}

/** How long to wait before the next attempt, or undefined to give up. */
export function waitBefore(
  error: unknown,
  state: { readonly attempt: number; readonly policy: RetryPolicy },
): number | undefined {
  if (!(error instanceof RegistryError) || !error.retriable) return undefined;
  const { attempts = 5, connectAttempts = 3, maxRetryAfterMs = 60_000 } = state.policy;
  const { baseMs = 250, maxMs = 10_000, random = Math.random } = state.policy;
  const limit = error.kind === "registry_unavailable" ? Math.min(attempts, connectAttempts) : attempts;
  if (state.attempt >= limit) return undefined;
  if (error.retryAfterMs !== undefined) return error.retryAfterMs > maxRetryAfterMs ? undefined : error.retryAfterMs;
  const fullMs = Math.min(maxMs, baseMs * 2 ** (state.attempt - 1));
  return fullMs / 2 + random() * fullMs / 2;
}

/** A Retry-After header (seconds, or an HTTP date) in milliseconds from now. */
export function parseRetryAfter(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs);
}
