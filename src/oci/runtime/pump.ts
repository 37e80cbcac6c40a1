import type { Readable, Writable } from "node:stream";

/** How often a drain looks within the time that it waits: each is a chance to read. */
const DRAIN_LOOKS = 5;

/**
 * Copies what comes out of a process to somebody who may be slow, or may go away: then it is read and dropped, so that
 * the process does not hang. The sink is not ended.
 */
export class Pump {
  readonly ended: Promise<void>;
  #isBlocked = false;
  #movedMs = performance.now();

  constructor(private readonly source: Readable, sink: Writable | undefined) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    const go = (): void => {
      this.#isBlocked = false;
      this.#movedMs = performance.now();
      source.resume();
    };
    sink?.on("drain", go).on("close", go);
    source.on("data", (chunk: Uint8Array) => {
      this.#movedMs = performance.now();
      if (sink === undefined || sink.destroyed || sink.writableEnded || sink.write(chunk)) return;
      this.#isBlocked = true;
      source.pause();
    });
    const end = (): void => {
      sink?.removeListener("drain", go).removeListener("close", go);
      resolve();
    };
    // The end of a terminal is an error of its reader (EIO).
    source.once("end", end).once("close", end).once("error", end);
  }

  /**
   * Waits for the end, or until nothing has come for `quietMs` although there was room for it. Time in which this thread
   * did not get to read does not count: timers that are late fire before what waits in the pipe is read.
   */
  async drain(quietMs: number): Promise<void> {
    const { promise: quiet, resolve } = Promise.withResolvers<void>();
    const stepMs = quietMs / DRAIN_LOOKS;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let lookedMs = performance.now();
    const look = (): void => {
      const nowMs = performance.now();
      if (this.#isBlocked || nowMs - lookedMs > 2 * stepMs) this.#movedMs = nowMs;
      lookedMs = nowMs;
      if (nowMs - this.#movedMs >= quietMs) resolve();
      else timer = setTimeout(look, stepMs);
    };
    this.#movedMs = performance.now();
    look();
    await Promise.race([this.ended, quiet]);
    clearTimeout(timer);
  }

  [Symbol.dispose](): void {
    this.source.destroy();
  }
}
