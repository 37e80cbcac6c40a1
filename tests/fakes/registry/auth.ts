import type { HttpReply, HttpRequest } from "./http.ts";

export interface Account {
  readonly username: string;
  readonly password: string;
}

export interface BasicAuth {
  readonly kind: "basic";
  readonly account: Account;
}

export interface BearerAuth {
  readonly kind: "bearer";
  /** Who gets a token by Basic credentials or the OAuth2 password grant. */
  readonly account?: Account;
  /** Who gets a token by the OAuth2 refresh grant. */
  readonly identityToken?: string;
  /** Whether a token request without credentials gets pull rights. Default: only when no account is set. */
  readonly anonymous?: boolean;
  /** Which of the two equivalent fields the answer has. Default `token`. */
  readonly field?: "token" | "access_token";
  /** `expires_in` of the answer, and how long tokens are honoured. Default 60. */
  readonly expiresInSeconds?: number;
}

export type RegistryAuth = BasicAuth | BearerAuth;

interface Token {
  readonly scopes: readonly string[];
  readonly expiresAtMs: number;
}

/** Basic and Bearer checks of one registry, and its token endpoint. */
export class Gate {
  readonly #tokens = new Map<string, Token>();

  constructor(
    private readonly auth: RegistryAuth | undefined,
    private readonly place: { realm: () => string; service: string },
  ) {}

  /** @returns undefined when the request may pass, else the 401 */
  check(request: HttpRequest): HttpReply | undefined {
    if (this.auth === undefined) return undefined;
    const header = request.headers.get("authorization") ?? "";
    if (this.auth.kind === "basic") {
      if (sameAccount(header, this.auth.account)) return undefined;
      return refuse('Basic realm="fake"', "UNAUTHORIZED");
    }
    const scope = scopeOf(request.path);
    const challenge = `Bearer realm="${this.place.realm()}",service="${this.place.service}"`;
    const withScope = scope === undefined ? challenge : `${challenge},scope="${scope}"`;
    const token = this.#tokens.get(header.replace(/^Bearer /i, ""));
    if (token === undefined || token.expiresAtMs < Date.now()) return refuse(withScope, "UNAUTHORIZED");
    if (scope === undefined || token.scopes.includes(scope)) return undefined;
    return refuse(`${withScope},error="insufficient_scope"`, "DENIED");
  }

  /** The token endpoint: GET with Basic or nothing, POST with an OAuth2 form. */
  issue(request: HttpRequest): HttpReply {
    if (this.auth?.kind !== "bearer") return json(404, {});
    const form = request.method === "POST"
      ? new URLSearchParams(new TextDecoder().decode(request.body))
      : request.query;
    if (form.get("service") !== this.place.service) return json(400, { error: "wrong service" });
    if (!this.#mayHaveToken(request, form)) return json(401, { details: "incorrect username or password" });
    const { field = "token", expiresInSeconds = 60 } = this.auth;
    const scopes = form.getAll("scope").flatMap((scope) => scope.split(" ")).flatMap(grants);
    const token = crypto.randomUUID();
    this.#tokens.set(token, { scopes, expiresAtMs: Date.now() + expiresInSeconds * 1000 });
    return json(200, { [field]: token, expires_in: expiresInSeconds, issued_at: new Date().toISOString() });
  }

  /** Forgets all tokens, as if they had expired. */
  expireTokens(): void {
    this.#tokens.clear();
  }

  #mayHaveToken(request: HttpRequest, form: URLSearchParams): boolean {
    if (this.auth?.kind !== "bearer") return false;
    const { account, identityToken, anonymous = account === undefined && identityToken === undefined } = this.auth;
    if (request.method === "POST" && form.get("grant_type") === "refresh_token") {
      return identityToken !== undefined && form.get("refresh_token") === identityToken;
    }
    if (request.method === "POST") {
      return account !== undefined && form.get("username") === account.username &&
        form.get("password") === account.password;
    }
    const header = request.headers.get("authorization");
    if (header === undefined) return anonymous;
    return account !== undefined && sameAccount(header, account);
  }
}

function sameAccount(header: string, account: Account): boolean {
  const utf8 = new TextEncoder().encode(`${account.username}:${account.password}`);
  return header === `Basic ${utf8.toBase64()}`;
}

/** The repository of `/v2/<name>/(manifests|blobs|tags)/…` as a pull scope. */
function scopeOf(path: string): string | undefined {
  const name = /^\/v2\/(.+)\/(?:manifests|blobs|tags)\//.exec(path)?.[1];
  return name === undefined ? undefined : `repository:${name}:pull`;
}

/** `repository:x:pull,push` grants `repository:x:pull`. */
function grants(scope: string): string[] {
  const match = /^(repository:.+):([a-z*,]+)$/.exec(scope);
  return match?.[2]?.split(",").includes("pull") === true ? [`${match[1]}:pull`] : [];
}

function refuse(challenge: string, code: string): HttpReply {
  const reply = json(401, { errors: [{ code, message: "authentication required" }] });
  return { ...reply, headers: { ...reply.headers, "www-authenticate": challenge } };
}

/** A JSON answer. */
export function json(status: number, document: unknown): HttpReply {
  const body = new TextEncoder().encode(JSON.stringify(document));
  return { status, headers: { "content-type": "application/json" }, body };
}
