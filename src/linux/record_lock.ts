import { sleep } from "../base/clock.ts";
import { checked, cString, errno, lazyLibc } from "./_libc.ts";
import { ErrnoError } from "./errno.ts";

const libc = lazyLibc({
  open: { parameters: ["buffer", "i32", "u32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "buffer"], result: "i32" },
  pread: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
  pwrite: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
});

const O_RDWR = 2;
const O_CREAT = 0o100;
const O_CLOEXEC = 0o2000000;
/** fcntl(2), open file description locks; struct flock of 64-bit Linux: type, whence, start at 8, length at 16, pid at 24. */
const F_GETLK = 5;
const F_OFD_SETLK = 37;
const FLOCK_BYTES = 32;
const FLOCK_PID_OFFSET = 24;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const EACCES = 13;
const EAGAIN = 11;

const FIRST_RETRY_MS = 0.5;
const LONGEST_RETRY_MS = 20;
/** After this long one caller is told who is in the way. */
const PATIENCE_MS = 5_000;

export type LockMode = "read" | "write";

export interface AcquireOptions {
  readonly signal?: AbortSignal;
  /** Called once when the wait takes long; `holder` is a process id, or undefined when the kernel cannot tell. */
  readonly onSlow?: (holder: number | undefined) => void;
}

/**
 * A whole-file record lock of an open file description, which excludes the process-owned fcntl locks of other
 * programs as well as other descriptions in this one. It is never waited for in the kernel: tries are repeated with
 * backoff, so neither the event loop nor a pool thread hangs in it.
 *
 * One object holds one lock at a time; who shares it inside this process queues before calling.
 */
export class RecordLockFile implements Disposable {
  #fd: number;

  private constructor(readonly path: string, fd: number) {
    this.#fd = fd;
  }

  /**
   * Opens the lock file, making it (0644) when it is absent.
   *
   * @throws ErrnoError when that is not possible
   */
  static open(path: string): RecordLockFile {
    // FFI open(2) of a small local file; the path lives over the call.
    const fd = checked(libc().open(cString(path), O_RDWR | O_CREAT | O_CLOEXEC, 0o644), "open", path);
    return new RecordLockFile(path, fd);
  }

  /** Takes the lock when it is free now. */
  tryLock(mode: LockMode): boolean {
    const code = this.#set(mode === "write" ? F_WRLCK : F_RDLCK);
    if (code === 0) return true;
    if (code === EAGAIN || code === EACCES) return false;
    throw new ErrnoError("fcntl F_OFD_SETLK", code, this.path);
  }

  /** Waits for the lock; an aborted wait rejects with the signal's reason and holds nothing. */
  async lock(mode: LockMode, options: AcquireOptions = {}): Promise<void> {
    const { signal, onSlow } = options;
    const since = performance.now();
    let told = onSlow === undefined;
    for (let waitMs = FIRST_RETRY_MS;; waitMs = Math.min(waitMs * 1.6, LONGEST_RETRY_MS)) {
      signal?.throwIfAborted();
      if (this.tryLock(mode)) return;
      if (!told && performance.now() - since > PATIENCE_MS) {
        told = true;
        onSlow?.(this.holder());
      }
      await sleep(waitMs * (0.7 + Math.random() * 0.6), signal === undefined ? {} : { signal });
    }
  }

  /** Gives the lock back; harmless when it is not held. */
  unlock(): void {
    this.#set(F_UNLCK);
  }

  /** The process that holds a conflicting lock, when the kernel knows it. */
  holder(): number | undefined {
    const lock = structFlock(F_WRLCK);
    // FFI fcntl(2) F_GETLK: never waits; the structure lives over the call.
    if (libc().fcntl(this.#fd, F_GETLK, lock) !== 0) return undefined;
    const pid = new Int32Array(lock.buffer, FLOCK_PID_OFFSET)[0] ?? 0;
    return lock[0] === F_UNLCK || pid <= 0 ? undefined : pid;
  }

  /** The first `sizeBytes` of the file, shorter when the file is. Needs no lock. */
  read(sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    // FFI pread(2) of a page that is in memory as a rule.
    const got = checked(Number(libc().pread(this.#fd, bytes, BigInt(sizeBytes), 0n)), "pread", this.path);
    return bytes.subarray(0, got);
  }

  /** Overwrites the start of the file. */
  write(bytes: Uint8Array<ArrayBuffer>): void {
    // FFI pwrite(2) of a few bytes into the page cache.
    checked(Number(libc().pwrite(this.#fd, bytes, BigInt(bytes.length), 0n)), "pwrite", this.path);
  }

  /** Closes the file, which gives a held lock back. */
  [Symbol.dispose](): void {
    if (this.#fd === -1) return;
    // FFI close(2).
    libc().close(this.#fd);
    this.#fd = -1;
  }

  #set(type: number): number {
    const lock = structFlock(type);
    // FFI fcntl(2) F_OFD_SETLK: never waits; the structure (whole file, pid 0) lives over the call.
    return libc().fcntl(this.#fd, F_OFD_SETLK, lock) === 0 ? 0 : errno();
  }
}

/** A request for the whole file. */
function structFlock(type: number): Int16Array<ArrayBuffer> {
  const lock = new Int16Array(FLOCK_BYTES / 2);
  lock[0] = type;
  return lock;
}
