import { abortable } from "../../base/keyed_mutex.ts";
import { redactedUrl, RegistryError } from "./registry_error.ts";
import type { ByteReader, HttpRequest, HttpResponse } from "./transport.ts";
import type { Transports } from "./transports.ts";

/** Longest wait for the status line of an answer, and for the next byte of a body. */
export const STALL_TIMEOUT_MS = 60_000;
const MAX_REDIRECTS = 10;
/** A layer of 100 MB would take a day. */
const MIN_BYTES_PER_SECOND = 1024;

export interface ExchangeOptions {
  readonly transports: Transports;
  readonly insecure: boolean;
  /** Default {@link STALL_TIMEOUT_MS}. */
  readonly stallTimeoutMs?: number;
  /** A body that comes slower than 1 KiB/s while it is waited for this long is given up, milliseconds. Default: none is. */
  readonly slowAfterMs?: number;
  /** Sent as User-Agent. */
  readonly userAgent: string;
  /** `host[:port]` of the registry that all of this is for: its certificates count for its token service too. */
  readonly registry?: string;
}

export interface ExchangeRequest extends HttpRequest {
  /**
   * Whether a redirect from https to http may be followed: when what comes back is checked against a digest. Default
   * false.
   */
  readonly verifiedByDigest?: boolean;
  /** Longest wait for the status line, in place of the exchange's own limit. */
  readonly headTimeoutMs?: number;
}

/** An answer, and the origin that gave it in the end. */
export interface ExchangeResponse extends HttpResponse {
  readonly finalOrigin: string;
}

/**
 * Requests with a time limit for silence and redirects followed by hand: Authorization is sent to the origin (scheme,
 * host and port) that it was meant for and to no other.
 */
export class Exchange {
  constructor(private readonly options: ExchangeOptions) {}

  /** @throws RegistryError when nothing usable answers; the signal's reason */
  async send(request: ExchangeRequest): Promise<ExchangeResponse> {
    const { insecure } = this.options;
    let { url, method, headers, body } = request;
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const { headTimeoutMs } = request;
      const response = await this.#once({
        method,
        url,
        headers,
        signal: request.signal,
        ...(body === undefined ? {} : { body }),
        ...(headTimeoutMs === undefined ? {} : { headTimeoutMs }),
      });
      let location: URL | undefined;
      try {
        location = redirectTarget(response, url);
      } catch (error) {
        await response.body[Symbol.asyncDispose]();
        throw error;
      }
      if (location === undefined) return { ...response, finalOrigin: url.origin };
      await response.body[Symbol.asyncDispose]();
      if (
        url.protocol === "https:" && location.protocol === "http:" && request.verifiedByDigest !== true && !insecure
      ) {
        throw failed(
          url,
          `redirects from https to ${redactedUrl(location)}: refused, because nothing protects the answer`,
        );
      }
      if (location.origin !== url.origin) headers = withoutSecrets(headers);
      if (response.status === 303 || (method === "POST" && (response.status === 301 || response.status === 302))) {
        method = method === "HEAD" ? "HEAD" : "GET";
        body = undefined;
      } else if (body !== undefined && location.origin !== url.origin) {
        // The body of a POST is a refresh token.
        throw failed(url, `redirects a token request to another host, ${location.host}: refused`);
      }
      url = location;
    }
    throw failed(request.url, `redirects more than ${MAX_REDIRECTS} times`);
  }

  async #once(request: ExchangeRequest): Promise<HttpResponse> {
    const { transports, insecure, stallTimeoutMs = STALL_TIMEOUT_MS, userAgent, registry } = this.options;
    const transport = await transports.for(request.url, { insecure, ...(registry === undefined ? {} : { registry }) });
    request.signal.throwIfAborted();
    // One controller for the whole exchange: it outlives the head, so that the body can be watched too.
    const watch = new Watch(request, stallTimeoutMs);
    const headers = { "user-agent": userAgent, "accept-encoding": "identity", ...request.headers };
    try {
      const response = await watch.guard(
        transport.send({ ...request, headers, signal: watch.signal }),
        request.headTimeoutMs,
      );
      const { slowAfterMs } = this.options;
      const pace = slowAfterMs === undefined ? undefined : new Pace(request.url, slowAfterMs);
      return {
        status: response.status,
        header: response.header,
        body: new WatchedBody(response.body, { watch, pace }),
      };
    } catch (error) {
      watch[Symbol.dispose]();
      throw error;
    }
  }
}

/** Aborts an exchange when the caller goes away, or when a guarded step takes too long. */
class Watch implements Disposable {
  readonly #controller = new AbortController();
  readonly #onAbort: () => void;

  constructor(private readonly request: HttpRequest, private readonly timeoutMs: number) {
    this.#onAbort = (): void => this.#controller.abort(request.signal.reason);
    request.signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  async guard<T>(step: Promise<T>, timeoutMs = this.timeoutMs): Promise<T> {
    const { url } = this.request;
    const timer = setTimeout(() => {
      const message = `${redactedUrl(url)}: no byte came for ${timeoutMs / 1000} s`;
      this.#controller.abort(
        new RegistryError(message, { kind: "registry_unavailable", retriable: true, endpoint: url.origin }),
      );
    }, timeoutMs);
    try {
      return await abortable(step, this.#controller.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    this.request.signal.removeEventListener("abort", this.#onAbort);
  }
}

class WatchedBody implements ByteReader {
  constructor(
    private readonly body: ByteReader,
    private readonly by: { readonly watch: Watch; readonly pace: Pace | undefined },
  ) {}

  async read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { watch, pace } = this.by;
    const beganMs = performance.now();
    const piece = await watch.guard(this.body.read());
    if (piece !== undefined) pace?.note(piece.length, performance.now() - beganMs);
    return piece;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.by.watch[Symbol.dispose]();
    await this.body[Symbol.asyncDispose]();
  }
}

/** Finds what comes too slowly. The time that the reader takes for itself does not count. */
class Pace {
  #bytes = 0;
  #waitedMs = 0;

  constructor(private readonly url: URL, private readonly windowMs: number) {}

  /** @throws RegistryError, not to be retried, at the end of a window in which too little came */
  note(bytes: number, waitedMs: number): void {
    this.#bytes += bytes;
    this.#waitedMs += waitedMs;
    if (this.#waitedMs < this.windowMs) return;
    const [came, seconds] = [this.#bytes, this.#waitedMs / 1000];
    this.#bytes = 0;
    this.#waitedMs = 0;
    if (came / seconds >= MIN_BYTES_PER_SECOND) return;
    const message = `${redactedUrl(this.url)}: too slow, ${came} bytes came in ${seconds.toFixed(1)} s`;
    throw new RegistryError(message, {
      kind: "registry_unavailable",
      retriable: false,
      endpoint: this.url.origin,
    });
  }
}

function redirectTarget(response: HttpResponse, url: URL): URL | undefined {
  if (![301, 302, 303, 307, 308].includes(response.status)) return undefined;
  const header = response.header("location");
  const location = header === undefined ? null : URL.parse(header, url);
  if (location === null || (location.protocol !== "https:" && location.protocol !== "http:")) {
    throw failed(url, `answered ${response.status} without a usable Location`);
  }
  // User and password in a Location are never sent on.
  location.username = "";
  location.password = "";
  return location;
}

function withoutSecrets(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.toLowerCase() !== "authorization"));
}

function failed(url: URL, reason: string): RegistryError {
  const message = `${redactedUrl(url)} ${reason}`;
  return new RegistryError(message, { kind: "internal", retriable: false, endpoint: url.origin });
}
