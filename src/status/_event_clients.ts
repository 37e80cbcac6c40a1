/** Clients of a stream of server-sent events. */
import type { ServerResponse } from "node:http";
import type { Logger } from "../base/logger.ts";

/** A comment is sent this often, so that a client that is gone is noticed. */
const BEAT_MS = 15_000;
/** What may wait for one client, bytes; one that takes longer to read is cut off. */
const MAX_WAITING_BYTES = 256 * 1024;
const MAX_CLIENTS = 16;

export interface EventClientsDeps {
  /** The path, for messages. */
  readonly path: string;
  /** Aborts when the daemon stops: all streams end. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** The first client came: events are wanted from now on. Disposed when the last one has left. */
  watch(): Disposable;
}

/** Whoever reads too slowly is cut off: nothing is dropped silently, nothing grows. */
export class EventClients {
  readonly #clients = new Map<ServerResponse, Client>();
  #watch: Disposable | undefined;
  #beat: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly deps: EventClientsDeps) {
    deps.signal.addEventListener("abort", () => {
      for (const response of [...this.#clients.keys()]) {
        // A slow client keeps its response open for a while yet, and to write after the end is an error that ends the process.
        this.#remove(response);
        response.end();
      }
    }, { once: true });
  }

  /** Answers a request with the stream; `first` is what this client is told at once. */
  add(response: ServerResponse, first: () => string): void {
    const { path, signal } = this.deps;
    if (signal.aborted) {
      response.writeHead(503).end();
      return;
    }
    if (this.#clients.size >= MAX_CLIENTS) {
      response.writeHead(503, { "content-type": "text/plain; charset=utf-8", "retry-after": "5" });
      response.end(`${MAX_CLIENTS} clients watch ${path} already\n`);
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.flushHeaders();
    const client = new Client(response, () => this.#remove(response));
    this.#clients.set(response, client);
    this.#watch ??= this.deps.watch();
    this.#beat ??= setInterval(() => this.send(": beat\n\n"), BEAT_MS);
    response.once("close", () => this.#remove(response));
    this.#sendTo(client, first());
  }

  /** Tells all of them. */
  send(text: string): void {
    if (text === "") return;
    for (const client of this.#clients.values()) this.#sendTo(client, text);
  }

  #remove(response: ServerResponse): void {
    this.#clients.delete(response);
    if (this.#clients.size > 0) return;
    this.#watch?.[Symbol.dispose]();
    clearInterval(this.#beat);
    this.#watch = this.#beat = undefined;
  }

  #sendTo(client: Client, text: string): void {
    if (client.send(text)) return;
    this.deps.log.debug(`A client of ${this.deps.path} reads too slowly and was cut off`);
  }
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
