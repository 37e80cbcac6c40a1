import {
  AT_FDCWD,
  close,
  type FileStat,
  must,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  openat,
  readNames,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  statAt,
} from "../../linux/at.ts";
import { baseOf, cBytes, cleanPath, parentOf } from "./_names.ts";
import type { EntryType, TarEntry } from "./entry.ts";
import { textOfName } from "./layer_error.ts";

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
const AUFS_META = ".wh..wh.";
const S_IFREG = 0o100000;
const TYPE_BITS: Readonly<Record<Exclude<EntryType, "hardlink">, number>> = {
  file: S_IFREG,
  directory: S_IFDIR,
  symlink: S_IFLNK,
  character: S_IFCHR,
  block: S_IFBLK,
  fifo: S_IFIFO,
};
const TYPE_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(TYPE_BITS).map(([name, bits]) => [bits, name]));

interface Expected {
  readonly type: EntryType | "whiteout";
  /** Absent: whatever it is. */
  readonly attributes?: Pick<TarEntry, "mode" | "uid" | "gid">;
}

/** What a layer's directory should hold after all entries of its archive, and whether it does. */
export class ExpectedTree {
  readonly #tree = new Map<string, Expected>();
  readonly #replaced = new Set<string>();
  /** An entry's name leads through a symbolic link: what it made lies elsewhere, and digests have to be enough. */
  #throughLinks = false;

  /** Takes the next entry, as an unpacker would make it. */
  add(entry: TarEntry): void {
    const path = cleanPath(entry.name);
    if (path === "") return;
    const base = baseOf(path);
    if (base === OPAQUE) this.#parents(path);
    if (base.startsWith(AUFS_META)) return;
    if (base.startsWith(WHITEOUT)) return this.#whiteout(parentOf(path), base.slice(WHITEOUT.length));
    this.#parents(path);
    const before = this.#tree.get(path);
    if (before !== undefined && before.type !== "directory") this.#replaced.add(path);
    if (before?.type === "directory" && entry.type !== "directory") this.#removeBelow(path);
    if (entry.type === "hardlink") {
      // It shares its target's attributes, and the later of the two entries sets them.
      const target = cleanPath(entry.linkName);
      const known = this.#tree.get(target);
      const { attributes: _, ...rest } = known ?? { type: "file" as const };
      this.#tree.set(path, rest);
      if (known !== undefined) this.#tree.set(target, rest);
      return;
    }
    const { mode, uid, gid, type } = entry;
    this.#tree.set(path, { type, attributes: { mode, uid, gid } });
  }

  /** Whether what an entry of this path made was replaced or removed by a later one: its content is gone. */
  isReplaced(path: string): boolean {
    return this.#replaced.has(path);
  }

  /**
   * Compares with a directory.
   *
   * @param options.owners whether owners are as the archive says: they are not where ids are mapped
   * @returns the first difference in words, or undefined
   */
  differenceFrom(directory: string, options: { readonly owners: boolean }): string | undefined {
    if (this.#throughLinks) return undefined;
    const left = new Map(this.#tree);
    const fd = must(openat(AT_FDCWD, cBytes(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), "open", directory);
    const found = compare(fd, "", { left, owners: options.owners });
    if (found !== undefined) return found;
    const [missing] = left;
    return missing === undefined ? undefined : `${shown(missing[0])} is missing, a ${missing[1].type}`;
  }

  #whiteout(parent: string, name: string): void {
    for (let above = parent; above !== ""; above = parentOf(above)) {
      const known = this.#tree.get(above);
      if (known !== undefined && known.type !== "directory") return;
    }
    const path = parent === "" ? name : `${parent}/${name}`;
    this.#parents(path);
    const before = this.#tree.get(path);
    if (before?.type === "directory") this.#removeBelow(path);
    else if (before !== undefined) this.#replaced.add(path);
    this.#tree.set(path, { type: "whiteout" });
  }

  #parents(path: string): void {
    for (let above = parentOf(path); above !== ""; above = parentOf(above)) {
      const known = this.#tree.get(above);
      if (known?.type === "symlink") this.#throughLinks = true;
      if (known?.type === "directory" || known?.type === "symlink") return;
      this.#tree.set(above, { type: "directory" });
    }
  }

  #removeBelow(path: string): void {
    for (const other of this.#tree.keys()) {
      if (!other.startsWith(`${path}/`)) continue;
      this.#tree.delete(other);
      this.#replaced.add(other);
    }
  }
}

/** Walks an opened directory, which it closes; what was found is taken out of `left`. */
function compare(
  fd: number,
  prefix: string,
  state: { readonly left: Map<string, Expected>; readonly owners: boolean },
): string | undefined {
  try {
    for (const bytes of namesOf(fd)) {
      const path = prefix + nameOf(bytes);
      const is = statAt(fd, bytes);
      if (is === undefined) continue;
      const expected = state.left.get(path);
      if (expected === undefined) return `${shown(path)} is there and not in the archive`;
      state.left.delete(path);
      const difference = differenceOf(is, expected, state.owners);
      if (difference !== undefined) return `${shown(path)} ${difference}`;
      if ((is.mode & S_IFMT) !== S_IFDIR) continue;
      const inner = must(openat(fd, bytes, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0), "openat", path);
      const below = compare(inner, `${path}/`, state);
      if (below !== undefined) return below;
    }
    return undefined;
  } finally {
    close(fd);
  }
}

function* namesOf(fd: number): Generator<Uint8Array<ArrayBuffer>> {
  for (let names = readNames(fd); names.length > 0; names = readNames(fd)) yield* names;
}

function differenceOf(is: FileStat, expected: Expected, owners: boolean): string | undefined {
  const type = is.mode & S_IFMT;
  const found = TYPE_NAMES.get(type) ?? "something else";
  if (expected.type === "whiteout") {
    const isWhiteout = type === S_IFCHR && is.deviceMajor === 0 && is.deviceMinor === 0;
    return isWhiteout ? undefined : `is a ${found}, not a mark of removal`;
  }
  if (expected.type !== "hardlink" && type !== TYPE_BITS[expected.type]) return `is a ${found}, not a ${expected.type}`;
  const { attributes } = expected;
  if (attributes === undefined) return undefined;
  const mode = is.mode & ~S_IFMT;
  if (expected.type !== "symlink" && mode !== attributes.mode) {
    return `has mode ${mode.toString(8)}, not ${attributes.mode.toString(8)}`;
  }
  if (!owners || (is.uid === attributes.uid && is.gid === attributes.gid)) return undefined;
  return `belongs to ${is.uid}:${is.gid}, not ${attributes.uid}:${attributes.gid}`;
}

function nameOf(bytes: Uint8Array): string {
  let name = "";
  for (const byte of bytes) if (byte !== 0) name += String.fromCharCode(byte);
  return name;
}

function shown(path: string): string {
  return JSON.stringify(textOfName(path));
}
