/** Unpacks layers in a thread of its own where that pays, else in this one. */
import { type ErrorKind, InternalError, PodError } from "../../base/errors.ts";
import { abortable } from "../../base/keyed_mutex.ts";
import { type UnpackedLayer, unpackLayer } from "../unpack/unpack_layer.ts";
import type { Bytes } from "./decompress.ts";
import { type FromUnpacker, type ToUnpacker, UNPACK_THREAD } from "./unpack_messages.ts";

/** Where the pieces of one layer go. */
export interface UnpackTarget {
  /** Existing and empty. */
  readonly directory: string;
  readonly tarSplitPath: string;
  readonly signal: AbortSignal;
}

/** One way to unpack a layer. Settles only when nothing is written into the directory any more. */
export type UnpackWay = (bytes: AsyncGenerator<Bytes, void, void>, target: UnpackTarget) => Promise<UnpackedLayer>;

/** What is on the way to the thread, at most, bytes for each layer; and what is sent at a time. */
const WINDOW_BYTES = 2 * 1024 * 1024;
const BATCH_BYTES = 512 * 1024;

/** A thread takes 61 ms and 19 MB to start: images smaller than this, compressed, are unpacked without one. */
const THREAD_IMAGE_BYTES = 8 * 1024 * 1024;
/** Smaller layers are not worth the messages. */
const THREAD_LAYER_BYTES = 256 * 1024;

/** A failure that the thread reports. */
class ThreadError extends PodError {
  constructor(override readonly kind: ErrorKind, message: string) {
    super(message);
  }
}

/** In this thread, in turns. */
const unpackHere: UnpackWay = (bytes, target) => unpackLayer(bytes, target);

/** The thread, which starts with this object. Disposing ends it, with what it does. */
export class UnpackThread implements Disposable {
  readonly #worker: Worker;
  readonly #layers = new Map<number, OutgoingLayer>();
  #nextId = 1;
  #failure: InternalError | undefined;
  /** What was sent before it was ready: a message that comes while its modules load would be lost. */
  #early: Sending[] | undefined = [];

  /** @param module the program's main module, which knows what to do when it is a thread's */
  constructor(module: string) {
    this.#worker = new Worker(module, { type: "module", name: UNPACK_THREAD });
    this.#worker.onmessage = ({ data }: MessageEvent<FromUnpacker>): void => {
      if (data.type === "ready") this.#ready();
      else this.#layers.get(data.id)?.take(data);
    };
    this.#worker.onerror = (event): void => {
      event.preventDefault();
      this.#fail(event.message);
    };
    this.#worker.onmessageerror = (): void => this.#fail("a message could not be read");
  }

  /** `broken` breaks what it does, and takes nothing more; `unusable` never worked, and another one would not. */
  get state(): "good" | "broken" | "unusable" {
    if (this.#failure === undefined) return "good";
    return this.#early === undefined ? "broken" : "unusable";
  }

  /** See {@link UnpackWay}. @throws PodError with the kind that the unpacker gave; what `bytes` throws */
  readonly unpack: UnpackWay = async (bytes, target) => {
    if (this.#failure !== undefined) throw this.#failure;
    target.signal.throwIfAborted();
    const id = this.#nextId++;
    const layer = new OutgoingLayer(id, (sending) => this.#send(sending));
    this.#layers.set(id, layer);
    try {
      return await layer.run(bytes, target);
    } finally {
      this.#layers.delete(id);
    }
  };

  /** Lets the thread go when it has nothing to do; it needs a moment to give its memory back. */
  leave(): void {
    if (this.state !== "good" || this.#layers.size > 0) return this[Symbol.dispose]();
    this.#send({ message: { type: "leave" } });
    this.#failure = new InternalError("the unpacking thread has left");
  }

  [Symbol.dispose](): void {
    this.#fail("it was ended");
    this.#worker.terminate();
  }

  #send(sending: Sending): void {
    if (this.#early === undefined) this.#worker.postMessage(sending.message, sending.buffers ?? []);
    else this.#early.push(sending);
  }

  #ready(): void {
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const sending of early) this.#send(sending);
  }

  #fail(reason: string): void {
    this.#failure ??= new InternalError(`the unpacking thread failed: ${reason}`);
    for (const layer of this.#layers.values()) layer.lost(this.#failure);
  }
}

interface Sending {
  readonly message: ToUnpacker;
  /** Handed over with it. */
  readonly buffers?: ArrayBuffer[];
}

/** One layer on its way to the thread. */
class OutgoingLayer {
  readonly #result = Promise.withResolvers<UnpackedLayer>();
  /** Aborted when the thread has said its last word about this layer. */
  readonly #over = new AbortController();
  /** Bytes that were sent and not worked through. */
  #pending = 0;
  #batch: Bytes[] = [];
  #batchBytes = 0;
  #room: (() => void) | undefined;

  constructor(
    private readonly id: number,
    private readonly send: (sending: Sending) => void,
  ) {
    this.#result.promise.catch(() => {});
  }

  async run(bytes: AsyncGenerator<Bytes, void, void>, target: UnpackTarget): Promise<UnpackedLayer> {
    const { id } = this;
    const { directory, tarSplitPath, signal } = target;
    const abort = (): void => this.send({ message: { type: "abort", id } });
    this.send({ message: { type: "open", id, directory, tarSplitPath } });
    signal.addEventListener("abort", abort, { once: true });
    try {
      await this.#feed(bytes, AbortSignal.any([signal, this.#over.signal]));
      this.send({ message: { type: "end", id } });
    } catch (error) {
      if (this.#over.signal.aborted) return await this.#result.promise;
      abort();
      // The directory is deleted when this settles: the thread must be out of it.
      await this.#result.promise.catch(() => {});
      throw error;
    } finally {
      // Not awaited: a source that hangs must not hold a caller that has given up.
      bytes.return().catch(() => {});
      await this.#result.promise.catch(() => {});
      signal.removeEventListener("abort", abort);
    }
    return await this.#result.promise;
  }

  take(message: Exclude<FromUnpacker, { readonly type: "ready" }>): void {
    if (message.type === "taken") {
      this.#pending -= message.bytes;
      if (this.#pending < WINDOW_BYTES) this.#room?.();
      return;
    }
    if (message.type === "done") this.#result.resolve(message.layer);
    else this.#result.reject(new ThreadError(message.kind, message.message));
    this.#over.abort();
  }

  lost(error: Error): void {
    this.#result.reject(error);
    this.#over.abort();
  }

  async #feed(bytes: AsyncGenerator<Bytes, void, void>, stop: AbortSignal): Promise<void> {
    for (;;) {
      const next = await abortable(bytes.next(), stop);
      if (next.done === true) break;
      const piece = ownBytes(next.value);
      this.#batch.push(piece);
      this.#batchBytes += piece.length;
      if (this.#batchBytes >= BATCH_BYTES) await this.#flush(stop);
    }
    await this.#flush(stop);
  }

  async #flush(stop: AbortSignal): Promise<void> {
    while (this.#pending >= WINDOW_BYTES) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#room = resolve;
      await abortable(promise, stop);
    }
    stop.throwIfAborted();
    this.#pending += this.#batchBytes;
    const message = { type: "data", id: this.id, pieces: this.#batch } as const;
    this.send({ message, buffers: this.#batch.map((piece) => piece.buffer) });
    this.#batch = [];
    this.#batchBytes = 0;
  }
}

/** A piece whose buffer nobody else uses: one that fills its buffer is handed over as it is, see `decompress`. */
function ownBytes(piece: Bytes): Bytes {
  // Not `slice`: a Buffer's own gives a view of the same memory.
  return piece.byteLength === piece.buffer.byteLength ? piece : new Uint8Array(piece);
}

/** Chooses the way for each layer, and keeps the thread while there is work for it. */
export class Unpackers implements Disposable {
  #thread: UnpackThread | undefined;
  #isUsable = true;

  constructor(private readonly module: string = Deno.mainModule) {}

  /** An image is about to be unpacked: starts the thread if that pays. */
  prepare(compressedBytes: number): void {
    if (this.#thread?.state === "unusable") this.#isUsable = false;
    if (this.#thread !== undefined && this.#thread.state !== "good") this[Symbol.dispose]();
    if (compressedBytes >= THREAD_IMAGE_BYTES && this.#isUsable) this.#thread ??= new UnpackThread(this.module);
  }

  /** The way for a layer of this size. */
  choose(compressedBytes: number): UnpackWay {
    return compressedBytes >= THREAD_LAYER_BYTES && this.#thread?.state === "good" ? this.#thread.unpack : unpackHere;
  }

  /** Nothing is unpacked: lets the thread go. {@link prepare} may start another. */
  rest(): void {
    if (this.#thread?.state === "unusable") this.#isUsable = false;
    this.#thread?.leave();
    this.#thread = undefined;
  }

  /** Ends the thread with what it does. */
  [Symbol.dispose](): void {
    this.#thread?.[Symbol.dispose]();
    this.#thread = undefined;
  }
}
