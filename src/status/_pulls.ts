/** `GET /pulls`: what is being pulled, as one document or as server-sent events. */
import type { ServerResponse } from "node:http";
import type { Logger } from "../base/logger.ts";
import type { PullStatus } from "../image/progress/pull_status.ts";
import type { Pulls } from "./types.ts";

/** Changes are told this often at most. */
const FLUSH_MS = 200;
/** A comment is sent this often, so that a client that is gone is noticed. */
const BEAT_MS = 15_000;
/** What may wait for one client, bytes; one that takes longer to read is cut off. */
const MAX_WAITING_BYTES = 256 * 1024;
const MAX_CLIENTS = 16;

/** A pull as JSON tells it; names as in the other documents of this API. */
export function pullDocument(pull: PullStatus): Readonly<Record<string, unknown>> {
  const { id, image, stage, endpoint, layers } = pull;
  return {
    id,
    image,
    stage,
    endpoint,
    started_at: new Date(pull.startedAtMs).toISOString(),
    elapsed_ms: pull.elapsedMs,
    bytes_per_second: pull.bytesPerSecond,
    layers: layers.map(({ digest, sizeBytes, downloadedBytes, unpackedBytes, state }) => ({
      digest,
      size: sizeBytes,
      downloaded: downloadedBytes,
      extracted: unpackedBytes,
      state,
    })),
    ...(pull.imageId === undefined ? {} : { image_id: pull.imageId }),
    ...(pull.error === undefined ? {} : { error: pull.error }),
  };
}

/**
 * Sends each change of a pull to all clients: `event: pull` with the whole pull. A client gets all pulls first, and
 * whoever reads too slowly is cut off: nothing is dropped silently, nothing grows.
 */
export class PullEvents {
  readonly #clients = new Map<ServerResponse, Client>();
  readonly #changed = new Set<number>();
  #watch: Disposable | undefined;
  #flush: ReturnType<typeof setTimeout> | undefined;
  #beat: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly deps: { readonly pulls: Pulls; readonly signal: AbortSignal; readonly log: Logger }) {
    deps.signal.addEventListener("abort", () => {
      for (const response of this.#clients.keys()) response.end();
    }, { once: true });
  }

  /** Answers a request with the stream. */
  add(response: ServerResponse): void {
    if (this.#clients.size >= MAX_CLIENTS) {
      response.writeHead(503, { "content-type": "text/plain; charset=utf-8", "retry-after": "5" });
      response.end(`${MAX_CLIENTS} clients watch pulls already\n`);
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.flushHeaders();
    const client = new Client(response, () => this.#remove(response));
    this.#clients.set(response, client);
    this.#watch ??= this.deps.pulls.watch((id) => this.#note(id));
    this.#beat ??= setInterval(() => this.#send(": beat\n\n"), BEAT_MS);
    response.once("close", () => this.#remove(response));
    this.#sendTo(client, this.deps.pulls.list().map(eventOf).join("") || ": no pulls\n\n");
  }

  #remove(response: ServerResponse): void {
    this.#clients.delete(response);
    if (this.#clients.size > 0) return;
    this.#watch?.[Symbol.dispose]();
    clearTimeout(this.#flush);
    clearInterval(this.#beat);
    this.#watch = this.#flush = this.#beat = undefined;
    this.#changed.clear();
  }

  #note(id: number): void {
    this.#changed.add(id);
    this.#flush ??= setTimeout(() => {
      this.#flush = undefined;
      const statuses = [...this.#changed].map((id) => this.deps.pulls.find(id)).filter((pull) => pull !== undefined);
      this.#changed.clear();
      this.#send(statuses.map(eventOf).join(""));
    }, FLUSH_MS);
  }

  #send(text: string): void {
    if (text === "") return;
    for (const client of this.#clients.values()) this.#sendTo(client, text);
  }

  #sendTo(client: Client, text: string): void {
    if (client.send(text)) return;
    this.deps.log.debug("A client of /pulls reads too slowly and was cut off");
  }
}

function eventOf(pull: PullStatus): string {
  return `event: pull\nid: ${pull.id}\ndata: ${JSON.stringify(pullDocument(pull))}\n\n`;
}

/** One listener and what waits for it. */
class Client {
  #waitingBytes = 0;

  constructor(private readonly response: ServerResponse, private readonly leave: () => void) {}

  /** False: it was too slow, and is cut off. */
  send(text: string): boolean {
    const bytes = new TextEncoder().encode(text);
    // One message always fits: a client that has read everything is not slow.
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) {
      this.leave();
      this.response.destroy();
      return false;
    }
    this.#waitingBytes += bytes.length;
    this.response.write(bytes, () => this.#waitingBytes -= bytes.length);
    return true;
  }
}
