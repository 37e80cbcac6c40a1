import { firstFailure, PodError } from "../../src/base/errors.ts";
import type { Random } from "./random.ts";

export type Bytes = Uint8Array<ArrayBuffer>;

/** How far a case got: the first parser refused it; it got past that and was refused later; it was accepted as a whole. */
export type Reached = "refused" | "past" | "accepted";

/** Code that takes what comes from outside, and how to tell whether it did well. */
export interface FuzzTarget {
  readonly name: string;
  /** @param place names whatever the session makes on this host; a case is repeated in the place it was made for */
  open(place: string): Promise<FuzzSession>;
}

export interface FuzzSession extends AsyncDisposable {
  /** The bytes of one case. Decided by `random`, the case's number and the session's place alone. */
  generate(random: Random, index: number): Bytes;
  /** @throws Fault, or whatever the code under test should not have thrown */
  run(input: Bytes): Promise<Reached>;
  /** After some hundred cases: what is too dear to look at after each. @throws Fault */
  check(): Promise<void>;
}

/** What an answer of the CRI, an event and a line of the log can take: a path of 4,096 bytes and more, but no document. */
const MAX_MESSAGE_CHARS = 8192;

/** Something that must not happen has happened. */
export class Fault extends Error {
  override readonly name = "Fault";
}

/**
 * Errors that the code may give: of its own classes, and blaming what came from outside. A kind of `internal` is how a
 * TypeError or RangeError looks after somebody has added the stage.
 *
 * @throws Fault
 */
export function requireTyped(thrown: unknown): PodError {
  if (thrown instanceof Fault) throw thrown;
  const error = firstFailure(thrown);
  if (error instanceof PodError && error.kind !== "internal") {
    if (error.message.length <= MAX_MESSAGE_CHARS) return error;
    throw new Fault(`an error of ${error.message.length} characters: ${error.message.slice(0, 300)}`);
  }
  const stack = error instanceof Error ? error.stack ?? "" : "";
  throw new Fault(`not one of our errors for bad input: ${String(error)}\n${stack}`, { cause: error });
}

/** @returns what `work` gives, or undefined when it refuses by an error of ours */
export async function refusable<T>(work: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    requireTyped(error);
    return undefined;
  }
}

/** @throws Fault with `what` unless the two are the same when written as JSON */
export function requireSame(actual: unknown, expected: unknown, what: string): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Fault(`${what}: ${a} is not ${b}`);
}
