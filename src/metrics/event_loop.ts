/** How long the daemon's thread lets what is due wait. */

const SAMPLE_MS = 250;

/**
 * Calls back every quarter of a second with the delay of a timer, in seconds. Such samples come at any moment, as requests do: a
 * thread that is held up for a tenth of the time shows in a tenth of them.
 */
export function sampleEventLoop(observe: (delaySeconds: number) => void): Disposable {
  let dueMs = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const arm = (): void => {
    dueMs = performance.now() + SAMPLE_MS;
    timer = setTimeout(look, SAMPLE_MS);
  };
  const look = (): void => {
    observe(Math.max(0, performance.now() - dueMs) / 1000);
    arm();
  };
  arm();
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}
