import { once } from "node:events";
import { constants, createGzip } from "node:zlib";
import {
  AT_FDCWD,
  close,
  must,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_WRONLY,
  openat,
  unlinkat,
  writeAll,
} from "../../linux/at.ts";
import { bytesOfName } from "./layer_error.ts";

/** Text is handed to the compressor in pieces of about this size, and its output to the file. */
const FLUSH_CHARS = 256 * 1024;
/** A segment is written out when it is this long, bytes, so that a long end of an archive is not held in memory. */
const SEGMENT_BYTES = 64 * 1024;
const NO_MODE_BITS_FOR_OTHERS = 0o600;
const encoder = new TextEncoder();
const TYPE_FILE = 1;
const TYPE_SEGMENT = 2;
const PLAIN_TEXT = /^[\x20-\x7e]*$/;

/**
 * Writes the `*.tar-split.gz` of a layer: everything of an archive that is not in the unpacked files, so that the same
 * bytes can be made again (github.com/vbatts/tar-split, package storage: lines of JSON, compressed).
 *
 * Line `{"type":2,"payload":<raw bytes>,"position":n}` stands for these bytes; line
 * `{"type":1,"name":…,"size":…,"payload":<crc64>,"position":n}` for the content of a file. `name_raw` replaces a name
 * that is not UTF-8.
 *
 * The path must not exist yet; {@link discard} removes it again. Disposing closes the descriptor.
 */
export class TarSplitWriter implements Disposable {
  readonly #gzip = createGzip({ level: constants.Z_BEST_SPEED, chunkSize: 64 * 1024 });
  readonly #path: Uint8Array<ArrayBuffer>;
  #fd: number;
  #failure: unknown;
  #text = "";
  #segment = new Uint8Array(SEGMENT_BYTES);
  #segmentFill = 0;
  #position = 0;

  /** @throws ErrnoError when the file exists or cannot be made */
  constructor(path: string) {
    this.#path = encoder.encode(path + "\0");
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    this.#fd = must(openat(AT_FDCWD, this.#path, flags, NO_MODE_BITS_FOR_OTHERS), "open", path);
    this.#gzip.on("data", (bytes: Uint8Array<ArrayBuffer>) => this.#store(bytes, path));
    this.#gzip.on("error", (error: Error) => this.#failure ??= error);
  }

  /** Adds bytes of the archive that are no file content. */
  raw(bytes: Uint8Array): void {
    if (this.#segmentFill + bytes.length > SEGMENT_BYTES) this.#endSegment();
    if (bytes.length > SEGMENT_BYTES) {
      for (let i = 0; i < bytes.length; i += SEGMENT_BYTES) this.#segmentLine(bytes.subarray(i, i + SEGMENT_BYTES));
      return;
    }
    this.#segment.set(bytes, this.#segmentFill);
    this.#segmentFill += bytes.length;
  }

  /**
   * Adds a file: its content is that of the unpacked file of this name.
   *
   * @param name bytes in a string, as in the archive
   * @param content.crc64 base 64; undefined when the size is 0
   */
  file(name: string, content: { sizeBytes: number; crc64: string | undefined }): void {
    this.#endSegment();
    const { sizeBytes, crc64 } = content;
    const size = sizeBytes === 0 ? "" : `"size":${sizeBytes},`;
    const payload = crc64 === undefined ? "null" : `"${crc64}"`;
    this.#line(`{"type":${TYPE_FILE},${nameField(name)}${size}"payload":${payload}`);
  }

  /** Resolves when the compressor takes more; undefined when it does already. */
  drained(): Promise<unknown> | undefined {
    this.#check();
    if (!this.#gzip.writableNeedDrain) return undefined;
    return once(this.#gzip, "drain");
  }

  /**
   * Writes everything out and closes the file.
   *
   * @throws ErrnoError when the file could not be written
   */
  async finish(): Promise<void> {
    this.#endSegment();
    this.#flush();
    const ended = once(this.#gzip, "end");
    this.#gzip.end();
    await ended;
    this.#check();
    this[Symbol.dispose]();
  }

  /** Closes and removes the file. */
  discard(): void {
    this[Symbol.dispose]();
    unlinkat(AT_FDCWD, this.#path, 0);
  }

  [Symbol.dispose](): void {
    this.#gzip.destroy();
    if (this.#fd >= 0) close(this.#fd);
    this.#fd = -1;
  }

  #endSegment(): void {
    if (this.#segmentFill === 0) return;
    this.#segmentLine(this.#segment.subarray(0, this.#segmentFill));
    this.#segmentFill = 0;
  }

  #segmentLine(bytes: Uint8Array): void {
    this.#line(`{"type":${TYPE_SEGMENT},"payload":"${bytes.toBase64()}"`);
  }

  #line(start: string): void {
    this.#text += `${start},"position":${this.#position}}\n`;
    this.#position += 1;
    if (this.#text.length >= FLUSH_CHARS) this.#flush();
  }

  #flush(): void {
    if (this.#text === "") return;
    this.#gzip.write(encoder.encode(this.#text));
    this.#text = "";
  }

  #store(bytes: Uint8Array<ArrayBuffer>, path: string): void {
    if (this.#failure !== undefined || this.#fd < 0) return;
    try {
      must(writeAll(this.#fd, bytes), "write", path);
    } catch (error) {
      this.#failure = error;
    }
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** The name's field with its comma; nothing for an empty name, as Go's omitempty has it. */
function nameField(name: string): string {
  if (name === "") return "";
  if (PLAIN_TEXT.test(name)) return `"name":${JSON.stringify(name)},`;
  const bytes = bytesOfName(name);
  try {
    return `"name":${JSON.stringify(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes))},`;
  } catch {
    return `"name_raw":"${bytes.toBase64()}",`;
  }
}
