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

/** The vendor's directory, and the administrator's. */
const SYSTEM_DIRECTORIES = ["/usr/share/containers", "/etc/containers"];
const DEFAULT_LOOKASIDE = "file:///var/lib/containers/sigstore";
const MAX_FILE_BYTES = 4 * 1024 * 1024;

export interface LookasidePlaces {
  /** The only directory, when given. */
  readonly directory?: string;
  /** See `configHome`. */
  readonly configHome?: string;
  /** The vendor's and the administrator's directory. Default `/usr/share/containers` and `/etc/containers`. */
  readonly systemDirectories?: readonly string[];
}

/**
 * Reads the files of all directories (containers-config(5)): of one name the user's before the administrator's before
 * the vendor's. A directory that does not exist is empty.
 *
 * @throws FailedPreconditionError naming the file that is wrong
 */
export async function loadLookaside(places: LookasidePlaces = {}): Promise<LookasideConfig> {
  const files = new Map<string, string>();
  for (const directory of places.directory === undefined ? directoriesOf(places) : [places.directory]) {
    for (const name of await yamlFiles(directory)) files.set(name, `${directory}/${name}`);
  }
  return await readFiles([...files].sort(([a], [b]) => a < b ? -1 : 1).map(([, path]) => path));
}

function directoriesOf({ configHome, systemDirectories = SYSTEM_DIRECTORIES }: LookasidePlaces): readonly string[] {
  return [
    ...systemDirectories.flatMap((directory) => [`${directory}/registries.d`, `${directory}/registries.rootful.d`]),
    ...(configHome === undefined ? [] : [`${configHome}/containers/registries.d`]),
  ];
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

async function yamlFiles(directory: string): Promise<readonly string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(directory));
    return entries.filter(({ name, isDirectory }) => name.endsWith(".yaml") && !isDirectory).map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return [];
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
