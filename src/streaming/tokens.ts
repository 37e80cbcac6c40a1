import { randomBytes } from "node:crypto";
import { ResourceExhaustedError } from "../base/errors.ts";

/** Requests that wait for their client, and how long they wait; both are Kubernetes' figures. */
const MAX_WAITING = 1000;
const LIFE_MS = 60_000;
const TOKEN_BYTES = 16;

export interface TokenOptions {
  /** Default 1000. */
  readonly maxWaiting?: number;
  /** Default one minute. */
  readonly lifeMs?: number;
  /** A clock that never jumps, in ms. */
  readonly now?: () => number;
}

/** Values behind random names that work once and for a minute. */
export class TokenCache<T> {
  readonly #waiting = new Map<string, { readonly value: T; readonly untilMs: number }>();
  readonly #maxWaiting: number;
  readonly #lifeMs: number;
  readonly #now: () => number;

  constructor(options: TokenOptions = {}) {
    this.#maxWaiting = options.maxWaiting ?? MAX_WAITING;
    this.#lifeMs = options.lifeMs ?? LIFE_MS;
    this.#now = options.now ?? ((): number => performance.now());
  }

  /** @throws ResourceExhaustedError when too many wait */
  insert(value: T): string {
    this.#dropOld();
    if (this.#waiting.size >= this.#maxWaiting) {
      throw new ResourceExhaustedError(
        `${this.#waiting.size} streaming requests wait for their client: try again in a minute`,
      );
    }
    const token = randomBytes(TOKEN_BYTES).toString("base64url");
    this.#waiting.set(token, { value, untilMs: this.#now() + this.#lifeMs });
    return token;
  }

  /** The value, once; undefined for a token that is unknown, used or too old. */
  consume(token: string): T | undefined {
    this.#dropOld();
    const entry = this.#waiting.get(token);
    this.#waiting.delete(token);
    return entry?.value;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** All live equally long, so the oldest come first. */
  #dropOld(): void {
    for (const [token, { untilMs }] of this.#waiting) {
      if (untilMs > this.#now()) return;
      this.#waiting.delete(token);
    }
  }
}
