import {
  close,
  deviceNumber,
  EEXIST,
  ENOTDIR,
  fchmod,
  fchmodat,
  fchown,
  type FileStat,
  ftruncate,
  futimens,
  lchownat,
  linkat,
  lutimensat,
  mkdirat,
  mknodat,
  must,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_NOFOLLOW,
  O_WRONLY,
  openat,
  pwriteAll,
  removeTreeAt,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  statAt,
  symlinkat,
  TIMES_WORDS,
  writeAll,
} from "../../linux/at.ts";
import { textOfName } from "./layer_error.ts";
import { setXattr, setXattrOfFd } from "../../linux/xattr.ts";
import { Directories } from "./_directories.ts";
import { baseOf, cBytes, cleanPath, parentOf } from "./_names.ts";
import { fillTimes, saneTime, type Times } from "./_times.ts";
import { OPAQUE_XATTR, setHonoured } from "./_xattrs.ts";
import type { TarEntry } from "./entry.ts";

const SET_ID_BITS = 0o6000;
const SETGID = 0o2000;
const PERMISSION_BITS = 0o777;
const MKDIR_BITS = 0o1777;
const NEW_FILE = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
/** Limit of the paths kept for {@link LayerTree.end}, bytes: a million directories of honest length. */
const MAX_DIRECTORY_PATH_BYTES = 128 << 20;
const DEFAULT_ACL = "system.posix_acl_default";
const OPAQUE_VALUE = new TextEncoder().encode("y");

type CName = Uint8Array<ArrayBuffer>;

/** Thrown for an entry that no kernel call refuses, but we do. */
export class RefusedEntry extends Error {}

/**
 * The directory that a layer is unpacked into. Every entry is made by name in the opened, confined directory that holds
 * it, and never by opening something that exists: no link, device or fifo in the archive is ever followed or opened.
 */
export class LayerTree implements Disposable {
  readonly #directories: Directories;
  readonly #umask = Deno.umask();
  readonly #times = new Int32Array(TIMES_WORDS);
  /** Directories -> their times, set at the end: making files in them changes them. */
  readonly #directoryTimes = new Map<string, Times>();
  #pathBytes = 0;
  /** New files take owner and mode from their parent here (setgid, default ACLs): set both always. */
  #inherits: boolean;
  #removed = false;
  #fd = -1;
  #file: TarEntry | undefined;
  #written = 0;
  #extent = 0;

  /** @throws ErrnoError when `directory` cannot be opened */
  constructor(directory: string) {
    this.#directories = new Directories(directory);
    const root = statAt(this.#directories.root, cBytes("."));
    this.#inherits = root !== undefined && (root.mode & SETGID) !== 0;
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) close(this.#fd);
    this.#fd = -1;
    this.#directories[Symbol.dispose]();
  }

  /** Number of directories that were made because something lies in them. */
  get impliedDirectories(): number {
    return this.#directories.impliedCount;
  }

  /**
   * Makes what an entry describes. Of a file only the beginning: {@link write} and {@link endFile} follow.
   *
   * @param path clean path, not the root
   * @returns whether an entry made something at this path before, which it replaced or (a directory) changed
   * @throws ErrnoError, RefusedEntry
   */
  make(path: string, entry: TarEntry): boolean {
    const name = cBytes(baseOf(path));
    if (entry.type === "file") return this.#makeFile(path, { name, entry });
    if (entry.type === "directory") return this.#makeDirectory(path, { name, entry });
    const source = entry.type === "hardlink" ? cleanPath(entry.linkName) : "";
    if (entry.type === "hardlink" && source === "") throw new RefusedEntry("a hard link to the root directory");
    const existed = this.#replacing(path, CALLS[entry.type], () => this.#makeNode(path, { name, entry, source }));
    const dir = this.#directories.get(parentOf(path));
    if (entry.type === "hardlink") this.#settleLink(dir, { name, entry });
    else {
      this.#settle(dir, { name, entry, isNew: true });
      this.#setTimes(dir, name, entry);
    }
    return existed;
  }

  /** Adds payload to the file made last, as the archive stores it: of a sparse file the extents one after the other. */
  write(bytes: Uint8Array<ArrayBuffer>): void {
    const sparse = this.#file?.sparse;
    if (sparse === undefined) {
      must(writeAll(this.#fd, bytes), "write");
      return;
    }
    for (let done = 0; done < bytes.length;) {
      const extent = sparse[this.#extent];
      if (extent === undefined) return;
      const left = extent.sizeBytes - this.#written;
      const piece = bytes.subarray(done, done + left);
      must(pwriteAll(this.#fd, piece, extent.offset + this.#written), "pwrite");
      done += piece.length;
      this.#written += piece.length;
      if (this.#written < extent.sizeBytes) return;
      this.#extent += 1;
      this.#written = 0;
    }
  }

  /** Finishes the file made last: owner, mode, attributes, times. */
  endFile(): void {
    const entry = this.#file;
    const fd = this.#fd;
    if (entry === undefined) return;
    const { uid, gid, mode } = entry;
    if (entry.sparse !== undefined) must(ftruncate(fd, entry.sizeBytes), "ftruncate");
    if (uid !== 0 || gid !== 0 || this.#inherits) must(fchown(fd, uid, gid), "fchown");
    // Owner before mode: a change of owner clears the set-id bits.
    if ((mode & ~PERMISSION_BITS) !== 0 || (mode & this.#umask) !== 0 || this.#inherits) {
      must(fchmod(fd, mode), "fchmod");
    }
    // After the owner and the content: both clear security.capability.
    setHonoured(entry.xattrs, (key, value) => setXattrOfFd(fd, key, value));
    fillTimes(this.#times, entry, saneTime(entry.mtime));
    must(futimens(fd, this.#times), "futimens");
    close(fd);
    this.#fd = -1;
    this.#file = undefined;
  }

  /** Overlay's mark for "the lower layers' file is gone": a character device 0/0. It replaces what is there. */
  whiteout(path: string, entry: TarEntry): void {
    const directory = this.#directories.find(parentOf(path));
    // The parent itself is gone, by its own whiteout: some writers list what was in it as well.
    if (directory === -ENOTDIR) return;
    const name = cBytes(baseOf(path));
    const make = (): number => mknodat(this.#directories.get(parentOf(path)), name, S_IFCHR, 0n);
    this.#replacing(path, "mknodat", make);
    const dir = this.#directories.get(parentOf(path));
    if (entry.uid !== 0 || entry.gid !== 0) must(lchownat(dir, name, entry.uid, entry.gid), "fchownat");
  }

  /** Marks a directory as hiding everything that lower layers have in it. */
  opaque(path: string): void {
    const fd = this.#directories.find(path);
    if (fd === -ENOTDIR) return;
    setXattr(procPath(this.#directories.get(path), cBytes(".")), OPAQUE_XATTR, OPAQUE_VALUE);
  }

  /** Sets the times of all directories. Nothing may be made afterwards. */
  end(): void {
    for (const [path, entry] of this.#directoryTimes) {
      const dir = this.#directories.find(parentOf(path));
      const name = cBytes(baseOf(path));
      // With removals an entry may be gone, or be something else now.
      if (this.#removed && (dir < 0 || !isDirectory(statAt(dir, name)))) continue;
      this.#setTimes(must(dir, "openat2", path), name, { ...entry, type: "directory" });
    }
    this.#directoryTimes.clear();
  }

  #makeFile(path: string, { name, entry }: Made): boolean {
    const parent = parentOf(path);
    let existed = false;
    let fd = openat(this.#directories.get(parent), name, NEW_FILE, entry.mode & PERMISSION_BITS);
    if (fd === -EEXIST) {
      existed = this.#remove(path, name);
      fd = openat(this.#directories.get(parent), name, NEW_FILE, entry.mode & PERMISSION_BITS);
    }
    this.#fd = must(fd, "openat");
    this.#file = entry;
    this.#extent = 0;
    this.#written = 0;
    return existed;
  }

  #makeDirectory(path: string, { name, entry }: Made): boolean {
    const parent = parentOf(path);
    let result = mkdirat(this.#directories.get(parent), name, entry.mode & MKDIR_BITS);
    const existed = result === -EEXIST;
    const isKept = existed && isDirectory(statAt(this.#directories.get(parent), name));
    let isRepeated = isKept && this.#directoryTimes.has(path);
    if (existed && !isKept) {
      isRepeated = this.#remove(path, name);
      result = mkdirat(this.#directories.get(parent), name, entry.mode & MKDIR_BITS);
    }
    if (!isKept) must(result, "mkdirat");
    this.#settle(this.#directories.get(parent), { name, entry, isNew: !isKept });
    this.#keepTimes(path, entry);
    if ((entry.mode & SETGID) !== 0 || entry.xattrs?.has(DEFAULT_ACL) === true) this.#inherits = true;
    return isRepeated;
  }

  #makeNode(path: string, { name, entry, source }: Made & { source: string }): number {
    const dir = this.#directories.get(parentOf(path));
    if (entry.type === "hardlink") {
      // `find` closes at most the directory used longest ago, so `dir` stays open.
      const from = must(this.#directories.find(parentOf(source)), "openat2", source);
      return linkat(from, cBytes(baseOf(source)), dir, name);
    }
    if (entry.type === "symlink") {
      this.#directories.noteLink(entry.linkName);
      return symlinkat(cBytes(entry.linkName), dir, name);
    }
    const permissions = entry.mode & PERMISSION_BITS;
    if (entry.type === "fifo") return mknodat(dir, name, S_IFIFO | permissions, 0n);
    const type = entry.type === "block" ? S_IFBLK : S_IFCHR;
    return mknodat(dir, name, type | permissions, deviceNumber(entry.deviceMajor, entry.deviceMinor));
  }

  /** Owner, mode and attributes of something that is no regular file. */
  #settle(dir: number, { name, entry, isNew }: Made & { isNew: boolean }): void {
    const { uid, gid, mode, type } = entry;
    const always = this.#inherits || !isNew;
    if (uid !== 0 || gid !== 0 || always) must(lchownat(dir, name, uid, gid), "fchownat");
    if (type !== "symlink") {
      const wasMadeSo = (mode & SET_ID_BITS) === 0 && (mode & this.#umask) === 0;
      const isSticky = type !== "directory" && (mode & ~PERMISSION_BITS) !== 0;
      if (!wasMadeSo || isSticky || always) must(fchmodat(dir, name, mode), "fchmodat");
    }
    setHonoured(entry.xattrs, (key, value) => setXattr(procPath(dir, name), key, value));
  }

  /**
   * A hard link has the target's owner and mode, and an archive repeats them. Setting them again would clear
   * security.capability, so that is done only where the archive really says something else.
   */
  #settleLink(dir: number, { name, entry }: Made): void {
    const is = statAt(dir, name);
    if (is === undefined) return;
    const isOwned = is.uid === entry.uid && is.gid === entry.gid;
    if (!isOwned) must(lchownat(dir, name, entry.uid, entry.gid), "fchownat");
    // A link to a symbolic link leaves that one's times alone, as in containers/storage.
    if ((is.mode & S_IFMT) === S_IFLNK) return;
    const hasMode = (is.mode & ~S_IFMT) === entry.mode && (isOwned || (entry.mode & SET_ID_BITS) === 0);
    if (!hasMode) must(fchmodat(dir, name, entry.mode), "fchmodat");
    setHonoured(entry.xattrs, (key, value) => setXattr(procPath(dir, name), key, value));
    this.#setTimes(dir, name, entry);
  }

  #keepTimes(path: string, { mtime, atime }: Times): void {
    this.#pathBytes += path.length;
    if (this.#pathBytes > MAX_DIRECTORY_PATH_BYTES) throw new RefusedEntry("too many directories with long names");
    this.#directoryTimes.set(path, { mtime, atime });
  }

  #setTimes(dir: number, name: CName, entry: Times & Pick<TarEntry, "type">): void {
    fillTimes(this.#times, entry, entry.type === "symlink" ? entry.mtime : saneTime(entry.mtime));
    must(lutimensat(dir, name, this.#times), "utimensat");
  }

  /** Runs `make`; if the name is taken, removes what has it and runs `make` again. */
  #replacing(path: string, call: string, make: () => number): boolean {
    const first = make();
    if (first !== -EEXIST) {
      must(first, call, textOfName(path));
      return false;
    }
    const wasNamed = this.#remove(path, cBytes(baseOf(path)));
    must(make(), call, textOfName(path));
    return wasNamed;
  }

  /** @returns whether it was something that an entry of this name made: no whiteout */
  #remove(path: string, name: CName): boolean {
    this.#directories.forget();
    this.#removed = true;
    this.#directoryTimes.delete(path);
    const dir = this.#directories.get(parentOf(path));
    const isNamed = !isWhiteout(statAt(dir, name));
    removeTreeAt(dir, name);
    this.#directories.forget();
    return isNamed;
  }
}

/** The call that makes each kind of entry, for messages. */
const CALLS = {
  hardlink: "linkat",
  symlink: "symlinkat",
  character: "mknodat",
  block: "mknodat",
  fifo: "mknodat",
} as const;

function isDirectory(stat: FileStat | undefined): boolean {
  return stat !== undefined && (stat.mode & S_IFMT) === S_IFDIR;
}

function isWhiteout(stat: FileStat | undefined): boolean {
  if (stat === undefined || (stat.mode & S_IFMT) !== S_IFCHR) return false;
  return stat.deviceMajor === 0 && stat.deviceMinor === 0;
}

/** A path that reaches `name` in an opened directory, for calls that have no `…at` form. */
function procPath(dir: number, name: CName): CName {
  const prefix = new TextEncoder().encode(`/proc/self/fd/${dir}/`);
  const path = new Uint8Array(prefix.length + name.length);
  path.set(prefix);
  path.set(name, prefix.length);
  return path;
}

interface Made {
  readonly name: CName;
  readonly entry: TarEntry;
}
