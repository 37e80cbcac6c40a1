import { CancelledError, DeadlineError } from "./errors.ts";
import { abortable } from "./keyed_mutex.ts";

/** What a running operation knows: its own time limit, and where to say what it is doing. */
export interface OperationContext {
  readonly signal: AbortSignal;
  /** Names the stage that begins now; an error about time names it. */
  stage(name: string): void;
}

export interface JointOptions {
  /** For messages: `create container`. */
  readonly what: string;
  /** Time that one operation may take, whoever waits for it. */
  readonly limitMs: number;
  /** Told of each caller that finds its operation under way, with the stage it is at. */
  readonly onJoin?: (stage: string) => void;
  /** Told of each stage that an operation has left, at its end too. */
  readonly onStage?: (stage: string, elapsedMs: number) => void;
}

interface Running<T> {
  readonly cancel: (reason: Error) => void;
  readonly result: Promise<T>;
  readonly beganMs: number;
  stage: string;
  stageBeganMs: number;
}

/** Of what has not named one yet: of no interest to {@link JointOptions.onStage}. */
const FIRST_STAGE = "starting";

/**
 * Operations that outlive the request that began them.
 *
 * A caller that runs out of time hears the stage and the time spent, and the operation goes on; a retry with the same
 * key joins it and gets its result. What it made stays when nobody came back: it is listed, and the caller's own garbage
 * collection finds it.
 */
export class JointOperations<T> {
  readonly #running = new Map<string, Running<T>>();

  constructor(private readonly options: JointOptions) {}

  /** Starts `operation`, or joins the one that runs under `key`. */
  async run(
    key: string,
    options: { signal: AbortSignal },
    operation: (context: OperationContext) => Promise<T>,
  ): Promise<T> {
    const present = this.#running.get(key);
    if (present !== undefined) this.options.onJoin?.(present.stage);
    const running = present ?? this.#start(key, operation);
    try {
      return await abortable(running.result, options.signal);
    } catch (error) {
      if (!options.signal.aborted) throw error;
      const { stage, beganMs } = running;
      throw impatience(`${this.options.what} ${key}`, { stage, beganMs, reason: options.signal.reason });
    }
  }

  /** Whether an operation runs under `key`. */
  isRunning(key: string): boolean {
    return this.#running.has(key);
  }

  /** Operations that run now, with their stages, for diagnosis. */
  *stages(): Generator<{ key: string; stage: string; elapsedMs: number }> {
    for (const [key, running] of this.#running) {
      yield { key, stage: running.stage, elapsedMs: performance.now() - running.beganMs };
    }
  }

  /** Aborts the signal of the operation under `key`, if there is one, and resolves when it has ended. */
  async cancel(key: string, reason: Error): Promise<void> {
    this.#running.get(key)?.cancel(reason);
    await this.settled(key);
  }

  /** Resolves when the operation under `key`, if any, has ended, however it ended. */
  async settled(key: string): Promise<void> {
    await this.#running.get(key)?.result.then(() => {}, () => {});
  }

  #start(key: string, operation: (context: OperationContext) => Promise<T>): Running<T> {
    const limit = new AbortController();
    const timer = setTimeout(() => {
      limit.abort(new DeadlineError(`${this.options.what} ${key}`, running.stage, this.options.limitMs));
    }, this.options.limitMs);
    const running: Running<T> = {
      cancel: (reason) => limit.abort(reason),
      beganMs: performance.now(),
      stage: FIRST_STAGE,
      stageBeganMs: 0,
      result: Promise.resolve().then(() =>
        operation({
          signal: limit.signal,
          stage: (name): void => {
            this.#leaveStage(running);
            running.stage = name;
          },
        })
      ),
    };
    const end = (): void => {
      clearTimeout(timer);
      this.#leaveStage(running);
      this.#running.delete(key);
    };
    running.result.then(end, end);
    this.#running.set(key, running);
    return running;
  }

  #leaveStage(running: Running<T>): void {
    const nowMs = performance.now();
    if (running.stage !== FIRST_STAGE) this.options.onStage?.(running.stage, nowMs - running.stageBeganMs);
    running.stageBeganMs = nowMs;
  }
}

/**
 * What a caller hears whose signal aborted while an operation goes on.
 *
 * @param what the operation and on what
 * @param how.beganMs by `performance.now()`
 * @param how.reason of the caller's signal
 */
export function impatience(what: string, how: { stage: string; beganMs: number; reason: unknown }): Error {
  const elapsedMs = performance.now() - how.beganMs;
  if (how.reason instanceof DOMException && how.reason.name === "TimeoutError") {
    return new DeadlineError(what, `${how.stage}; it goes on, and a retry joins it`, elapsedMs);
  }
  return new CancelledError(
    `${what}: the caller went away after ${
      Math.round(elapsedMs)
    } ms while ${how.stage}; it goes on, and a retry joins it`,
  );
}
