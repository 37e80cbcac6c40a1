/** A tar archive as a tree of files: headers are read once, contents stay where they are. */
import { abortable } from "../../base/keyed_mutex.ts";
import { DataLossError, InvalidArgumentError, ResourceExhaustedError } from "../../base/errors.ts";
import { HeldFile } from "../../linux/held_file.ts";
import { decompress } from "../pull/decompress.ts";
import type { TarEntry } from "../unpack/entry.ts";
import { LayerError, textOfName } from "../unpack/layer_error.ts";
import { TarReader, type TarSink } from "../unpack/tar_reader.ts";
import { maxUnpackedBytes } from "./archived_image.ts";
import { FilePart, type FileTree, type StoredFile } from "./file_tree.ts";

/** Image archives have a few files for each layer. */
const MAX_ENTRIES = 100_000;
const MAX_NAMES_BYTES = 16 * 1024 * 1024;
const MAX_NAME_BYTES = 4096;
/** Links from one name to the next. */
const MAX_LINKS = 8;
/** Read at a time while headers are looked for. */
const HEADER_READ_BYTES = 64 * 1024;

export interface TarTreeOptions {
  /** Where a compressed archive is unpacked to a file without a name. */
  readonly scratchDirectory: string;
  readonly signal: AbortSignal;
  /** Default: 200 times the archive's size, and at least 1 GiB. */
  readonly maxBytes?: number;
}

interface Place {
  readonly offset: number;
  readonly sizeBytes: number;
  /** Name of what it is a link to. */
  readonly link?: string;
  readonly isSparse: boolean;
}

/** See the module comment. */
export class TarTree implements FileTree {
  private constructor(private readonly held: HeldFile, private readonly places: ReadonlyMap<string, Place>) {}

  /**
   * @throws ErrnoError; DataLossError for what is no archive or is cut; InvalidArgumentError or ResourceExhaustedError for
   *   one that is beyond the limits
   */
  static async open(path: string, options: TarTreeOptions): Promise<TarTree> {
    using stack = new DisposableStack();
    const file = stack.use(await HeldFile.open(path));
    const plain = await decompressed(file, options);
    if (plain !== undefined) stack.use(plain);
    const held = plain ?? file;
    const places = await scan(held, options.signal);
    // What is not read from any more goes now.
    if (plain !== undefined) file[Symbol.dispose]();
    stack.move();
    return new TarTree(held, places);
  }

  file(name: string): Promise<StoredFile | undefined> {
    let wanted = cleaned(name);
    for (let links = 0; links <= MAX_LINKS; links++) {
      const place = wanted === undefined ? undefined : this.places.get(wanted);
      if (place === undefined) return Promise.resolve(undefined);
      if (place.isSparse) throw new InvalidArgumentError(`${name} is stored as a sparse file, which no tool writes`);
      if (place.link === undefined) return Promise.resolve(new FilePart(this.held, place.offset, place.sizeBytes));
      wanted = place.link;
    }
    throw new InvalidArgumentError(`${name} leads through more than ${MAX_LINKS} links`);
  }

  [Symbol.dispose](): void {
    this.held[Symbol.dispose]();
  }
}

/** The name without `.` and `..`; undefined when it leads out of the archive. */
function cleaned(name: string): string | undefined {
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) return undefined;
  }
  return parts.join("/");
}

/** The plain archive in a file of its own; undefined when it is plain already. */
async function decompressed(file: HeldFile, options: TarTreeOptions): Promise<HeldFile | undefined> {
  const { scratchDirectory, signal } = options;
  const maxBytes = options.maxBytes ?? maxUnpackedBytes(file.sizeBytes);
  await using source = new FilePart(file).read();
  const { compression, bytes } = await decompress(source);
  if (compression === "none") {
    await bytes.return();
    return undefined;
  }
  const target = await HeldFile.temporary(scratchDirectory);
  try {
    using writer = await target.view({ write: true });
    let written = 0;
    for (
      let next = await abortable(bytes.next(), signal);
      next.done !== true;
      next = await abortable(bytes.next(), signal)
    ) {
      written += next.value.length;
      if (written > maxBytes) {
        throw new InvalidArgumentError(
          `the archive has ${file.sizeBytes} bytes and unpacks to more than ${maxBytes}: unpack it yourself if it is meant so`,
        );
      }
      for (let rest: Uint8Array = next.value; rest.length > 0;) rest = rest.subarray(await writer.write(rest));
    }
    await target.measure();
    return target;
  } catch (error) {
    target[Symbol.dispose]();
    if (!(error instanceof Error) || !/no space left|os error 28/i.test(error.message)) throw error;
    throw new ResourceExhaustedError(
      `unpack the archive into ${scratchDirectory}: no space left; make room, set big_files_temporary_dir, or unpack it yourself`,
      { cause: error },
    );
  } finally {
    bytes.return().catch(() => {});
  }
}

async function scan(held: HeldFile, signal: AbortSignal): Promise<ReadonlyMap<string, Place>> {
  const index = new Index();
  const reader = new TarReader(index, { maxPathBytes: MAX_NAME_BYTES });
  using view = await held.view();
  const buffer = new Uint8Array(HEADER_READ_BYTES);
  try {
    for (let position = 0; position < held.sizeBytes;) {
      signal.throwIfAborted();
      await view.seek(position, Deno.SeekMode.Start);
      const count = await view.read(buffer);
      if (count === null) break;
      const chunk = buffer.subarray(0, count);
      let at = 0;
      while (at < count) {
        at = reader.step(chunk, at);
        const skipped = reader.skipPayload();
        index.offset += skipped;
        at += skipped;
      }
      position += at;
      if (position > held.sizeBytes) throw new DataLossError(`the archive is cut after ${held.sizeBytes} bytes`);
    }
    reader.end();
  } catch (error) {
    if (!(error instanceof LayerError)) throw error;
    throw new DataLossError(`it is no sound tar archive: at byte ${error.offset}: ${error.reason}`, { cause: error });
  }
  return index.places;
}

/** Notes where the files are. */
class Index implements TarSink {
  readonly places = new Map<string, Place>();
  /** Of the next byte. */
  offset = 0;
  #entries = 0;
  #namesBytes = 0;

  raw(bytes: Uint8Array): void {
    this.offset += bytes.length;
  }

  globalHeader(): void {}

  entry(entry: TarEntry): void {
    this.#entries++;
    this.#namesBytes += entry.name.length + entry.linkName.length;
    if (this.#entries > MAX_ENTRIES) throw new InvalidArgumentError(`it has more than ${MAX_ENTRIES} entries`);
    if (this.#namesBytes > MAX_NAMES_BYTES) {
      throw new InvalidArgumentError(`names of its entries are longer than ${MAX_NAMES_BYTES} bytes together`);
    }
    const name = cleaned(textOfName(entry.name));
    if (name === undefined) return; // nothing can ask for it
    const place = this.#placeOf(entry, name);
    if (place !== undefined) this.places.set(name, place);
  }

  payload(bytes: Uint8Array): void {
    this.offset += bytes.length;
  }

  entryEnd(): void {}

  #placeOf(entry: TarEntry, name: string): Place | undefined {
    const { type, storedBytes, sparse } = entry;
    if (type === "file") return { offset: this.offset, sizeBytes: storedBytes, isSparse: sparse !== undefined };
    if (type !== "symlink" && type !== "hardlink") return undefined;
    const target = textOfName(entry.linkName);
    const parent = type === "symlink" && !target.startsWith("/") ? name.split("/").slice(0, -1).join("/") : "";
    const link = cleaned(`${parent}/${target}`);
    return link === undefined ? undefined : { offset: 0, sizeBytes: 0, link, isSparse: false };
  }
}
