import { setImmediate } from "node:timers";

/** Work of one turn; one more item may begin just before its end. */
const TURN_MS = 0.3;

/** Resolves after other work of the event loop had its turn. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/**
 * `Promise.all(items.map(begin))`, beginning in turns as {@link mapInTurns} does.
 */
export async function allInTurns<Item, Result>(
  items: readonly Item[],
  begin: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const begun = await mapInTurns(items, (item) => {
    const result = begin(item);
    // One that fails before all have begun is heard of below.
    result.catch(() => {});
    return { result };
  });
  return await Promise.all(begun.map(({ result }) => result));
}

/** `items.map(work)`, for many items that take some microseconds each: other work gets its turn in between. */
export async function mapInTurns<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Result,
): Promise<Result[]> {
  const results: Result[] = [];
  let end = performance.now() + TURN_MS;
  for (const item of items) {
    results.push(work(item));
    if (results.length === items.length || performance.now() < end) continue;
    await nextTurn();
    end = performance.now() + TURN_MS;
  }
  return results;
}

/** Runs work that comes in small steps to its end: other work gets its turn in between. */
export async function finishInTurns<Result>(steps: Generator<void, Result>): Promise<Result> {
  for (let end = performance.now() + TURN_MS;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (performance.now() < end) continue;
    await nextTurn();
    end = performance.now() + TURN_MS;
  }
}
