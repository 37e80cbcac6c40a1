/** Where lines go; writes whole chunks. */
export interface LogOutput {
  write(bytes: Uint8Array): Promise<void>;
  /** Writes at once, for the last lines before the end. */
  writeSync(bytes: Uint8Array): void;
  close(): void;
}

const MAX_PENDING_BYTES = 1024 * 1024;
const encoder = new TextEncoder();

/**
 * Takes lines at once and writes them in the background, one write at a time.
 *
 * While the reader is slow at most 1 MiB waits; then lines below the error level are dropped and counted, and a
 * line says how many. Error lines are never dropped: beyond the limit they are written synchronously.
 */
export class LogSink implements AsyncDisposable {
  #pending: string[] = [];
  #pendingBytes = 0;
  #dropped = 0;
  #writing: Promise<void> | undefined;
  #failed = false;
  readonly #unload = (): void => this.flushSync();

  /**
   * @param options.maxPendingBytes default 1 MiB
   * @param options.dropNotice makes the line that tells of dropped ones
   */
  constructor(
    private readonly output: LogOutput,
    private readonly options: { maxPendingBytes?: number; dropNotice: (count: number) => string },
  ) {
    globalThis.addEventListener("unload", this.#unload);
  }

  /** Takes a line. `important`: must not be lost. Never throws: a log that cannot be written has nobody to tell. */
  push(line: string, options: { important: boolean }): void {
    const { maxPendingBytes = MAX_PENDING_BYTES } = this.options;
    if (this.#pendingBytes + line.length > maxPendingBytes) {
      if (!options.important) {
        this.#dropped += 1;
        return;
      }
      this.flushSync();
    }
    this.#pending.push(line);
    this.#pendingBytes += line.length;
    this.#writing ??= this.#drain();
  }

  /** Resolves when everything taken so far was written. */
  async flush(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  /** Writes what waits, now; for the end of the process. A chunk that is being written in the background may come after. */
  flushSync(): void {
    const bytes = this.#take();
    if (bytes === undefined) return;
    try {
      this.output.writeSync(bytes);
    } catch {
      this.#failed = true; // the reader is gone
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.flush();
    globalThis.removeEventListener("unload", this.#unload);
    this.output.close();
  }

  async #drain(): Promise<void> {
    // One turn of the loop later: lines of the same turn share a write.
    await Promise.resolve();
    for (let bytes = this.#take(); bytes !== undefined; bytes = this.#take()) {
      try {
        await this.output.write(bytes);
        this.#failed = false;
      } catch {
        this.#failed = true; // the reader is gone; the next line tries again
      }
    }
    this.#writing = undefined;
  }

  #take(): Uint8Array | undefined {
    if (this.#dropped > 0) {
      this.#pending.push(this.options.dropNotice(this.#dropped));
      this.#dropped = 0;
    }
    if (this.#pending.length === 0) return undefined;
    const text = this.#pending.length === 1 ? this.#pending[0] ?? "" : this.#pending.join("");
    this.#pending = [];
    this.#pendingBytes = 0;
    return encoder.encode(text);
  }

  /** Whether the last write failed. */
  get failed(): boolean {
    return this.#failed;
  }
}

/** Standard error. */
export function stderrOutput(): LogOutput {
  return outputOf(Deno.stderr, () => {});
}

/** A file that lines are appended to; made with mode 0600. */
export function fileOutput(path: string): LogOutput {
  const file = Deno.openSync(path, { append: true, create: true, mode: 0o600 });
  return outputOf(file, () => file.close());
}

interface Target {
  write(bytes: Uint8Array): Promise<number>;
  writeSync(bytes: Uint8Array): number;
}

function outputOf(target: Target, close: () => void): LogOutput {
  return {
    close,
    write: async (bytes) => {
      for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await target.write(rest));
    },
    writeSync: (bytes) => {
      for (let rest = bytes; rest.length > 0;) rest = rest.subarray(target.writeSync(rest));
    },
  };
}
