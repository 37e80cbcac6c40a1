import { ResourceExhaustedError } from "../../base/errors.ts";

/** Categories of the policies that distributions ship. */
const CATEGORIES = 1024;
const RANDOM_TRIES = 64;

/**
 * The levels of pods: two categories each, so that no pod may touch another's files. A level can have several users, where
 * pods ask for the same one; it is free again when the last has given it back.
 */
export class LevelPool {
  readonly #users = new Map<string, number>();

  /** @param random gives numbers from 0 to below 1 */
  constructor(private readonly random: () => number = Math.random) {}

  /** Takes a level that nobody has. */
  take(): string {
    for (let tries = 0; tries < RANDOM_TRIES; tries++) {
      const [a, b] = [this.#category(), this.#category()];
      if (a !== b && this.#takeFree(level(a, b))) return level(a, b);
    }
    // The pool is full, or nearly: look at all.
    for (let a = 0; a < CATEGORIES; a++) {
      for (let b = a + 1; b < CATEGORIES; b++) if (this.#takeFree(level(a, b))) return level(a, b);
    }
    throw new ResourceExhaustedError("all SELinux levels of this node are in use: remove pods that are not needed");
  }

  /** Notes one more user of a level, such as of a pod that was there before a restart; whatever is no pair is ignored. */
  reserve(level: string): void {
    const key = canonical(level);
    if (key !== undefined) this.#users.set(key, (this.#users.get(key) ?? 0) + 1);
  }

  /** Takes one user of a level away. */
  release(level: string): void {
    const key = canonical(level);
    if (key === undefined) return;
    const left = (this.#users.get(key) ?? 0) - 1;
    if (left > 0) this.#users.set(key, left);
    else this.#users.delete(key);
  }

  #takeFree(level: string): boolean {
    if (this.#users.has(level)) return false;
    this.#users.set(level, 1);
    return true;
  }

  #category(): number {
    return Math.floor(this.random() * CATEGORIES);
  }
}

function level(a: number, b: number): string {
  return a < b ? `s0:c${a},c${b}` : `s0:c${b},c${a}`;
}

/** One way to write a pair of categories; undefined for other levels. */
function canonical(text: string): string | undefined {
  const match = /^s0:c(\d+),c(\d+)$/.exec(text);
  return match === null ? undefined : level(Number(match[1]), Number(match[2]));
}
