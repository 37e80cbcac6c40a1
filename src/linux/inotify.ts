/** inotify(7), for what Deno.watchFs does not tell: that a writer has closed a file. It also opens every pipe that it sees. */
import { checked, cString, lazyLibc } from "./_libc.ts";
import { close } from "./at.ts";

const libc = lazyLibc({
  inotify_init1: { parameters: ["i32"], result: "i32" },
  inotify_add_watch: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  inotify_rm_watch: { parameters: ["i32", "i32"], result: "i32" },
});
const waiting = lazyLibc({
  read: { parameters: ["i32", "buffer", "usize"], result: "isize", nonblocking: true },
});

const IN_CLOEXEC = 0o2000000;
/** linux/inotify.h. Reading makes none of these. */
const IN_CLOSE_WRITE = 0x8;
const IN_MOVED_FROM = 0x40;
const IN_MOVED_TO = 0x80;
const IN_CREATE = 0x100;
const IN_DELETE = 0x200;
const IN_DELETE_SELF = 0x400;
const IN_MOVE_SELF = 0x800;
const IN_ATTRIB = 0x4;
const IN_ONLYDIR = 0x01000000;
const IN_IGNORED = 0x8000;
const MASK = IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF |
  IN_ATTRIB | IN_ONLYDIR;

/** Room for events: at least one with the longest name. */
const BUFFER_BYTES = 4096;
const EVENT_BYTES = 16;
const LITTLE_ENDIAN = true;

/**
 * Tells that files of directories came, went, or were closed by who wrote them. One thread of the runtime's pool waits as
 * long as the watch lives.
 */
export class DirectoryWatch implements AsyncDisposable {
  readonly #fd: number;
  readonly #first: number;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #isOpen = true;
  readonly #reading: Promise<void>;

  /**
   * @param path an existing directory; the watch ends when it goes
   * @param changed called after each burst of events, and at the end
   * @throws ErrnoError, such as ENOSPC at the limit of watches
   */
  constructor(path: string, private readonly changed: () => void) {
    // FFI inotify_init1(2), inotify_add_watch(2): local file systems, nothing waits.
    this.#fd = checked(libc().inotify_init1(IN_CLOEXEC), "inotify_init1");
    try {
      this.#first = checked(libc().inotify_add_watch(this.#fd, cString(path), MASK), "inotify_add_watch", path);
    } catch (error) {
      close(this.#fd);
      throw error;
    }
    this.#reading = this.#read();
  }

  /** False when the directory is gone: nothing more will be told. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Watches another directory as well; one that is watched already, or is none, changes nothing. */
  add(path: string): void {
    // FFI inotify_add_watch(2): the same directory has the same watch.
    if (this.#isOpen) libc().inotify_add_watch(this.#fd, cString(path), MASK);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // FFI inotify_rm_watch(2): makes an event, which ends the read.
    if (this.#isOpen) libc().inotify_rm_watch(this.#fd, this.#first);
    await this.#reading;
  }

  async #read(): Promise<void> {
    try {
      while (this.#isOpen) {
        // FFI read(2) in a thread of the pool: the buffer is a field, and lives as long. Its errno is lost.
        const length = Number(await waiting().read(this.#fd, this.#buffer, BigInt(BUFFER_BYTES)));
        if (length <= 0 || this.#isEnd(length)) this.#isOpen = false;
        this.changed();
      }
    } finally {
      close(this.#fd);
    }
  }

  /** Whether the first directory is not watched any more. */
  #isEnd(length: number): boolean {
    const view = new DataView(this.#buffer.buffer);
    for (let at = 0; at + EVENT_BYTES <= length; at += EVENT_BYTES + view.getUint32(at + 12, LITTLE_ENDIAN)) {
      const mask = view.getUint32(at + 4, LITTLE_ENDIAN);
      if (view.getInt32(at, LITTLE_ENDIAN) === this.#first && (mask & (IN_IGNORED | IN_MOVE_SELF)) !== 0) return true;
    }
    return false;
  }
}
