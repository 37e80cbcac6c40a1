import type { Credentials } from "../auth/credentials.ts";
import { Authorizer } from "./authorizer.ts";
import { apiHost } from "./certificates.ts";
import { Exchange, type ExchangeResponse } from "./exchange.ts";
import { isRetriableStatus, kindOfStatus, quoteForeign, RegistryError } from "./registry_error.ts";
import { parseRetryAfter, type RetryPolicy } from "./retry.ts";
import type { ByteReader } from "./transport.ts";
import type { Transports } from "./transports.ts";

export interface RegistryHostOptions {
  /** `host[:port]`; `docker.io` is asked at its API's own host. */
  readonly host: string;
  readonly insecure: boolean;
  /** It speaks plain HTTP, and nothing else is tried. */
  readonly plain?: true;
  readonly credentials?: Credentials;
  readonly transports: Transports;
  readonly userAgent?: string;
  readonly stallTimeoutMs?: number;
  /**
   * Longest wait for its very first answer, and how long it may send next to nothing; milliseconds. Default: the stall's
   * for the first, any time for the second.
   */
  readonly patienceMs?: number;
  readonly retry?: RetryPolicy;
  /** Why no credentials were found, for the error when it wants some. */
  readonly credentialProblem?: string;
}

export interface HostRequest {
  readonly method: "GET" | "HEAD";
  /** From `/v2/` on. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** `repository:<path>:pull`. */
  readonly scope: string;
  readonly signal: AbortSignal;
  /** The answer is checked against a digest by whoever asks. Default false. */
  readonly verifiedByDigest?: boolean;
}

const DEFAULT_USER_AGENT = "cri-o";
/** How long a server that may speak plain HTTP is given to answer a TLS greeting that it does not understand. */
const HTTPS_PROBE_MS = 10_000;
const MAX_ERROR_BODY_BYTES = 64 * 1024;
const MAX_SHOWN_ERRORS = 3;

/**
 * One registry as one client sees it: finds out how it is spoken to (HTTPS, or HTTP where `insecure` allows it) and how
 * it wants to be authorized, and keeps both.
 */
export class RegistryHost {
  readonly #exchange: Exchange;
  readonly #authorizer: Authorizer;
  readonly #host: string;
  #origin: string | undefined;
  #greeted = false;

  constructor(private readonly options: RegistryHostOptions) {
    const { host, insecure, transports, credentials, stallTimeoutMs, userAgent = DEFAULT_USER_AGENT } = options;
    this.#host = apiHost(host);
    if (options.plain === true) this.#origin = `http://${host}`;
    const common = { transports, insecure, userAgent, registry: host };
    this.#exchange = new Exchange({
      ...common,
      ...(stallTimeoutMs === undefined ? {} : { stallTimeoutMs }),
      ...(options.patienceMs === undefined ? {} : { slowAfterMs: options.patienceMs }),
    });
    this.#authorizer = new Authorizer({
      origin: () => this.origin,
      exchange: this.#exchange,
      ...(credentials === undefined ? {} : { credentials }),
    });
  }

  /** `https://host[:port]`, or http once that is known to be what it speaks. */
  get origin(): string {
    return this.#origin ?? `https://${this.#host}`;
  }

  /** Another host, asked with the same limits and without credentials. */
  anonymous(host: string, speaks: "plain" | "tls"): RegistryHost {
    const { credentials: _credentials, credentialProblem: _problem, plain: _plain, ...rest } = this.options;
    return new RegistryHost({ ...rest, host, insecure: false, ...(speaks === "plain" ? { plain: true } : {}) });
  }

  /** How requests to it are retried. */
  get retry(): RetryPolicy {
    return this.options.retry ?? {};
  }

  /**
   * Sends one request, authorized as the registry wants it. Any status but a 401 that can be answered comes back.
   *
   * @throws RegistryError when nothing answers
   */
  async send(request: HostRequest): Promise<ExchangeResponse> {
    await this.#greet(request.signal);
    const { scope, signal } = request;
    const first = await this.#sendOnce(request, await this.#authorizer.header(scope, signal));
    if (first.status !== 401 || first.finalOrigin !== this.origin) return first;
    if (!this.#authorizer.learn(first.header("www-authenticate"), scope)) return first;
    await first.body[Symbol.asyncDispose]();
    return await this.#sendOnce(request, await this.#authorizer.header(scope, signal));
  }

  /** The error that an answer means; reads a piece of its body and disposes it. */
  async failure(response: ExchangeResponse, what: string): Promise<RegistryError> {
    const { status } = response;
    const words = await errorBody(response.body);
    const [text, ...codes] = [words.text, ...words.codes].map((one) => this.#authorizer.redact(one));
    const retryAfterMs = parseRetryAfter(response.header("retry-after"), Date.now());
    const reason = text === undefined || text === "" ? "" : `: ${text}`;
    return new RegistryError(
      `${what}: ${response.finalOrigin} answered ${status}${hint(status, this.options)}${reason}`,
      {
        kind: kindOfStatus(status),
        status,
        codes,
        retriable: isRetriableStatus(status),
        endpoint: response.finalOrigin,
        ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      },
    );
  }

  /**
   * With credentials at hand the registry is asked first how it wants them: some answer 404 in place of 401 for what an
   * anonymous client may not see.
   */
  async #greet(signal: AbortSignal): Promise<void> {
    const { credentials } = this.options;
    if (this.#greeted || credentials === undefined || credentials.kind === "registryToken") return;
    const response = await this.#sendOnce({ method: "GET", path: "/v2/", scope: "", signal }, undefined);
    await response.body[Symbol.asyncDispose]();
    if (response.status === 401) this.#authorizer.learn(response.header("www-authenticate"), "");
    this.#greeted = true;
  }

  async #sendOnce(request: HostRequest, authorization: string | undefined): Promise<ExchangeResponse> {
    const { path, ...rest } = request;
    const headers = { ...request.headers, ...(authorization === undefined ? {} : { authorization }) };
    const send = (origin: string, headTimeoutMs?: number): Promise<ExchangeResponse> =>
      this.#exchange.send({
        ...rest,
        url: new URL(`${origin}${path}`),
        headers,
        ...(headTimeoutMs === undefined ? {} : { headTimeoutMs }),
      });
    if (this.#origin !== undefined) return await send(this.#origin);
    const { patienceMs, insecure } = this.options;
    const secure = `https://${this.#host}`;
    try {
      const response = await send(
        secure,
        insecure ? Math.min(HTTPS_PROBE_MS, patienceMs ?? Infinity) : patienceMs,
      );
      this.#origin = secure;
      return response;
    } catch (error) {
      if (!this.options.insecure || !(error instanceof RegistryError) || error.status !== undefined) throw error;
      return await this.#sendPlain(send, error);
    }
  }

  async #sendPlain(
    send: (origin: string, headTimeoutMs?: number) => Promise<ExchangeResponse>,
    secureError: RegistryError,
  ): Promise<ExchangeResponse> {
    const plain = `http://${this.#host}`;
    try {
      const response = await send(plain, this.options.patienceMs);
      this.#origin = plain;
      return response;
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      throw new RegistryError(`${secureError.message}; ${error.message}`, error.failure, { cause: secureError });
    }
  }
}

function hint(status: number, options: RegistryHostOptions): string {
  if (status !== 401 && status !== 403) return "";
  if (options.credentials !== undefined) return " (with the credentials given)";
  const { credentialProblem: problem } = options;
  return problem === undefined ? " (no credentials were given)" : ` (no credentials were found: ${problem})`;
}

/** Codes and messages of the distribution specification's error document, as far as the body is one. */
async function errorBody(body: ByteReader): Promise<{ codes: readonly string[]; text: string }> {
  await using reader = body;
  const decoder = new TextDecoder();
  let raw = "";
  let seenBytes = 0;
  try {
    for (let piece = await reader.read(); piece !== undefined; piece = await reader.read()) {
      raw += decoder.decode(piece.subarray(0, MAX_ERROR_BODY_BYTES - seenBytes), { stream: true });
      seenBytes += piece.length;
      if (seenBytes >= MAX_ERROR_BODY_BYTES) break;
    }
  } catch {
    // The status is known; half of an error document adds nothing to it.
  }
  return parseErrors(raw);
}

function parseErrors(raw: string): { codes: readonly string[]; text: string } {
  let document: unknown;
  try {
    document = JSON.parse(raw);
  } catch {
    return { codes: [], text: raw.trimStart().startsWith("<") ? "" : quoteForeign(raw) };
  }
  const errors = (Object(document) as Record<string, unknown>)["errors"];
  if (!Array.isArray(errors)) return { codes: [], text: "" };
  const codes: string[] = [];
  const texts: string[] = [];
  for (const entry of errors.slice(0, MAX_SHOWN_ERRORS)) {
    const { code, message } = Object(entry) as Record<string, unknown>;
    if (typeof code === "string") codes.push(quoteForeign(code));
    const words = [code, message].filter((word) => typeof word === "string" && word !== "");
    if (words.length > 0) texts.push(quoteForeign(words.join(" ")));
  }
  return { codes, text: texts.join(", ") };
}
