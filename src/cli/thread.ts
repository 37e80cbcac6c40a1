import { UNPACK_THREAD } from "../image/pull/unpack_messages.ts";

/**
 * Serves what this thread was started for, if it is not the first of its process: threads of this program begin in the
 * main module too, the only one that every form of shipping has.
 *
 * @returns whether it was another thread; it stays until the first one ends it
 */
export async function runAsThread(): Promise<boolean> {
  const scope: { name?: unknown } = globalThis;
  if (scope.name !== UNPACK_THREAD || !("postMessage" in scope)) return false;
  const { serveUnpacking } = await import("../image/pull/unpack_thread.ts");
  serveUnpacking();
  return true;
}
