import { InvalidArgumentError } from "../../base/errors.ts";

/** What a registry is told about who asks. Plain data: travels to the pull process. */
export type Credentials =
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  /** An OAuth2 refresh token, exchanged at the registry's token service. */
  | { readonly kind: "identity"; readonly token: string }
  /** A Bearer token sent as it is. */
  | { readonly kind: "bearer"; readonly token: string };

/** The AuthConfig of a pull request; empty strings count as absent. */
export interface RequestAuth {
  readonly username: string;
  readonly password: string;
  /** Base64 of `username:password`. */
  readonly auth: string;
  readonly serverAddress: string;
  readonly identityToken: string;
  readonly registryToken: string;
}

/**
 * The credentials of a pull request, for the registry that it names.
 *
 * @param host of the reference; where `serverAddress` names another host, the credentials are not for it
 * @returns undefined for an anonymous pull, `foreign` when the credentials belong to another server
 * @throws InvalidArgumentError when `auth` is not base64 of `user:password`
 */
export function requestCredentials(auth: RequestAuth, host: string): Credentials | undefined | "foreign" {
  const found = anyCredentials(auth);
  if (found === undefined) return undefined;
  if (auth.serverAddress !== "" && registryKey(auth.serverAddress) !== registryKey(host)) return "foreign";
  return found;
}

function anyCredentials(auth: RequestAuth): Credentials | undefined {
  if (auth.registryToken !== "") return { kind: "bearer", token: auth.registryToken };
  if (auth.identityToken !== "") return { kind: "identity", token: auth.identityToken };
  if (auth.username !== "") return { kind: "basic", username: auth.username, password: auth.password };
  return auth.auth === "" ? undefined : decodeBasic(auth.auth, "the request's auth field");
}

/** Decodes base64 of `user:password`. @param where for the error, which never repeats the text */
export function decodeBasic(text: string, where: string): Credentials {
  let decoded: string;
  try {
    decoded = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.fromBase64(text.trim()));
  } catch {
    throw new InvalidArgumentError(`${where} is not valid base64`);
  }
  const colon = decoded.indexOf(":");
  if (colon < 0) throw new InvalidArgumentError(`${where} is not base64 of user:password`);
  // Docker pads the password with NUL bytes.
  const password = decoded.slice(colon + 1).replace(/\0+$/, "");
  return { kind: "basic", username: decoded.slice(0, colon), password };
}

/** The host that a key of auth.json or a server address means, in one spelling. */
export function registryKey(text: string): string {
  const host = text.replace(/^[a-z]+:\/\//i, "").split("/")[0]?.toLowerCase() ?? "";
  return host === "index.docker.io" || host === "registry-1.docker.io" ? "docker.io" : host;
}
