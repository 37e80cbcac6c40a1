/** containers-registries.d(5): where the signatures of an image are. */
import { FailedPreconditionError, InvalidArgumentError, messageOf } from "../../base/errors.ts";
import { parseYaml } from "../../config/yaml.ts";
import type { ImageReference } from "../reference.ts";
import { dockerSubject } from "./scopes.ts";
import { shown, strictObject } from "./strict_json.ts";

/** Where to look for the signatures of one image. */
export interface SignatureSources {
  /** URL of a lookaside place: `file`, `http` or `https`. */
  readonly lookaside: string;
  /** Whether sigstore signatures may be attached to the image in its registry. */
  readonly attachments: boolean;
}

interface Section {
  readonly lookaside: string | undefined;
  readonly attachments: boolean | undefined;
}

/** All files of a registries.d directory. */
export interface LookasideConfig {
  readonly fallback: Section | undefined;
  readonly scopes: ReadonlyMap<string, Section>;
}

const SYSTEM_DIRECTORY = "/etc/containers/registries.d";
const USER_DIRECTORY = ".config/containers/registries.d";
const DEFAULT_LOOKASIDE = "file:///var/lib/containers/sigstore";
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/**
 * Reads a directory; one that does not exist counts as empty.
 *
 * @param options.directory default: that of the home directory, if it is there, else the one in /etc/containers
 * @throws FailedPreconditionError naming the file that is wrong
 */
export async function loadLookaside(
  options: { readonly directory?: string; readonly home?: string } = {},
): Promise<LookasideConfig> {
  const { home = "" } = options;
  const own = options.directory ?? (home === "" ? undefined : `${home}/${USER_DIRECTORY}`);
  const directories = options.directory === undefined ? [own, SYSTEM_DIRECTORY] : [own];
  for (const directory of directories) {
    const names = directory === undefined ? undefined : await yamlFiles(directory);
    if (names !== undefined) return await readFiles(names);
  }
  return { fallback: undefined, scopes: new Map() };
}

/** The most particular section that says something, separately for each of the two settings. */
export function signatureSources(config: LookasideConfig, reference: ImageReference): SignatureSources {
  const sections = dockerSubject(reference).scopes.map((scope) => config.scopes.get(scope));
  const known = [...sections, config.fallback].filter((section) => section !== undefined);
  return {
    lookaside: known.find(({ lookaside }) => lookaside !== undefined)?.lookaside ?? DEFAULT_LOOKASIDE,
    attachments: known.find(({ attachments }) => attachments !== undefined)?.attachments ?? false,
  };
}

async function yamlFiles(directory: string): Promise<readonly string[] | undefined> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(directory));
    return entries.filter(({ name }) => name.endsWith(".yaml")).map(({ name }) => `${directory}/${name}`).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw new FailedPreconditionError(`read ${directory}: ${messageOf(error)}`, { cause: error });
  }
}

async function readFiles(files: readonly string[]): Promise<LookasideConfig> {
  let fallback: Section | undefined;
  const scopes = new Map<string, Section>();
  for (const file of files) {
    try {
      const document = strictObject(await parseFile(file), "it");
      const own = document["default-docker"];
      if (own !== undefined && own !== null) {
        if (fallback !== undefined) throw new InvalidArgumentError("another file has a default-docker too");
        fallback = section(own, "default-docker");
      }
      for (const [scope, value] of Object.entries(strictObject(document["docker"] ?? {}, "docker"))) {
        if (scopes.has(scope)) throw new InvalidArgumentError(`another file says something about ${shown(scope)} too`);
        scopes.set(scope, section(value, shown(scope)));
      }
    } catch (error) {
      throw new FailedPreconditionError(`signature places ${file}: ${messageOf(error)}`, { cause: error });
    }
  }
  return { fallback, scopes };
}

async function parseFile(file: string): Promise<unknown> {
  const text = await Deno.readTextFile(file);
  if (text.length > MAX_FILE_BYTES) throw new InvalidArgumentError(`it has more than ${MAX_FILE_BYTES} characters`);
  return await parseYaml(text) ?? {};
}

function section(value: unknown, what: string): Section {
  const entry = strictObject(value ?? {}, what);
  const text = (key: string): string | undefined => {
    const found = entry[key];
    if (found === undefined || found === null || found === "") return undefined;
    if (typeof found !== "string") throw new InvalidArgumentError(`${what}: ${key} is not a text`);
    return found;
  };
  // `sigstore` is the name that `lookaside` had before 2022.
  const lookaside = text("lookaside") ?? text("sigstore");
  if (lookaside !== undefined && !/^(?:file|https?):$/.test(URL.parse(lookaside)?.protocol ?? "")) {
    throw new InvalidArgumentError(`${what}: ${shown(lookaside)} is not a URL with file, http or https`);
  }
  const attachments = entry["use-sigstore-attachments"] ?? undefined;
  if (attachments !== undefined && typeof attachments !== "boolean") {
    throw new InvalidArgumentError(`${what}: use-sigstore-attachments is neither true nor false`);
  }
  return { lookaside, attachments };
}
