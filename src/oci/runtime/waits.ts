/** How late timers are on any machine that is at work. */
const LATE_MS = 5;
/** In so many steps a wait is counted. */
const WAIT_STEPS = 5;

/**
 * Waits for `work`, but not longer than this. Time in which this thread got nothing done does not count: a timer that is
 * late fires before what waits in a pipe is read.
 */
export async function within(work: Promise<unknown>, ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stepMs = ms / WAIT_STEPS;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const step = (left: number): void => {
    if (left === 0) return resolve();
    const startMs = performance.now();
    timer = setTimeout(() => step(performance.now() - startMs > 2 * stepMs + LATE_MS ? left : left - 1), stepMs);
  };
  step(WAIT_STEPS);
  await Promise.race([work, promise]);
  clearTimeout(timer);
}
