/**
 * The second thread of the pull process: takes uncompressed layers in pieces and unpacks them. The first one downloads,
 * checks and decompresses meanwhile.
 *
 * @module
 */
import { CancelledError, messageOf, PodError } from "../../base/errors.ts";
import { restrictThread } from "../../linux/privileges.ts";
import { unpackLayer } from "../unpack/unpack_layer.ts";
import type { Bytes } from "./decompress.ts";
import { NEEDED_CAPABILITIES } from "./protocol.ts";
import { releaseMemory } from "./release_memory.ts";
import type { FromUnpacker, ToUnpacker } from "./unpack_messages.ts";

/** The part of a dedicated worker's global scope that is used here. */
interface ThreadScope {
  postMessage(message: FromUnpacker): void;
  close(): void;
  onmessage: ((event: { readonly data: ToUnpacker }) => void) | null;
}

/** Serves the thread that started this one until that one ends it. */
export function serveUnpacking(): void {
  const scope = globalThis as unknown as ThreadScope;
  restrictThread(NEEDED_CAPABILITIES);
  const layers = new Map<number, IncomingLayer>();
  scope.onmessage = ({ data: message }): void => {
    if (message.type === "leave") {
      leave(scope);
      return;
    }
    const { id } = message;
    const layer = layers.get(id);
    switch (message.type) {
      case "open": {
        const opened = new IncomingLayer(id, (answer) => scope.postMessage(answer));
        layers.set(id, opened);
        opened.run(message).finally(() => layers.delete(id));
        break;
      }
      case "data":
        layer?.add(message.pieces);
        break;
      case "end":
        layer?.end();
        break;
      case "abort":
        layer?.abort();
        break;
    }
  };
  scope.postMessage({ type: "ready" });
}

/** V8 keeps the pages of a thread that ends for the next one, 30 MB: what was collected before is not among them. */
async function leave(scope: ThreadScope): Promise<void> {
  scope.onmessage = null;
  await releaseMemory();
  scope.close();
}

/** One layer: a queue that the sender keeps short, and the unpacker that empties it. */
class IncomingLayer {
  readonly #stop = new AbortController();
  readonly #queue: Bytes[] = [];
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(private readonly id: number, private readonly answer: (message: FromUnpacker) => void) {}

  add(pieces: readonly Bytes[]): void {
    for (const piece of pieces) this.#queue.push(piece);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  abort(): void {
    this.#stop.abort(new CancelledError("the layer is not wanted any more"));
  }

  /** Never rejects: what goes wrong is the answer. */
  async run(options: { readonly directory: string; readonly tarSplitPath: string }): Promise<void> {
    const { id } = this;
    const { directory, tarSplitPath } = options;
    try {
      const layer = await unpackLayer(this.#pieces(), { directory, tarSplitPath, signal: this.#stop.signal });
      this.answer({ type: "done", id, layer });
    } catch (error) {
      const kind = error instanceof PodError ? error.kind : "internal";
      this.answer({ type: "failed", id, kind, message: messageOf(error) });
    }
  }

  async *#pieces(): AsyncGenerator<Bytes, void, void> {
    for (;;) {
      const piece = this.#queue.shift();
      if (piece !== undefined) {
        const bytes = piece.length;
        yield piece;
        // The buffer is ours alone: given back at once, it does not wait for the collector, which it would wake.
        piece.buffer.transfer(0);
        this.answer({ type: "taken", id: this.id, bytes });
      } else if (this.#ended) {
        return;
      } else {
        await new Promise<void>((resolve) => this.#wake = resolve);
      }
    }
  }
}
