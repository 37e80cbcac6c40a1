/** auth.json as containers-auth.json(5) describes it, and Docker's config.json, which has the same `auths`. */
import { FailedPreconditionError, messageOf } from "../../base/errors.ts";
import { configHome } from "../config_home.ts";
import { type Credentials, decodeBasic, registryKey } from "./credentials.ts";

export interface AuthFileOptions {
  /** The `global_auth_file` option: when set, the only file, and one that must exist. */
  readonly globalFile?: string;
  /** For REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, HOME and DOCKER_CONFIG. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Default 0. */
  readonly uid?: number;
}

/** One place where credentials may be. */
export interface AuthPlace {
  readonly path: string;
  readonly required: boolean;
  /** `.dockercfg`, whose hosts stand at the top. */
  readonly legacy?: boolean;
}

/** What a file has for a repository: credentials, or the helper program that has them. */
export type AuthAnswer =
  | { readonly kind: "credentials"; readonly credentials: Credentials }
  | { readonly kind: "helper"; readonly helper: string; readonly server: string };

type Fields = Readonly<Record<string, unknown>>;

const MAX_FILE_BYTES = 1024 * 1024;
/** What Docker calls its hub where it keeps credentials. */
const DOCKER_HUB_SERVER = "https://index.docker.io/v1/";

/** The files that are looked into, in order. */
export function authFiles(options: AuthFileOptions): readonly AuthPlace[] {
  const { globalFile, environment, uid = 0 } = options;
  if (globalFile !== undefined && globalFile !== "") return [{ path: globalFile, required: true }];
  const explicit = environment["REGISTRY_AUTH_FILE"];
  if (explicit !== undefined && explicit !== "") return [{ path: explicit, required: true }];
  const runtime = environment["XDG_RUNTIME_DIR"];
  // Services of systemd have no HOME.
  const home = environment["HOME"] || "/root";
  return [
    { path: runtime ? `${runtime}/containers/auth.json` : `/run/containers/${uid}/auth.json` },
    { path: `${configHome(environment)}/containers/auth.json` },
    { path: `${environment["DOCKER_CONFIG"] || `${home}/.docker`}/config.json` },
    { path: `${home}/.dockercfg`, legacy: true },
  ].map((place) => ({ ...place, required: false }));
}

/**
 * Reads one place.
 *
 * @returns undefined when the file does not exist and need not
 * @throws FailedPreconditionError naming the file that cannot be read or parsed; never its contents
 */
export async function readAuthFile(place: AuthPlace): Promise<AuthFile | undefined> {
  const { path, required, legacy = false } = place;
  let text: string;
  try {
    if ((await Deno.stat(path)).size > MAX_FILE_BYTES) {
      throw new FailedPreconditionError(`auth file ${path} is larger than ${MAX_FILE_BYTES} bytes`);
    }
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound && !required) return undefined;
    if (error instanceof FailedPreconditionError) throw error;
    throw new FailedPreconditionError(`read auth file ${path}: ${messageOf(error)}`, { cause: error });
  }
  return new AuthFile(parseObject(text, path), { path, legacy });
}

/** One file's entries. An entry is decoded when it is asked for: a bad one spoils its own registry only. */
export class AuthFile {
  /** `host[/path]` -> entry. */
  readonly #entries = new Map<string, Fields>();

  constructor(private readonly document: Fields, private readonly file: { path: string; legacy?: boolean }) {
    const auths = file.legacy === true ? document : document["auths"];
    if (!isObject(auths)) return;
    for (const [key, value] of Object.entries(auths)) {
      // Of two spellings of one host, the plain one counts.
      const plain = normalKey(key);
      if (isObject(value) && (plain === key || !this.#entries.has(plain))) this.#entries.set(plain, value);
    }
  }

  /**
   * What this file has for a repository: the helper of its host; else the entry with the longest path; else the helper
   * for all hosts.
   *
   * @param repository `host[:port]/path`
   * @throws FailedPreconditionError for an entry that cannot be decoded; it is not repeated
   */
  find(repository: string): AuthAnswer | undefined {
    const host = repository.split("/")[0] ?? "";
    const own = this.#helperOf(host);
    if (own !== undefined) return own;
    for (let key = repository; key !== ""; key = key.slice(0, Math.max(0, key.lastIndexOf("/")))) {
      const entry = this.#entries.get(key);
      if (entry === undefined) continue;
      const credentials = this.#decode(entry, key);
      if (credentials !== undefined) return { kind: "credentials", credentials };
      // An empty entry ends the search: Docker writes them beside credsStore.
      break;
    }
    const store = this.document["credsStore"];
    if (typeof store !== "string" || store === "") return undefined;
    return { kind: "helper", helper: store, server: host === "docker.io" ? DOCKER_HUB_SERVER : host };
  }

  #helperOf(host: string): AuthAnswer | undefined {
    const helpers = this.document["credHelpers"];
    if (!isObject(helpers)) return undefined;
    for (const [server, helper] of Object.entries(helpers)) {
      if (registryKey(server) === host && typeof helper === "string" && helper !== "") {
        return { kind: "helper", helper, server };
      }
    }
    return undefined;
  }

  #decode(entry: Fields, key: string): Credentials | undefined {
    const { identitytoken: identity, registrytoken: registry, auth, username, password } = entry;
    if (typeof identity === "string" && identity !== "") return { kind: "identityToken", token: identity };
    if (typeof registry === "string" && registry !== "") return { kind: "registryToken", token: registry };
    if (typeof auth === "string" && auth !== "") {
      return decodeBasic(auth, `auth file ${this.file.path}: the entry of ${key}`);
    }
    if (typeof username !== "string" || username === "") return undefined;
    return { kind: "basic", username, password: typeof password === "string" ? password : "" };
  }
}

function parseObject(text: string, path: string): Fields {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    // The parser's message repeats text, which may be a secret.
    document = undefined;
  }
  if (isObject(document)) return document;
  throw new FailedPreconditionError(`auth file ${path} is not a JSON object`);
}

/** A URL of old (`https://index.docker.io/v1/`) means its host; `host/path` stays. */
function normalKey(key: string): string {
  if (/^https?:\/\//.test(key)) return registryKey(key);
  const [host = "", ...path] = key.split("/");
  return [registryKey(host), ...path].join("/").replace(/\/(?:v[12]\/?)?$/, "");
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
