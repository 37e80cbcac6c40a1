import type { Readable, Writable } from "node:stream";

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

  /** Waits for the end, or until nothing has come for `quietMs` although there was room for it. */
  async drain(quietMs: number): Promise<void> {
    const { promise: quiet, resolve } = Promise.withResolvers<void>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = (): void => {
      const leftMs = this.#isBlocked ? quietMs : this.#movedMs + quietMs - performance.now();
      if (leftMs <= 0) resolve();
      else timer = setTimeout(look, leftMs);
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
