import { messageOf } from "./errors.ts";
import type { Logger } from "./logger.ts";

/** Calls `task` again and again, never twice at a time; its failures are logged. Disposing ends it. */
export function every(intervalMs: number, task: () => Promise<void>, log: Logger): Disposable {
  let running = false;
  const timer = setInterval(() => {
    if (running) return;
    running = true;
    task()
      .catch((error) => log.error(`periodic task failed: ${messageOf(error)}`))
      .finally(() => {
        running = false;
      });
  }, intervalMs);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
