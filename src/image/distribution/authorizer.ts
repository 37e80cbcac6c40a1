/** Answers a registry's challenges: Basic, or Bearer tokens from its token service, kept per scope. */
import type { Credentials } from "../auth/credentials.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import { isRetriableStatus, kindOfStatus, quoteForeign, redactedUrl, RegistryError } from "./registry_error.ts";
import { readCapped } from "./transport.ts";
import type { Exchange } from "./exchange.ts";

export interface AuthorizerOptions {
  /** `https://registry.example`, for errors; an http token service is refused for an https registry. */
  readonly origin: () => string;
  readonly credentials?: Credentials;
  readonly exchange: Exchange;
  /** Milliseconds of a clock that never jumps. Default performance.now. */
  readonly nowMs?: () => number;
}

interface Token {
  readonly value: string;
  readonly expiresAtMs: number;
}

const MAX_TOKEN_BYTES = 1024 * 1024;
/** The lifetime of a token that does not say; the distribution specification's default. */
const DEFAULT_LIFETIME_SECONDS = 60;
/** A token is renewed this long before its end, so that it does not expire on its way. */
const RENEW_EARLY_MS = 5_000;
const CLIENT_ID = "cri-o";
/** A line break could add headers; the HTTP library would refuse it with the token in its message. */
const HEADER_SAFE = /^[\x21-\x7e]+$/;
/** Shorter ones are parts of words. */
const MIN_SECRET_CHARS = 4;

/** Keeps what one registry host, asked with one set of credentials, taught us. */
export class Authorizer {
  #challenge: Challenge | undefined;
  readonly #tokens = new Map<string, Token>();

  constructor(private readonly options: AuthorizerOptions) {}

  /** The Authorization header for a scope, as far as it is known how; asks the token service when it has to. */
  async header(scope: string, signal: AbortSignal): Promise<string | undefined> {
    const { credentials, nowMs = monotonic } = this.options;
    if (credentials?.kind === "registryToken") return this.#given(credentials.token);
    if (this.#challenge === undefined) return undefined;
    if (this.#challenge.scheme === "basic") return credentials?.kind === "basic" ? basic(credentials) : undefined;
    const known = this.#tokens.get(scope);
    if (known !== undefined && known.expiresAtMs - RENEW_EARLY_MS > nowMs()) return `Bearer ${known.value}`;
    const token = await this.#fetchToken(scope, { challenge: this.#challenge, signal });
    this.#tokens.set(scope, token);
    return `Bearer ${token.value}`;
  }

  /** Foreign text without what was said in confidence: some servers repeat the request in their errors. */
  redact(text: string): string {
    const { credentials } = this.options;
    const own = credentials === undefined
      ? []
      : credentials.kind === "basic"
      ? [credentials.password, basic(credentials).slice("Basic ".length)]
      : [credentials.token];
    const issued = [...this.#tokens.values()].map(({ value }) => value);
    const secrets = [...own, ...issued].filter(({ length }) => length >= MIN_SECRET_CHARS);
    return secrets.reduce((redacted, secret) => redacted.replaceAll(secret, "…"), text);
  }

  #given(token: string): string {
    if (HEADER_SAFE.test(token)) return `Bearer ${token}`;
    const endpoint = this.options.origin();
    const failure = { kind: "permission_denied" as const, retriable: false, endpoint };
    throw new RegistryError(`the token given for ${endpoint} has characters that no token has`, failure);
  }

  /**
   * Learns from a 401.
   *
   * @returns whether asking again makes sense: the header would be another one now
   */
  learn(wwwAuthenticate: string | undefined, scope: string): boolean {
    const { credentials } = this.options;
    if (credentials?.kind === "registryToken") return false;
    const challenges = parseChallenges(wwwAuthenticate ?? "");
    const bearer = challenges.find((one) => one.scheme === "bearer" && one.parameters.has("realm"));
    const basicChallenge = challenges.find((one) => one.scheme === "basic");
    const chosen = bearer ?? (credentials?.kind === "basic" ? basicChallenge : undefined);
    if (chosen === undefined) return false;
    this.#challenge = chosen;
    this.#tokens.delete(scope);
    return true;
  }

  async #fetchToken(
    scope: string,
    how: { readonly challenge: Challenge; readonly signal: AbortSignal },
  ): Promise<Token> {
    const { challenge, signal } = how;
    const { credentials, exchange, nowMs = monotonic } = this.options;
    const realm = this.#realm(challenge);
    const service = challenge.parameters.get("service");
    const sentAtMs = nowMs();
    const request = credentials?.kind === "identityToken"
      ? refreshRequest(realm, { service, scope, token: credentials.token })
      : queryRequest(realm, { service, scope, ...(credentials?.kind === "basic" ? { credentials } : {}) });
    const response = await exchange.send({ ...request, signal });
    await using body = response.body;
    const endpoint = realm.origin;
    const bytes = await readCapped(body, { maxBytes: MAX_TOKEN_BYTES, what: "token answer", endpoint });
    if (response.status !== 200) throw tokenError(realm, { status: response.status, origin: this.options.origin() });
    return parseToken(bytes, { endpoint, sentAtMs });
  }

  #realm(challenge: Challenge): URL {
    const origin = this.options.origin();
    const realm = URL.parse(challenge.parameters.get("realm") ?? "");
    const failure = { kind: "permission_denied" as const, retriable: false, endpoint: origin };
    if (realm === null || (realm.protocol !== "https:" && realm.protocol !== "http:")) {
      throw new RegistryError(`${origin} names no usable token service`, failure);
    }
    if (origin.startsWith("https:") && realm.protocol === "http:") {
      throw new RegistryError(
        `${origin} sends its clients to ${redactedUrl(realm)} for tokens: refused, because that is not encrypted`,
        failure,
      );
    }
    return realm;
  }
}

function monotonic(): number {
  return performance.now();
}

function basic(credentials: { readonly username: string; readonly password: string }): string {
  return `Basic ${new TextEncoder().encode(`${credentials.username}:${credentials.password}`).toBase64()}`;
}

interface TokenRequest {
  readonly method: "GET" | "POST";
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

function queryRequest(
  realm: URL,
  query: {
    readonly service: string | undefined;
    readonly scope: string;
    readonly credentials?: Credentials & { readonly kind: "basic" };
  },
): TokenRequest {
  const url = new URL(realm);
  if (query.service !== undefined) url.searchParams.set("service", query.service);
  if (query.scope !== "") url.searchParams.set("scope", query.scope);
  if (query.credentials === undefined) return { method: "GET", url, headers: {} };
  url.searchParams.set("account", query.credentials.username);
  return { method: "GET", url, headers: { authorization: basic(query.credentials) } };
}

function refreshRequest(
  realm: URL,
  query: { readonly service: string | undefined; readonly scope: string; readonly token: string },
): TokenRequest {
  const form = new URLSearchParams({
    grant_type: "refresh_token",
    client_id: CLIENT_ID,
    scope: query.scope,
    refresh_token: query.token,
    ...(query.service === undefined ? {} : { service: query.service }),
  });
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  return { method: "POST", url: new URL(realm), headers, body: form.toString() };
}

function tokenError(realm: URL, answer: { readonly status: number; readonly origin: string }): RegistryError {
  const { status, origin } = answer;
  const denied = status === 400 || status === 401 || status === 403;
  const hint = denied ? ": the credentials were not accepted, or give no access" : "";
  return new RegistryError(`token service ${redactedUrl(realm)} of ${origin} answered ${status}${hint}`, {
    kind: denied ? "permission_denied" : kindOfStatus(status),
    status,
    retriable: isRetriableStatus(status),
    endpoint: realm.origin,
  });
}

function parseToken(bytes: Uint8Array, from: { readonly endpoint: string; readonly sentAtMs: number }): Token {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    document = undefined;
  }
  const { token, access_token: accessToken, expires_in: expiresIn } = Object(document) as Record<string, unknown>;
  const value = [token, accessToken].find((one) => typeof one === "string" && one !== "");
  if (typeof value !== "string" || !HEADER_SAFE.test(value)) {
    const message = `token service ${quoteForeign(from.endpoint)} answered without a usable token`;
    throw new RegistryError(message, { kind: "permission_denied", retriable: false, endpoint: from.endpoint });
  }
  const seconds = typeof expiresIn === "number" && expiresIn > 0 ? expiresIn : DEFAULT_LIFETIME_SECONDS;
  return { value, expiresAtMs: from.sentAtMs + Math.max(seconds, DEFAULT_LIFETIME_SECONDS) * 1000 };
}
