import { createHash } from "node:crypto";
import { InternalError } from "../../base/errors.ts";
import { type Digest, parseDigest } from "../../base/ids.ts";
import { abortable } from "../../base/keyed_mutex.ts";
import { RefusedEntry } from "./_layer_tree.ts";
import { LayerWriter } from "./_layer_writer.ts";
import type { TarEntry } from "./entry.ts";
import { asLayerError, LayerError } from "./layer_error.ts";
import { TarReader } from "./tar_reader.ts";
import { TarSplitWriter } from "./tar_split.ts";

/** What one layer may cost. */
export interface LayerLimits {
  /** Entries of the archive. Default 4,000,000. */
  readonly maxEntries?: number;
  /** Bytes of the uncompressed archive, and of all files together (sparse files count in full). Default 256 GiB. */
  readonly maxUncompressedBytes?: number;
  /** Bytes of a name or link target. Default 4096, the kernel's limit. */
  readonly maxPathBytes?: number;
}

export interface LayerUnpackerOptions {
  /** An existing empty directory: the layer's diff. Its own mode, owner and times stay as they are. */
  readonly directory: string;
  /** Where the layer's `tar-split.gz` is written; must not exist yet. Left out: none is written. */
  readonly tarSplitPath?: string;
  readonly limits?: LayerLimits;
}

export interface UnpackLayerOptions extends LayerUnpackerOptions {
  /** Aborting stops between two chunks or entries; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called after each chunk. */
  readonly onProgress?: (progress: LayerProgress) => void;
}

export interface LayerProgress {
  readonly uncompressedBytes: number;
  readonly entryCount: number;
}

/** What was unpacked; the fields that containers/storage keeps in its layer records among it. */
export interface UnpackedLayer {
  /** SHA-256 of the archive as it was fed. */
  readonly diffId: Digest;
  /** Bytes of the archive. */
  readonly uncompressedSizeBytes: number;
  readonly entryCount: number;
  /** Bytes of all regular files together. */
  readonly fileBytes: number;
  /** All owners that occur in headers, ascending. */
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  /** The archive's own entry for the root directory, if it has one; it is not applied. */
  readonly root: TarEntry | undefined;
}

const DEFAULT_LIMITS = { maxEntries: 4_000_000, maxUncompressedBytes: 256 * 2 ** 30, maxPathBytes: 4096 };
/** The event loop gets a turn after this many milliseconds of work. */
const TURN_MS = 3;
/** Most payload that is handled at once, bytes: about 0.3 ms of checksums and writing. */
const SLICE_BYTES = 256 * 1024;
/**
 * Unpacks one uncompressed layer archive into a directory, as containers/storage does, with whiteouts in overlay's form.
 *
 * Nothing outside of `directory` can be changed, whatever the archive holds. After a failure the directory holds a part
 * of the layer, and the caller removes it; the tar-split file is gone.
 *
 * @throws LayerError when the archive is refused; ErrnoError; the signal's reason; what `source` throws
 */
export async function unpackLayer(
  source: AsyncIterable<Uint8Array>,
  options: UnpackLayerOptions,
): Promise<UnpackedLayer> {
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  using unpacker = new LayerUnpacker(options);
  const feeder = new Feeder(unpacker, signal);
  const chunks = source[Symbol.asyncIterator]();
  let isDone = false;
  try {
    for (;;) {
      // Not a race against one long-lived promise: that would hold every chunk until the end.
      const next = await abortable(Promise.resolve(chunks.next()), signal);
      if (next.done === true) break;
      await feeder.feed(next.value as Uint8Array<ArrayBuffer>);
      onProgress?.(unpacker.progress);
    }
    isDone = true;
  } finally {
    // Not awaited: a source that hangs must not hold a caller that has given up.
    if (!isDone) chunks.return?.().catch(() => undefined);
  }
  return await unpacker.end();
}

/** Feeds an unpacker, and lets the event loop have a turn whenever this layer has worked for a while. */
class Feeder {
  #workedMs = 0;

  constructor(private readonly unpacker: LayerUnpacker, private readonly signal: AbortSignal | undefined) {}

  async feed(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    for (let from = 0; from < chunk.length; from += SLICE_BYTES) {
      const slice = chunk.length <= SLICE_BYTES ? chunk : chunk.subarray(from, from + SLICE_BYTES);
      for (let done = 0; done < slice.length;) {
        const startMs = performance.now();
        done = this.unpacker.write(slice, { from: done, turnMs: TURN_MS });
        this.#workedMs += performance.now() - startMs;
        if (this.#workedMs >= TURN_MS) await this.#pause();
        await this.unpacker.drained();
        this.signal?.throwIfAborted();
      }
    }
  }

  async #pause(): Promise<void> {
    this.#workedMs = 0;
    await nextTurn();
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * The same as {@link unpackLayer} for a caller that pushes: {@link write} for each chunk, then {@link end}. Disposing
 * without a successful `end` removes the tar-split file.
 */
export class LayerUnpacker implements Disposable {
  readonly #writer: LayerWriter;
  readonly #split: TarSplitWriter | undefined;
  readonly #reader: TarReader;
  readonly #maxBytes: number;
  readonly #digest = createHash("sha256");
  #uncompressedBytes = 0;
  #state: "open" | "ended" | "failed" = "open";

  /** @throws ErrnoError when the directory cannot be opened or the tar-split file cannot be made */
  constructor(options: LayerUnpackerOptions) {
    const { maxEntries, maxUncompressedBytes, maxPathBytes } = { ...DEFAULT_LIMITS, ...options.limits };
    this.#maxBytes = maxUncompressedBytes;
    using stack = new DisposableStack();
    const path = options.tarSplitPath;
    this.#split = path === undefined ? undefined : stack.adopt(new TarSplitWriter(path), (made) => made.discard());
    const limits = { maxEntries, maxFileBytes: maxUncompressedBytes };
    this.#writer = stack.use(new LayerWriter(options.directory, { split: this.#split, limits }));
    this.#reader = new TarReader(this.#writer, { maxPathBytes });
    stack.move();
  }

  get progress(): LayerProgress {
    return { uncompressedBytes: this.#uncompressedBytes, entryCount: this.#writer.entryCount };
  }

  /**
   * Takes the next bytes of the archive.
   *
   * @param options.from index at which to go on in a chunk that was not finished; the chunk must be the same then
   * @param options.turnMs stop after about this many milliseconds; default: work through the whole chunk
   * @returns the index up to which the chunk was done
   * @throws LayerError, ErrnoError; nothing more can be written after that
   */
  write(chunk: Uint8Array<ArrayBuffer>, options: { from?: number; turnMs?: number } = {}): number {
    const { from = 0, turnMs } = options;
    if (this.#state !== "open") throw new InternalError("a layer that has ended or failed takes no more data");
    const until = turnMs === undefined ? Infinity : performance.now() + turnMs;
    try {
      if (from === 0) this.#count(chunk);
      let at = from;
      while (at < chunk.length) {
        at = this.#reader.step(chunk, at);
        if (performance.now() > until) break;
      }
      return at;
    } catch (error) {
      this.#state = "failed";
      throw this.#explained(error);
    }
  }

  /** Resolves when the compressor of the tar-split file has room; undefined when it has. */
  drained(): Promise<unknown> | undefined {
    return this.#split?.drained();
  }

  /**
   * The archive is complete: sets the times of directories and closes the tar-split file.
   *
   * @throws LayerError when the archive is cut; ErrnoError
   */
  async end(): Promise<UnpackedLayer> {
    if (this.#state !== "open") throw new InternalError("a layer that has ended or failed cannot end again");
    this.#state = "failed";
    try {
      this.#reader.end();
      this.#writer.finish();
    } catch (error) {
      throw this.#explained(error);
    }
    await this.#split?.finish();
    this.#state = "ended";
    const { entryCount, fileBytes, uids, gids, root } = this.#writer;
    return {
      diffId: parseDigest(`sha256:${this.#digest.digest("hex")}`),
      uncompressedSizeBytes: this.#uncompressedBytes,
      entryCount,
      fileBytes,
      uids: ascending(uids),
      gids: ascending(gids),
      root,
    };
  }

  [Symbol.dispose](): void {
    this.#writer[Symbol.dispose]();
    if (this.#state !== "ended") this.#split?.discard();
    this.#state = "failed";
  }

  #count(chunk: Uint8Array): void {
    this.#uncompressedBytes += chunk.length;
    if (this.#uncompressedBytes > this.#maxBytes) {
      throw new RefusedEntry(`the archive has more than ${this.#maxBytes} bytes uncompressed`);
    }
    this.#digest.update(chunk);
  }

  #explained(error: unknown): unknown {
    const place = this.#reader.place;
    if (error instanceof RefusedEntry) {
      return new LayerError(error.message, { ...place, kind: "invalid_argument", cause: error });
    }
    return asLayerError(error, place);
  }
}

function ascending(numbers: ReadonlySet<number>): number[] {
  return [...numbers].sort((a, b) => a - b);
}
