/** auth.json as containers-auth.json(5) describes it, and Docker's config.json, which has the same `auths`. */
import { FailedPreconditionError, messageOf } from "../../base/errors.ts";
import { type Credentials, decodeBasic, registryKey } from "./credentials.ts";

export interface AuthFileOptions {
  /** The `global_auth_file` option: when set, the only file, and one that must exist. */
  readonly globalFile?: string;
  /** For REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR, HOME and DOCKER_CONFIG. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Default 0. */
  readonly uid?: number;
}

/** A file's entries: `host[/path]` or a URL of old -> credentials. */
export type AuthEntries = ReadonlyMap<string, Credentials>;

const MAX_FILE_BYTES = 1024 * 1024;

/**
 * The first credentials that a file has for a repository; the entry with the longest path wins within a file.
 *
 * @param repository `host[:port]/path`
 * @throws FailedPreconditionError naming the file that cannot be read or parsed; never its contents
 */
export async function credentialsFromFiles(
  repository: string,
  options: AuthFileOptions,
): Promise<Credentials | undefined> {
  for (const { path, required } of authFiles(options)) {
    const entries = await readAuthFile(path, { required });
    const found = entries === undefined ? undefined : lookUp(entries, repository);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The files that are looked into, in order. */
export function authFiles(options: AuthFileOptions): ReadonlyArray<{ path: string; required: boolean }> {
  const { globalFile, environment, uid = 0 } = options;
  if (globalFile !== undefined && globalFile !== "") return [{ path: globalFile, required: true }];
  const explicit = environment["REGISTRY_AUTH_FILE"];
  if (explicit !== undefined && explicit !== "") return [{ path: explicit, required: true }];
  const runtime = environment["XDG_RUNTIME_DIR"];
  const home = environment["HOME"];
  const docker = environment["DOCKER_CONFIG"];
  const paths = [
    runtime === undefined || runtime === "" ? `/run/containers/${uid}/auth.json` : `${runtime}/containers/auth.json`,
  ];
  if (home !== undefined && home !== "") paths.push(`${home}/.config/containers/auth.json`);
  if (docker !== undefined && docker !== "") paths.push(`${docker}/config.json`);
  else if (home !== undefined && home !== "") paths.push(`${home}/.docker/config.json`);
  return paths.map((path) => ({ path, required: false }));
}

/** @returns undefined when the file does not exist and need not */
export async function readAuthFile(
  path: string,
  options: { readonly required: boolean },
): Promise<AuthEntries | undefined> {
  let text: string;
  try {
    if ((await Deno.stat(path)).size > MAX_FILE_BYTES) {
      throw new FailedPreconditionError(`auth file ${path} is larger than ${MAX_FILE_BYTES} bytes`);
    }
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound && !options.required) return undefined;
    if (error instanceof FailedPreconditionError) throw error;
    throw new FailedPreconditionError(`read auth file ${path}: ${messageOf(error)}`, { cause: error });
  }
  return parseAuthFile(text, path);
}

/** @throws FailedPreconditionError; the text is not repeated, it holds secrets */
export function parseAuthFile(text: string, path: string): AuthEntries {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new FailedPreconditionError(`auth file ${path} is not valid JSON`);
  }
  const auths = isObject(document) ? document["auths"] : undefined;
  const entries = new Map<string, Credentials>();
  if (!isObject(auths)) return entries;
  for (const [key, value] of Object.entries(auths)) {
    const credentials = isObject(value) ? entryCredentials(value, `auth file ${path}: the entry of ${key}`) : undefined;
    if (credentials !== undefined) entries.set(normalKey(key), credentials);
  }
  return entries;
}

function entryCredentials(entry: Readonly<Record<string, unknown>>, where: string): Credentials | undefined {
  const { identitytoken: identity, auth, username, password } = entry;
  if (typeof identity === "string" && identity !== "") return { kind: "identityToken", token: identity };
  if (typeof auth === "string" && auth !== "") return decodeBasic(auth, where);
  if (typeof username !== "string" || username === "") return undefined;
  return { kind: "basic", username, password: typeof password === "string" ? password : "" };
}

function lookUp(entries: AuthEntries, repository: string): Credentials | undefined {
  for (let key = repository; key !== ""; key = key.slice(0, Math.max(0, key.lastIndexOf("/")))) {
    const found = entries.get(key);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** A URL of old (`https://index.docker.io/v1/`) means its host; `host/path` stays. */
function normalKey(key: string): string {
  if (/^https?:\/\//.test(key)) return registryKey(key);
  const [host = "", ...path] = key.split("/");
  return [registryKey(host), ...path].join("/").replace(/\/(?:v[12]\/?)?$/, "");
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
