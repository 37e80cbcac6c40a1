import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { trimMemory } from "../../linux/memory.ts";

/** Collections in all; what the first one finds is freed in a later turn of the event loop. */
const ROUNDS = 3;
const TURN_MS = 50;

/** Collects this thread's garbage and gives free memory back to the system; 30 ms of CPU after the realistic image. */
export async function releaseMemory(): Promise<void> {
  const collect = collector();
  for (let round = 0; round < ROUNDS; round++) {
    collect?.();
    await new Promise((resolve) => setTimeout(resolve, TURN_MS));
  }
  trimMemory();
}

/** V8's collector has no door in JavaScript unless a flag asks for one; a context made after that has it. */
function collector(): (() => void) | undefined {
  setFlagsFromString("--expose-gc");
  const found: unknown = runInNewContext("typeof gc === 'function' ? gc : undefined");
  return typeof found === "function" ? (): void => found({ type: "major", flavor: "last-resort" }) : undefined;
}
