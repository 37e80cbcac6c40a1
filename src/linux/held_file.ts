/** Regular files that stay the same while they are read, whatever happens to their names. */
import { checked, cString, errno, lazyLibc } from "./_libc.ts";
import {
  AT_FDCWD,
  close,
  must,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  openat,
  openInRoot,
} from "./at.ts";
import { ErrnoError } from "./errno.ts";

const libc = lazyLibc({
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
});

const O_NONBLOCK = 0o4000;
const O_RDWR = 2;
const O_TMPFILE = 0o20000000 | O_DIRECTORY;
/** asm-generic/fcntl.h */
const F_SETSIG = 10;
const F_SETLEASE = 1024;
const F_RDLCK = 0;
const F_UNLCK = 2;
/** Ignored by default: whoever opens the file in just that moment makes the kernel send it. */
const SIGURG = 23;
const EAGAIN = 11;
const ENOENT = 2;
const ENOTDIR = 20;
const ELOOP = 40;

/** A file that is open: it has no position, so that any number of readers can have it. */
export class HeldFile implements Disposable {
  #sizeBytes: number;

  private constructor(private readonly fd: number, sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
  }

  /** When it was opened or {@link measure}d last. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** @throws ErrnoError: ELOOP for a symbolic link, EINVAL for what is no regular file */
  static async open(path: string): Promise<HeldFile> {
    const flags = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC;
    return await HeldFile.#held(must(openat(AT_FDCWD, cString(path), flags, 0), "open", path), path);
  }

  /**
   * A file without a name: gone with its last descriptor, also after a crash.
   *
   * @param directory on the file system that it takes its space of
   */
  static async temporary(directory: string): Promise<HeldFile> {
    const fd = openat(AT_FDCWD, cString(directory), O_RDWR | O_TMPFILE | O_CLOEXEC, 0o600);
    return await HeldFile.#held(must(fd, "open temporary file", directory), directory);
  }

  /** @internal */
  static async adopt(fd: number, path: string): Promise<HeldFile> {
    return await HeldFile.#held(fd, path);
  }

  static async #held(fd: number, path: string): Promise<HeldFile> {
    try {
      const { isFile, size } = await Deno.stat(`/proc/self/fd/${fd}`);
      if (!isFile) throw new ErrnoError("open as a regular file", 22, path);
      return new HeldFile(fd, size);
    } catch (error) {
      close(fd);
      throw error;
    }
  }

  /** Another view of it, with a position of its own. The caller closes it. */
  async view(options: Deno.OpenOptions = { read: true }): Promise<Deno.FsFile> {
    return await Deno.open(`/proc/self/fd/${this.fd}`, options);
  }

  /** Looks at its size again, after it was written to. */
  async measure(): Promise<void> {
    this.#sizeBytes = (await Deno.stat(`/proc/self/fd/${this.fd}`)).size;
  }

  [Symbol.dispose](): void {
    close(this.fd);
  }
}

/** A directory that is open: what is below it is found from there. */
export class HeldDirectory implements Disposable {
  private constructor(private readonly fd: number, private readonly path: string) {}

  /** @throws ErrnoError: ENOTDIR, or ELOOP for a symbolic link */
  static open(path: string): HeldDirectory {
    const fd = openat(AT_FDCWD, cString(path), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    return new HeldDirectory(must(fd, "open directory", path), path);
  }

  /**
   * A regular file below it; `..`, absolute names and links stay inside.
   *
   * @returns undefined when there is none
   * @throws ErrnoError for everything else
   */
  async file(name: string): Promise<HeldFile | undefined> {
    const fd = openInRoot(this.fd, cString(name), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd === -ENOENT || fd === -ENOTDIR || fd === -ELOOP) return undefined;
    return await HeldFile.adopt(must(fd, "openat2", `${this.path}/${name}`), `${this.path}/${name}`);
  }

  [Symbol.dispose](): void {
    close(this.fd);
  }
}

/**
 * Whether somebody has the file open for writing, as the kernel knows: a read lease is refused then.
 *
 * @returns `unknown` where the file system has no leases
 * @throws ErrnoError when it cannot be opened
 */
export function isBeingWritten(path: string): "yes" | "no" | "unknown" {
  const flags = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC;
  const fd = must(openat(AT_FDCWD, cString(path), flags, 0), "open", path);
  try {
    // FFI fcntl(2): sets a signal number and asks for a lease; neither waits.
    checked(libc().fcntl(fd, F_SETSIG, SIGURG), "fcntl F_SETSIG", path);
    if (libc().fcntl(fd, F_SETLEASE, F_RDLCK) === -1) return errno() === EAGAIN ? "yes" : "unknown";
    libc().fcntl(fd, F_SETLEASE, F_UNLCK);
    return "no";
  } finally {
    close(fd);
  }
}
