import { integer } from "./_checks.ts";

/** No real time-out is longer; what is longer is this. About 24 days: the most that a timer takes. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Seconds of a stop request in milliseconds. A negative one kills at once: a stop is never refused for its time. */
export function stopTimeoutMs(seconds: bigint): number {
  if (seconds <= 0n) return 0;
  return Math.min(Number(seconds) * 1000, MAX_TIMEOUT_MS);
}

/** Seconds of an exec request in milliseconds; 0 is no limit. */
export function execTimeoutMs(seconds: bigint): number {
  return Math.min(integer(seconds, "timeout", { min: 0 }) * 1000, MAX_TIMEOUT_MS);
}
