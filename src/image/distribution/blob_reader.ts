import { createHash, type Hash } from "node:crypto";
import { sleep } from "../../base/clock.ts";
import { type Digest, digestHex } from "../../base/ids.ts";
import type { ExchangeResponse } from "./exchange.ts";
import type { RegistryHost } from "./registry_host.ts";
import { Pace, RangeWindow, WINDOW_POLICY, type WindowPolicy } from "./range_window.ts";
import { RegistryError } from "./registry_error.ts";
import { waitBefore } from "./retry.ts";
import type { ByteReader } from "./transport.ts";

/** What a manifest says about a blob. */
export interface BlobDescriptor {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

export interface BlobSource {
  readonly host: RegistryHost;
  readonly repositoryPath: string;
  /** Where on the host it is, when that is not a registry. */
  readonly path?: string;
}

export interface BlobReaderOptions {
  /** Ends the download for good. */
  readonly signal: AbortSignal;
  /** When several requests are made at once. Default: {@link WINDOW_POLICY}. */
  readonly window?: WindowPolicy;
  /** Told when a source has failed for good and the next one goes on; base is 0. */
  failed?(index: number, error: RegistryError): void;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** Interruptions that one download survives in all; each single one is retried as the host's policy says. */
const MAX_INTERRUPTIONS = 50;

/**
 * The bytes of a blob, in order and checked: an interrupted download goes on where it stopped (Range), the size never
 * exceeds the descriptor's, and the read that would give the end throws unless the digest fits. Where the connection is
 * what limits, the rest comes by a {@link RangeWindow}.
 */
export class BlobReader implements ByteReader {
  readonly #hash: Hash;
  #body: ByteReader | undefined;
  #received = 0;
  /** Attempts since the last byte that came. */
  #attempt = 0;
  #interruptions = 0;
  #verified = false;
  #sourceIndex = 0;
  #lie: RegistryError | undefined;
  #pace = new Pace();
  /** Whether the source in use takes ranges, and it is still open whether a window is faster. */
  #mayWindow = false;
  #hadWindow = false;
  /** Bytes a second of the one stream before the window that is open. */
  #streamPace: number | undefined;

  /** @param sources where it can be had, best first; when one fails for good, the next goes on where it stopped */
  constructor(
    private readonly sources: readonly [BlobSource, ...BlobSource[]],
    private readonly descriptor: BlobDescriptor,
    private readonly options: BlobReaderOptions,
  ) {
    this.#hash = createHash(descriptor.digest.startsWith("sha512:") ? "sha512" : "sha256");
  }

  /** Which source is read, base is 0. */
  get sourceIndex(): number {
    return this.#sourceIndex;
  }

  /** Set once bytes came that are not the blob's: nothing more can be had from this reader. */
  get lie(): RegistryError | undefined {
    return this.#lie;
  }

  /**
   * After a dispose the next read goes on where it stopped.
   *
   * @throws RegistryError when the blob cannot be had, or is not what the descriptor says (kind `data_loss`)
   */
  async read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    for (;;) {
      if (this.#lie !== undefined) throw this.#lie;
      this.options.signal.throwIfAborted();
      try {
        if (this.#received === this.descriptor.sizeBytes && this.#received > 0) return await this.#finish();
        this.#body ??= await this.#open();
        const body = this.#body;
        const piece = await this.#pace.of(() => body.read());
        if (piece === undefined) return await this.#finish();
        this.#accept(piece);
        if (this.#mayWindow) await this.#weigh();
        return piece;
      } catch (error) {
        await this.#waitOrThrow(error);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const body = this.#body;
    this.#body = undefined;
    await body?.[Symbol.asyncDispose]();
  }

  async #open(): Promise<ByteReader> {
    const offset = this.#received;
    const response = await this.#request(offset === 0 ? undefined : `bytes=${offset}-`, this.options.signal);
    if (response.status !== 200 && !(response.status === 206 && offset > 0)) {
      throw await this.#source.host.failure(response, `download blob ${this.descriptor.digest}`);
    }
    const { body } = response;
    this.#pace = new Pace();
    this.#streamPace = undefined;
    this.#mayWindow = !this.#hadWindow && this.#interruptions === 0 && response.header("accept-ranges") === "bytes";
    try {
      this.#checkLength(response, response.status === 206 ? offset : 0);
      // Without Range support the whole blob comes again: what is known already is read and dropped.
      return response.status === 206 || offset === 0 ? body : await skipBytes(body, offset);
    } catch (error) {
      await body[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Opens a window where that promises to be faster, and leaves one that is not. */
  async #weigh(): Promise<void> {
    const policy = this.options.window ?? WINDOW_POLICY;
    const { segmentBytes, segments, afterMs, fastBytesPerSecond, gain } = policy;
    const pace = this.#pace;
    if (this.#streamPace !== undefined) {
      if (pace.bytes < 2 * segments * segmentBytes) return;
      this.#mayWindow = false;
      // The next read goes on with one stream.
      if (pace.bytesPerSecond < this.#streamPace * gain) await this[Symbol.asyncDispose]();
      return;
    }
    const range = { from: this.#received, end: this.descriptor.sizeBytes };
    if (pace.elapsedMs < afterMs || range.end - range.from < segments * segmentBytes) return;
    if (!pace.isWaiting || pace.bytesPerSecond > fastBytesPerSecond) return;
    const window = RangeWindow.open((part, signal) => this.#segment(part, signal), range, policy);
    if (window === undefined) return;
    await this[Symbol.asyncDispose]();
    this.#body = window;
    this.#hadWindow = true;
    this.#streamPace = pace.bytesPerSecond;
    this.#pace = new Pace();
  }

  async #segment(range: { readonly from: number; readonly end: number }, stop: AbortSignal): Promise<Bytes> {
    const { from, end } = range;
    const response = await this.#request(`bytes=${from}-${end - 1}`, AbortSignal.any([this.options.signal, stop]));
    await using body = response.body;
    if (response.status !== 206) throw this.#refused(`answers a range with status ${response.status}`);
    // Less than was asked for is allowed: then one stream goes on.
    const length = response.header("content-length");
    if (length !== undefined && Number(length) < end - from) throw this.#refused(`gives ${length} bytes of a range`);
    this.#checkLength(response, from, end);
    const bytes = new Uint8Array(end - from);
    let filled = 0;
    for (let piece = await body.read(); piece !== undefined; piece = await body.read()) {
      if (filled + piece.length > bytes.length) throw this.#refused("gives more than the range that was asked for");
      bytes.set(piece, filled);
      filled += piece.length;
    }
    if (filled < bytes.length) throw this.#refused(`ended after ${from + filled} bytes`);
    return bytes;
  }

  async #request(range: string | undefined, signal: AbortSignal): Promise<ExchangeResponse> {
    const { host, repositoryPath, path = `/v2/${repositoryPath}/blobs/${this.descriptor.digest}` } = this.#source;
    return await host.send({
      method: "GET",
      path,
      scope: `repository:${repositoryPath}:pull`,
      headers: range === undefined ? {} : { range },
      signal,
      verifiedByDigest: true,
    });
  }

  /** One stream may still do it. */
  #refused(reason: string): RegistryError {
    const endpoint = this.#source.host.origin;
    return new RegistryError(`${this.#name()} ${reason}`, { kind: "unavailable", retriable: true, endpoint });
  }

  #checkLength(response: ExchangeResponse, offset: number, end = this.descriptor.sizeBytes): void {
    if (response.status === 206) {
      const start = /^bytes (\d+)-/.exec(response.header("content-range") ?? "")?.[1];
      if (Number(start) !== offset) throw this.#wrong(`answers a range from ${offset} with one from ${start}`);
    }
    const length = response.header("content-length");
    const wanted = end - offset;
    if (length === undefined || response.header("content-encoding") !== undefined) return;
    if (Number(length) !== wanted) {
      throw this.#wrong(`has ${Number(length) + offset} bytes where the manifest says ${this.descriptor.sizeBytes}`);
    }
  }

  #accept(piece: Uint8Array): void {
    this.#received += piece.length;
    this.#attempt = 0;
    if (this.#received > this.descriptor.sizeBytes) {
      throw this.#wrong(`has more than the ${this.descriptor.sizeBytes} bytes that the manifest says`);
    }
    this.#hash.update(piece);
  }

  async #finish(): Promise<undefined> {
    if (this.#verified) return undefined;
    if (this.#received < this.descriptor.sizeBytes) {
      throw this.#refused(`ended after ${this.#received} of ${this.descriptor.sizeBytes} bytes`);
    }
    const found = this.#hash.digest("hex");
    if (found !== digestHex(this.descriptor.digest)) throw this.#wrong(`has the digest ${found}`);
    this.#verified = true;
    await this[Symbol.asyncDispose]();
    return undefined;
  }

  async #waitOrThrow(error: unknown): Promise<void> {
    await this[Symbol.asyncDispose]();
    this.options.signal.throwIfAborted();
    this.#attempt++;
    this.#interruptions++;
    const waitMs = waitBefore(error, { attempt: this.#attempt, policy: this.#source.host.retry });
    if (this.#interruptions > MAX_INTERRUPTIONS) throw error;
    if (waitMs === undefined) return this.#nextSourceOrThrow(error);
    await sleep(waitMs, { signal: this.options.signal });
  }

  #nextSourceOrThrow(error: unknown): void {
    if (!(error instanceof RegistryError)) throw error;
    // What a liar sent is in the hash already.
    if (error.kind === "data_loss" && this.#received > 0) this.#lie = error;
    if (this.#lie !== undefined || this.#sourceIndex + 1 >= this.sources.length) throw error;
    this.options.failed?.(this.#sourceIndex, error);
    this.#sourceIndex++;
    this.#attempt = 0;
  }

  get #source(): BlobSource {
    return this.sources[this.#sourceIndex] ?? this.sources[0];
  }

  #name(): string {
    return `blob ${this.descriptor.digest} from ${this.#source.host.origin}`;
  }

  #wrong(reason: string): RegistryError {
    const endpoint = this.#source.host.origin;
    return new RegistryError(`${this.#name()} ${reason}`, { kind: "data_loss", retriable: false, endpoint });
  }
}

/** The body from `offset` on. */
async function skipBytes(body: ByteReader, offset: number): Promise<ByteReader> {
  let missing = offset;
  let rest: Uint8Array<ArrayBuffer> | undefined;
  while (missing > 0) {
    const piece = await body.read();
    if (piece === undefined) break;
    if (piece.length > missing) rest = piece.subarray(missing);
    missing -= Math.min(missing, piece.length);
  }
  return {
    read: async (): Promise<Uint8Array<ArrayBuffer> | undefined> => {
      if (rest === undefined) return await body.read();
      const piece = rest;
      rest = undefined;
      return piece;
    },
    [Symbol.asyncDispose]: async (): Promise<void> => await body[Symbol.asyncDispose](),
  };
}
