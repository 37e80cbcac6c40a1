import {
  AT_FDCWD,
  close,
  EEXIST,
  ENAMETOOLONG,
  ENOENT,
  fchmodat,
  lchownat,
  mkdirat,
  must,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  openat,
  openInRoot,
  readlinkat,
} from "../../linux/at.ts";
import { baseOf, cBytes, parentOf } from "./_names.ts";

/** Open directories that are kept. Several layers unpack at once, below a limit of often 1,024 descriptors. */
const KEPT_DIRECTORIES = 64;
const IMPLICIT_MODE = 0o755;
const FLAGS = O_PATH | O_DIRECTORY | O_CLOEXEC;
/**
 * Names and link targets of up to so many components are not looked at: with the 40 links that the kernel follows they lead
 * 1,300 directories down at most.
 */
const PLAIN_COMPONENTS = 32;

/**
 * Opens directories of a layer by path, each step confined to the layer's root, and keeps those used last.
 *
 * A kept descriptor stays right while nothing is removed: {@link forget} must be called before that.
 */
export class Directories implements Disposable {
  readonly root: number;
  /** Directories that no entry asked for so far. */
  impliedCount = 0;
  readonly #open = new Map<string, number>();
  readonly #umask = Deno.umask();
  /** A link was made that leads far down. */
  #hasLongLink = false;
  #lastPath = "";
  #lastFd: number;

  /** @throws ErrnoError when `path` is not a directory */
  constructor(path: string) {
    const name = new TextEncoder().encode(path + "\0");
    this.root = must(openat(AT_FDCWD, name, FLAGS, 0), "open", path);
    this.#lastFd = this.root;
  }

  /**
   * The descriptor of a directory, valid until the next call here. Missing directories are made, owned by root, 0755.
   *
   * @param path clean path; "" is the root
   * @throws ErrnoError such as ENOTDIR; ENAMETOOLONG for what lies deeper than a path can name
   */
  get(path: string): number {
    if (path === this.#lastPath) return this.#lastFd;
    const found = this.find(path);
    if (found !== -ENOENT) return must(found, "openat2", path);
    const parent = this.get(parentOf(path));
    const name = cBytes(baseOf(path));
    const made = mkdirat(parent, name, IMPLICIT_MODE);
    // It exists and yet cannot be opened: a symbolic link to nowhere.
    if (made === -EEXIST) return must(found, "openat2", path);
    must(made, "mkdirat", path);
    this.impliedCount += 1;
    // Whatever owner and mode a setgid parent and the umask gave it.
    must(lchownat(parent, name, 0, 0), "fchownat", path);
    if ((IMPLICIT_MODE & this.#umask) !== 0) must(fchmodat(parent, name, IMPLICIT_MODE), "fchmodat", path);
    // Not through the whole path again: of thousands of new directories that would be millions of steps.
    return must(this.#keep(path, openat(parent, name, FLAGS | O_NOFOLLOW, 0)), "openat", path);
  }

  /** Like {@link get}, but gives a negated errno when the directory cannot be opened, and makes nothing. */
  find(path: string): number {
    if (path === "") return this.root;
    const kept = this.#open.get(path);
    if (kept !== undefined) {
      this.#open.delete(path);
      this.#open.set(path, kept);
      return this.#remember(path, kept);
    }
    return this.#keep(path, openInRoot(this.root, cBytes(path), FLAGS));
  }

  /** To be told of each symbolic link that is made. */
  noteLink(target: string): void {
    this.#hasLongLink ||= isLong(target);
  }

  #keep(path: string, fd: number): number {
    if (fd < 0) return fd;
    if ((this.#hasLongLink || isLong(path)) && isTooDeep(fd)) {
      close(fd);
      return -ENAMETOOLONG;
    }
    if (this.#open.size >= KEPT_DIRECTORIES) this.#closeOldest();
    this.#open.set(path, fd);
    return this.#remember(path, fd);
  }

  /** Closes all but the root: something will be removed. */
  forget(): void {
    for (const fd of this.#open.values()) close(fd);
    this.#open.clear();
    this.#remember("", this.root);
  }

  [Symbol.dispose](): void {
    this.forget();
    close(this.root);
  }

  #remember(path: string, fd: number): number {
    this.#lastPath = path;
    this.#lastFd = fd;
    return fd;
  }

  #closeOldest(): void {
    for (const [path, fd] of this.#open) {
      close(fd);
      this.#open.delete(path);
      return;
    }
  }
}

function isLong(path: string): boolean {
  return path.length > 2 * PLAIN_COMPONENTS && path.split("/", PLAIN_COMPONENTS + 1).length > PLAIN_COMPONENTS;
}

/**
 * Whether an opened directory lies deeper than an absolute path can name (4,096 bytes). By links that lead to the ends of
 * others an archive can go down without end; whoever removes such a tree by recursion runs out of stack or descriptors.
 */
function isTooDeep(fd: number): boolean {
  const answer = readlinkat(AT_FDCWD, cBytes(`/proc/self/fd/${fd}`));
  if (answer === -ENAMETOOLONG) return true;
  must(answer, "readlink", "/proc/self/fd");
  return false;
}
