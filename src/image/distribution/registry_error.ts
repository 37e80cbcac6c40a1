import { type ErrorKind, PodError } from "../../base/errors.ts";

/** Longest piece of a registry's own words that an error repeats. */
const MAX_DETAIL_CHARS = 300;

/** What a failed exchange with a registry left behind. */
export interface RegistryFailure {
  readonly kind: ErrorKind;
  /** HTTP status, when there was an answer. */
  readonly status?: number;
  /** The registry's error codes, such as `MANIFEST_UNKNOWN`. */
  readonly codes?: readonly string[];
  /** Whether the same request may succeed later. */
  readonly retriable: boolean;
  /** `https://host[:port]`, never with credentials or a query. */
  readonly endpoint: string;
  /** What the server asked to be left alone for. */
  readonly retryAfterMs?: number;
}

/** A registry, its token service or the way to it failed. */
export class RegistryError extends PodError {
  override readonly kind: ErrorKind;
  readonly status: number | undefined;
  readonly codes: readonly string[];
  readonly retriable: boolean;
  readonly endpoint: string;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, readonly failure: RegistryFailure, options?: ErrorOptions) {
    super(message, options);
    this.kind = failure.kind;
    this.status = failure.status;
    this.codes = failure.codes ?? [];
    this.retriable = failure.retriable;
    this.endpoint = failure.endpoint;
    this.retryAfterMs = failure.retryAfterMs;
  }
}

/** The kind of error that an HTTP status of a registry means. */
export function kindOfStatus(status: number): ErrorKind {
  if (status === 401 || status === 403) return "permission_denied";
  if (status === 404) return "not_found";
  return isRetriableStatus(status) ? "unavailable" : "internal";
}

/** Statuses after which the same request may succeed. */
export function isRetriableStatus(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501 && status !== 505);
}

/** Foreign text for an error message: one line, without control characters, cut. */
export function quoteForeign(text: string): string {
  // deno-lint-ignore no-control-regex -- taking control characters out is the point
  const line = text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ").trim();
  return line.length > MAX_DETAIL_CHARS ? `${line.slice(0, MAX_DETAIL_CHARS)}…` : line;
}

/** A URL without what may be secret: user, password, query, fragment. */
export function redactedUrl(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}${url.search === "" ? "" : "?…"}`;
}
