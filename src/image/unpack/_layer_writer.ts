import { baseOf, cleanPath, parentOf } from "./_names.ts";
import { LayerTree, RefusedEntry } from "./_layer_tree.ts";
import { Crc64 } from "./crc64.ts";
import type { TarEntry } from "./entry.ts";
import type { TarSink } from "./tar_reader.ts";
import type { TarSplitWriter } from "./tar_split.ts";

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
/** Other bookkeeping of aufs: nothing to make. */
const AUFS_META = ".wh..wh.";
const NOT_NAMES: ReadonlySet<string> = new Set(["", ".", ".."]);

const UPWARD = /(?:^|\/)\.\.(?:\/|$)/;

export interface LayerWriterLimits {
  readonly maxEntries: number;
  readonly maxFileBytes: number;
}

/** Makes what the entries of a layer say, and keeps its tar-split record. */
export class LayerWriter implements TarSink, Disposable {
  readonly uids = new Set<number>();
  readonly gids = new Set<number>();
  entryCount = 0;
  fileBytes = 0;
  root: TarEntry | undefined;
  readonly #tree: LayerTree;
  readonly #crc = new Crc64();
  #hasGlobal = false;
  #hasRoot = false;
  #current: TarEntry | undefined;
  /** The current entry is a file that is being written. */
  #isFile = false;
  /** Its name has `..`: a reader of tar-split, which resolves names on the host, would look elsewhere. */
  #isUpward = false;
  /** An entry of the same name was there: tar-split allows a name once. */
  #isRepeated = false;

  constructor(
    directory: string,
    private readonly deps: { readonly split: TarSplitWriter | undefined; readonly limits: LayerWriterLimits },
  ) {
    this.#tree = new LayerTree(directory);
  }

  [Symbol.dispose](): void {
    this.#tree[Symbol.dispose]();
  }

  /** Sets what can be set only when everything is there. */
  finish(): void {
    this.#tree.end();
  }

  raw(bytes: Uint8Array<ArrayBuffer>): void {
    this.deps.split?.raw(bytes);
  }

  globalHeader(name: string): void {
    this.#countEntry();
    if (!this.#hasGlobal) this.deps.split?.file(name, { sizeBytes: 0, crc64: undefined });
    this.#hasGlobal = true;
  }

  entry(entry: TarEntry): void {
    this.#countEntry();
    this.uids.add(entry.uid);
    this.gids.add(entry.gid);
    this.#current = entry;
    this.#isFile = false;
    this.#isRepeated = false;
    this.#crc.reset();
    const path = cleanPath(entry.name);
    this.#isUpward = path.length < entry.name.length && UPWARD.test(entry.name);
    if (path === "") this.#keepRoot(entry);
    else if (!this.#whiteout(path, entry)) {
      if (entry.type === "file") this.#countBytes(entry);
      this.#isRepeated = this.#tree.make(path, entry);
      this.#isFile = entry.type === "file";
    }
  }

  payload(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#isFile) this.#tree.write(bytes);
    if (this.deps.split === undefined) return;
    if (this.#isContent()) this.#crc.update(bytes);
    else this.deps.split.raw(bytes);
  }

  entryEnd(): void {
    const entry = this.#current;
    if (entry === undefined) return;
    if (this.#isFile) this.#tree.endFile();
    const sizeBytes = this.#isContent() ? entry.storedBytes : 0;
    // A repeated name without content adds nothing to the archive's bytes, and readers refuse the repetition.
    if (sizeBytes > 0) this.deps.split?.file(entry.name, { sizeBytes, crc64: this.#crc.base64() });
    else if (!this.#isRepeated) this.deps.split?.file(entry.name, { sizeBytes, crc64: undefined });
    this.#current = undefined;
    this.#isFile = false;
  }

  /** Whether the payload will be found again under the entry's name; else (sparse files, say) tar-split must hold it. */
  #isContent(): boolean {
    return this.#isFile && this.#current?.sparse === undefined && !this.#isUpward;
  }

  #countEntry(): void {
    this.entryCount += 1;
    const made = this.entryCount + this.#tree.impliedDirectories;
    if (made > this.deps.limits.maxEntries) throw new RefusedEntry(`more than ${this.deps.limits.maxEntries} entries`);
  }

  #countBytes(entry: TarEntry): void {
    this.fileBytes += entry.sizeBytes;
    const { maxFileBytes } = this.deps.limits;
    if (this.fileBytes > maxFileBytes) throw new RefusedEntry(`files of more than ${maxFileBytes} bytes together`);
  }

  /** The layer's own directory belongs to the store, which gives it the parent layer's owner and mode. */
  #keepRoot(entry: TarEntry): void {
    this.#isRepeated = this.#hasRoot;
    this.#hasRoot = true;
    if (entry.type === "directory") this.root = entry;
  }

  #whiteout(path: string, entry: TarEntry): boolean {
    const base = baseOf(path);
    if (!base.startsWith(WHITEOUT)) return false;
    if (base === OPAQUE) {
      this.#tree.opaque(parentOf(path));
    } else if (!base.startsWith(AUFS_META)) {
      const name = base.slice(WHITEOUT.length);
      if (NOT_NAMES.has(name)) throw new RefusedEntry("a whiteout that names no file");
      const parent = parentOf(path);
      this.#tree.whiteout(parent === "" ? name : `${parent}/${name}`, entry);
    }
    return true;
  }
}
