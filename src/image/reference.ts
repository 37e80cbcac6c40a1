/**
 * Image references, parsed and normalised as the field does (grammar of github.com/distribution/reference):
 * `busybox` is `docker.io/library/busybox`, a first component counts as a host only when it has a dot, a colon, an
 * upper-case letter, or is `localhost`.
 *
 * @module
 */
import { InvalidArgumentError } from "../base/errors.ts";
import { type Digest, parseDigest } from "../base/ids.ts";

declare const brand: unique symbol;

/** A full repository name with its host: `docker.io/library/busybox`. */
export type RepositoryName = string & { readonly [brand]: "RepositoryName" };
/** A tag: a word character, then up to 127 of letters, digits, `_`, `.`, `-`. */
export type Tag = string & { readonly [brand]: "Tag" };

/** A normalised reference. Without tag and digest it names a repository only. */
export interface ImageReference {
  readonly repository: RepositoryName;
  readonly tag?: Tag;
  readonly digest?: Digest;
}

/** The registry that a name without a host means after normalisation. */
export const DEFAULT_DOMAIN = "docker.io";
const DEFAULT_NAMESPACE = "library";
const DEFAULT_TAG = "latest" as Tag;
/** Longest repository path (without host) that registries of the field accept. */
const MAX_PATH_LENGTH = 255;
/** Longest text that is looked at: host 253 + port + path 255 + tag 128 + sha512 digest, rounded up. */
const MAX_TEXT_LENGTH = 1024;

const PATH_COMPONENT = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const HOST_COMPONENT = /^[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?$/;
const IPV6_HOST = /^\[[0-9a-fA-F:]+\]$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const HEX_64 = /^[0-9a-f]{64}$/;

/**
 * Parses and normalises a reference. A missing tag stays missing: see {@link withDefaultTag}.
 *
 * @throws InvalidArgumentError when it is not a reference, or is 64 hex digits, which would be an image id
 */
export function parseReference(text: string): ImageReference {
  const { name, tag, digest } = split(text);
  if (HEX_64.test(name)) throw bad(text, "64 hex digits are an image id, not a name");
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const hasHost = slash >= 0 && isHost(first);
  const host = hasHost ? first : DEFAULT_DOMAIN;
  const path = hasHost ? name.slice(slash + 1) : name;
  checkHost(text, host);
  const domain = host === "index.docker.io" ? DEFAULT_DOMAIN : host;
  const full = domain === DEFAULT_DOMAIN && !path.includes("/") ? `${DEFAULT_NAMESPACE}/${path}` : path;
  checkPath(text, full);
  return {
    repository: `${domain}/${full}` as RepositoryName,
    ...(tag === undefined ? {} : { tag: parseTag(text, tag) }),
    ...(digest === undefined ? {} : { digest: checkDigest(text, digest) }),
  };
}

/** Whether the text is a syntactically possible short name: one without a host, to be looked up in search registries. */
export function isShortName(text: string): boolean {
  const slash = text.indexOf("/");
  return slash < 0 || !isHost(text.slice(0, slash));
}

/** The host of a repository, with its port if it has one. */
export function domainOf(reference: ImageReference): string {
  return reference.repository.slice(0, reference.repository.indexOf("/"));
}

/** The repository's path below its host. */
export function pathOf(reference: ImageReference): string {
  return reference.repository.slice(reference.repository.indexOf("/") + 1);
}

/** The same reference with `latest` where neither tag nor digest is given. */
export function withDefaultTag(reference: ImageReference): ImageReference {
  if (reference.tag !== undefined || reference.digest !== undefined) return reference;
  return { repository: reference.repository, tag: DEFAULT_TAG };
}

/**
 * What a pull asks the registry for: of a reference with tag and digest only the digest counts, as in CRI-O; of one
 * with neither, `latest`.
 */
export function pullTarget(reference: ImageReference): ImageReference {
  if (reference.digest !== undefined) return { repository: reference.repository, digest: reference.digest };
  return withDefaultTag(reference);
}

/** The canonical text: host, path, tag and digest, as they are. */
export function canonical(reference: ImageReference): string {
  const { repository, tag, digest } = reference;
  return `${repository}${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
}

/** The short text that people type: without `docker.io/` and `library/`, where that reads back as the same. */
export function familiar(reference: ImageReference): string {
  const text = canonical(reference);
  if (domainOf(reference) !== DEFAULT_DOMAIN) return text;
  const components = pathOf(reference).split("/");
  const [first = "", second = ""] = components;
  const rest = text.slice(DEFAULT_DOMAIN.length + 1);
  if (components.length === 2 && first === DEFAULT_NAMESPACE) {
    return HEX_64.test(second) ? text : rest.slice(DEFAULT_NAMESPACE.length + 1);
  }
  return isHost(first) ? text : rest;
}

/** `repository@digest`. */
export function withDigest(repository: RepositoryName, digest: Digest): string {
  return `${repository}@${digest}`;
}

function split(text: string): { name: string; tag?: string; digest?: string } {
  if (text === "") throw bad(text, "it is empty");
  if (text.length > MAX_TEXT_LENGTH) throw bad(text, `it is longer than ${MAX_TEXT_LENGTH} characters`);
  const at = text.indexOf("@");
  const beforeDigest = at < 0 ? text : text.slice(0, at);
  const colon = beforeDigest.lastIndexOf(":");
  const hasTag = colon > beforeDigest.lastIndexOf("/");
  return {
    name: hasTag ? beforeDigest.slice(0, colon) : beforeDigest,
    ...(hasTag ? { tag: beforeDigest.slice(colon + 1) } : {}),
    ...(at < 0 ? {} : { digest: text.slice(at + 1) }),
  };
}

function isHost(component: string): boolean {
  return component === "localhost" || /[.:A-Z]/.test(component);
}

function checkHost(text: string, host: string): void {
  const port = /:([0-9]+)$/.exec(host);
  const name = port === null ? host : host.slice(0, port.index);
  if (port !== null && Number(port[1]) > 65535) throw bad(text, `port ${port[1]} is above 65535`);
  const isName = IPV6_HOST.test(name) || name.split(".").every((component) => HOST_COMPONENT.test(component));
  // The field's grammar knows neither what an address is nor how international names are written: no client could ask these.
  if (isName && URL.canParse(`https://${host}`)) return;
  throw bad(text, `${JSON.stringify(host.slice(0, 80))} is not a host name`);
}

function checkPath(text: string, path: string): void {
  if (path.length > MAX_PATH_LENGTH) throw bad(text, `its path is longer than ${MAX_PATH_LENGTH} characters`);
  for (const component of path.split("/")) {
    if (PATH_COMPONENT.test(component)) continue;
    const hint = PATH_COMPONENT.test(component.toLowerCase()) ? "; repository names are lower case" : "";
    throw bad(text, `${JSON.stringify(component.slice(0, 80))} is not a path component${hint}`);
  }
}

function parseTag(text: string, tag: string): Tag {
  if (!TAG.test(tag)) throw bad(text, `${JSON.stringify(tag.slice(0, 160))} is not a tag`);
  return tag as Tag;
}

function checkDigest(text: string, digest: string): Digest {
  try {
    return parseDigest(digest);
  } catch (error) {
    throw bad(text, error instanceof Error ? error.message : String(error));
  }
}

function bad(text: string, reason: string): InvalidArgumentError {
  const shown = JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
  return new InvalidArgumentError(`image reference ${shown} is not valid: ${reason}`);
}
