import type { Logger } from "../base/logger.ts";
import { Semaphore } from "../base/semaphore.ts";
import { type LockMode, RecordLockFile } from "../linux/record_lock.ts";

/** Size of the last-writer token at the start of a lock file. */
const TOKEN_BYTES = 64;
const PID_OFFSET = 16;
const RANDOM_OFFSET = 20;

/**
 * One lock file of the store: excludes other programs by a record lock, other work of this process by a queue, and
 * tells by its token whether somebody else has written what it guards.
 */
export class StoreLock implements Disposable {
  readonly #file: RecordLockFile;
  readonly #queue = new Semaphore(1);
  #counter = 0n;

  constructor(path: string, private readonly logger: Logger) {
    this.#file = RecordLockFile.open(path);
  }

  get path(): string {
    return this.#file.path;
  }

  /** Waits for the lock; disposing gives it back. */
  async acquire(mode: LockMode, options: { readonly signal?: AbortSignal } = {}): Promise<Disposable> {
    const permit = await this.#queue.acquire(options);
    try {
      const onSlow = (holder: number | undefined): void => {
        const fields = { lock: this.path, ...(holder === undefined ? {} : { holder }) };
        this.logger.warn("still waiting for a lock of the store that another program holds", fields);
      };
      await this.#file.lock(mode, { ...options, onSlow });
    } catch (error) {
      permit[Symbol.dispose]();
      throw error;
    }
    return {
      [Symbol.dispose]: (): void => {
        this.#file.unlock();
        permit[Symbol.dispose]();
      },
    };
  }

  /** The last writer's token: empty before the first write. Needs no lock, a comparison with it does not race. */
  token(): string {
    return this.#file.read(TOKEN_BYTES).toBase64();
  }

  /** Tells all who watch the file that what it guards changes. Only while the lock is held for writing. */
  renewToken(): string {
    // Time, counter, process id, then random bytes: as containers/storage fills it; readers compare only.
    const token = new Uint8Array(TOKEN_BYTES);
    const view = new DataView(token.buffer);
    const littleEndian = true;
    view.setBigUint64(0, BigInt(Date.now()) * 1_000_000n, littleEndian);
    view.setBigUint64(8, ++this.#counter, littleEndian);
    view.setUint32(PID_OFFSET, Deno.pid, littleEndian);
    crypto.getRandomValues(token.subarray(RANDOM_OFFSET));
    this.#file.write(token);
    return token.toBase64();
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}
