/** `GET /pulls`: what is being pulled, as one document or as server-sent events. */
import type { ServerResponse } from "node:http";
import type { Logger } from "../base/logger.ts";
import { EventClients } from "./_event_clients.ts";
import type { PullStatus } from "../image/progress/pull_status.ts";
import type { Pulls } from "./types.ts";

/** Changes are told this often at most. */
const FLUSH_MS = 200;

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

/** Sends each change of a pull to all clients: `event: pull` with the whole pull. A client gets all pulls first. */
export class PullEvents {
  readonly #clients: EventClients;
  readonly #changed = new Set<number>();
  #flush: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly deps: { readonly pulls: Pulls; readonly signal: AbortSignal; readonly log: Logger }) {
    this.#clients = new EventClients({ ...deps, path: "/pulls", watch: () => this.#start() });
  }

  /** Answers a request with the stream. */
  add(response: ServerResponse): void {
    this.#clients.add(response, () => this.deps.pulls.list().map(eventOf).join("") || ": no pulls\n\n");
  }

  #start(): Disposable {
    const watch = this.deps.pulls.watch((id) => this.#note(id));
    return {
      [Symbol.dispose]: () => {
        watch[Symbol.dispose]();
        clearTimeout(this.#flush);
        this.#flush = undefined;
        this.#changed.clear();
      },
    };
  }

  #note(id: number): void {
    this.#changed.add(id);
    this.#flush ??= setTimeout(() => {
      this.#flush = undefined;
      const statuses = [...this.#changed].map((id) => this.deps.pulls.find(id)).filter((pull) => pull !== undefined);
      this.#changed.clear();
      this.#clients.send(statuses.map(eventOf).join(""));
    }, FLUSH_MS);
  }
}

function eventOf(pull: PullStatus): string {
  return `event: pull\nid: ${pull.id}\ndata: ${JSON.stringify(pullDocument(pull))}\n\n`;
}
