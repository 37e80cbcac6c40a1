/** Files of an image archive or directory, by name. */
import { createHash } from "node:crypto";
import { DataLossError } from "../../base/errors.ts";
import { type Digest, digestHex } from "../../base/ids.ts";
import { HeldDirectory, type HeldFile } from "../../linux/held_file.ts";
import { MAX_DOCUMENT_BYTES } from "../distribution/repository.ts";
import type { ByteReader } from "../distribution/transport.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** One file; it can be read any number of times. */
export interface StoredFile {
  readonly sizeBytes: number;
  read(): ByteReader;
}

/** Where the files are. */
export interface FileTree extends Disposable {
  file(name: string): Promise<StoredFile | undefined>;
}

const READ_BYTES = 256 * 1024;

/** Part of a file. */
export class FilePart implements StoredFile {
  constructor(
    private readonly held: HeldFile,
    private readonly offset: number = 0,
    readonly sizeBytes: number = held.sizeBytes - offset,
  ) {}

  read(): ByteReader {
    return new PartReader(this.held, this.offset, this.sizeBytes);
  }
}

class PartReader implements ByteReader {
  #view: Deno.FsFile | undefined;
  readonly #buffer = new Uint8Array(READ_BYTES);

  constructor(private readonly held: HeldFile, private readonly offset: number, private remaining: number) {}

  async read(): Promise<Bytes | undefined> {
    if (this.remaining === 0) {
      await this[Symbol.asyncDispose]();
      return undefined;
    }
    if (this.#view === undefined) {
      this.#view = await this.held.view();
      await this.#view.seek(this.offset, Deno.SeekMode.Start);
    }
    const count = await this.#view.read(this.#buffer.subarray(0, Math.min(this.remaining, READ_BYTES)));
    if (count === null) throw new DataLossError(`the file ended ${this.remaining} bytes too early`);
    this.remaining -= count;
    return this.#buffer.slice(0, count);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#view?.close();
    this.#view = undefined;
    this.remaining = 0;
    return Promise.resolve();
  }
}

/** Files below a directory: links stay inside, devices and pipes are refused. */
export class DirectoryTree implements FileTree {
  readonly #directory: HeldDirectory;
  readonly #open = new DisposableStack();

  /** @throws ErrnoError */
  constructor(path: string) {
    this.#directory = this.#open.use(HeldDirectory.open(path));
  }

  async file(name: string): Promise<StoredFile | undefined> {
    const held = await this.#directory.file(name);
    return held === undefined ? undefined : new FilePart(this.#open.use(held));
  }

  [Symbol.dispose](): void {
    this.#open.dispose();
  }
}

/**
 * A small file, whole.
 *
 * @throws DataLossError when it is missing or larger than any document may be
 */
export async function readDocument(tree: FileTree, name: string): Promise<Bytes> {
  const file = await tree.file(name);
  if (file === undefined) throw new DataLossError(`there is no file ${JSON.stringify(name.slice(0, 200))}`);
  if (file.sizeBytes > MAX_DOCUMENT_BYTES) {
    throw new DataLossError(`${name} has ${file.sizeBytes} bytes, more than the ${MAX_DOCUMENT_BYTES} of any document`);
  }
  await using reader = file.read();
  const bytes = new Uint8Array(file.sizeBytes);
  let at = 0;
  for (let piece = await reader.read(); piece !== undefined; piece = await reader.read()) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** Checks size and digest of what it passes on; the read that would give the end throws DataLossError for others. */
export class VerifiedReader implements ByteReader {
  readonly #hash;
  #received = 0;
  #isVerified = false;

  constructor(
    private readonly source: ByteReader,
    private readonly expected: { readonly digest: Digest; readonly sizeBytes: number },
  ) {
    this.#hash = createHash(expected.digest.startsWith("sha512:") ? "sha512" : "sha256");
  }

  async read(): Promise<Bytes | undefined> {
    const piece = await this.source.read();
    if (piece === undefined) {
      if (!this.#isVerified) this.#verify();
      return undefined;
    }
    this.#received += piece.length;
    this.#hash.update(piece);
    return piece;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.source[Symbol.asyncDispose]();
  }

  #verify(): void {
    const { digest, sizeBytes } = this.expected;
    if (this.#received !== sizeBytes) {
      throw new DataLossError(`blob ${digest} has ${this.#received} bytes where the manifest says ${sizeBytes}`);
    }
    const found = this.#hash.digest("hex");
    if (found !== digestHex(digest)) throw new DataLossError(`blob ${digest} has the digest ${found}`);
    this.#isVerified = true;
  }
}
