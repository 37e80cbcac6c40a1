/** Bytes that may still be kept, shared by the streams of one command. */
export class OutputBudget {
  #left: number;
  #exceeded = false;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  /** Whether anything had to be dropped. */
  get exceeded(): boolean {
    return this.#exceeded;
  }

  /** How many of `wanted` bytes may be kept. */
  take(wanted: number): number {
    const granted = Math.min(wanted, this.#left);
    this.#left -= granted;
    if (granted < wanted) this.#exceeded = true;
    return granted;
  }
}

const FIRST_BYTES = 4096;

/** Keeps a stream's bytes in one growing buffer: chunks would each hold the stream's whole read buffer alive. */
export class Capture {
  #buffer = new Uint8Array(0);
  #length = 0;

  constructor(readonly budget: OutputBudget) {}

  append(chunk: Uint8Array): void {
    const granted = this.budget.take(chunk.length);
    if (granted === 0) return;
    const needed = this.#length + granted;
    if (needed > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(needed, this.#buffer.length * 2, FIRST_BYTES));
      larger.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = larger;
    }
    this.#buffer.set(chunk.subarray(0, granted), this.#length);
    this.#length = needed;
  }

  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }
}
