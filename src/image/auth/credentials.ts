import { InvalidArgumentError } from "../../base/errors.ts";

/** What a registry is told about who asks. Plain data: travels to the pull process. */
export type Credentials =
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  /** An OAuth2 refresh token, exchanged at the registry's token service. */
  | { readonly kind: "identityToken"; readonly token: string }
  /** A Bearer token sent as it is. */
  | { readonly kind: "registryToken"; readonly token: string };

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
  const [place = ""] = text.replace(/^[a-z]+:\/\//i, "").split("/");
  // User and password of a URL are neither compared nor shown.
  const host = place.slice(place.lastIndexOf("@") + 1).toLowerCase();
  return host === "index.docker.io" || host === "registry-1.docker.io" ? "docker.io" : host;
}
