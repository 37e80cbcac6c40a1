import { messageOf } from "../base/errors.ts";
import { asObject, asText } from "./_json.ts";
import { CniConfigError } from "./errors.ts";
import type { JsonObject, NetworkConfig, PluginConfig } from "./types.ts";
import { CNI_VERSIONS, isSupportedVersion, versionAtLeast } from "./versions.ts";

/** Real files have a few kilobytes. */
const MAX_FILE_BYTES = 1024 * 1024;
const MAX_PLUGINS = 64;
const FILE_NAME = /\.(?:conf|conflist|json)$/;
/** Names and container ids become parts of file names; the specification's own pattern. */
const NETWORK_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
/** A file without a version means the first one. */
const OLDEST_VERSION = "0.1.0";

/** What a configuration directory holds: the usable networks by file name, and what is wrong with the other files. */
export interface LoadedNetworks {
  readonly networks: readonly NetworkConfig[];
  readonly problems: readonly CniConfigError[];
}

/**
 * Reads all `.conf`, `.conflist` and `.json` files of `directory` in the order of their names. A missing directory is
 * an empty one; a bad file is a problem and does not stop the others; of two networks with one name the first counts.
 */
export async function loadNetworks(directory: string): Promise<LoadedNetworks> {
  const networks: NetworkConfig[] = [];
  const problems: CniConfigError[] = [];
  for (const name of await configFiles(directory, problems)) {
    const file = `${directory.replace(/\/+$/, "")}/${name}`;
    try {
      const network = parseNetworkConfig(await readSmall(file), file);
      const same = networks.find((other) => other.name === network.name);
      if (same === undefined) networks.push(network);
      else {problems.push(
          new CniConfigError(file, "name", `${JSON.stringify(network.name)} is taken by ${same.source}`),
        );}
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      problems.push(error instanceof CniConfigError ? error : new CniConfigError(file, "", messageOf(error)));
    }
  }
  return { networks, problems };
}

/**
 * Checks one configuration: a list (`plugins`) or a single plugin (`type`).
 *
 * @param source the file's path, for messages
 * @throws CniConfigError that names the file and the key
 */
export function parseNetworkConfig(text: string, source: string): NetworkConfig {
  const fail = (key: string, problem: string): never => {
    throw new CniConfigError(source, key, problem);
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    fail("", text.trim() === "" ? "the file is empty" : `not JSON: ${messageOf(error)}`);
  }
  const raw = asObject(parsed) ?? fail("", "must be a JSON object");
  const name = asText(raw["name"]) ?? fail("name", "is missing");
  if (!NETWORK_NAME.test(name)) fail("name", `${JSON.stringify(name)} must be letters, digits, "_", "." and "-"`);
  const cniVersion = chooseVersion(raw, fail);
  const isList = "plugins" in raw;
  if (!isList && !("type" in raw)) fail("type", 'is missing (and there is no "plugins" list)');
  const entries = isList ? raw["plugins"] : [raw];
  if (!Array.isArray(entries)) return fail("plugins", "must be a list");
  if (entries.length === 0) fail("plugins", "is empty");
  if (entries.length > MAX_PLUGINS) {
    fail("plugins", `has ${entries.length} entries, at most ${MAX_PLUGINS} are allowed`);
  }
  const plugins = entries.map((entry, i) => parsePlugin(entry, isList ? `plugins[${i}].` : "", fail));
  return {
    name,
    cniVersion,
    disableCheck: flag(raw["disableCheck"], "disableCheck", fail),
    disableGc: flag(raw["disableGC"], "disableGC", fail),
    plugins,
    raw,
    source,
  };
}

type Fail = (key: string, problem: string) => never;

function parsePlugin(value: unknown, prefix: string, fail: Fail): PluginConfig {
  const raw = asObject(value) ?? fail(prefix.slice(0, -1), "must be an object");
  const type = asText(raw["type"]) ?? fail(`${prefix}type`, "is missing");
  if (type.includes("/") || type.includes("\0") || type === "." || type === "..") {
    fail(`${prefix}type`, `${JSON.stringify(type)} must be the name of a plugin, not a path`);
  }
  const declared = raw["capabilities"];
  const capabilities = declared === undefined || declared === null
    ? {}
    : asObject(declared) ?? fail(`${prefix}capabilities`, "must be an object of booleans");
  return { type, capabilities: Object.keys(capabilities).filter((key) => capabilities[key] === true), raw };
}

/** `cniVersion`, or the newest of `cniVersions` that we speak (specification 1.1.0). */
function chooseVersion(raw: JsonObject, fail: Fail): string {
  const known = `use one of ${CNI_VERSIONS.slice(2).join(", ")}`;
  const offered = raw["cniVersions"];
  if (Array.isArray(offered)) {
    const usable = offered.filter((version) => typeof version === "string" && isSupportedVersion(version));
    if (usable.length > 0) return usable.reduce((best, next) => versionAtLeast(next, best) ? next : best);
    if (raw["cniVersion"] === undefined) fail("cniVersions", `has no version that is supported; ${known}`);
  }
  const version = raw["cniVersion"] ?? OLDEST_VERSION;
  if (typeof version !== "string") return fail("cniVersion", "must be a string");
  const plain = version === "" ? OLDEST_VERSION : version;
  if (!isSupportedVersion(plain)) fail("cniVersion", `${JSON.stringify(version)} is not supported; ${known}`);
  return plain;
}

/** Booleans, which older files write as texts. */
function flag(value: unknown, key: string, fail: Fail): boolean {
  if (value === undefined || value === null || value === false || value === "false") return false;
  if (value === true || value === "true") return true;
  return fail(key, "must be true or false");
}

async function configFiles(directory: string, problems: CniConfigError[]): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of Deno.readDir(directory)) {
      if (!entry.isDirectory && FILE_NAME.test(entry.name)) names.push(entry.name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) problems.push(new CniConfigError(directory, "", messageOf(error)));
  }
  return names.sort((a, b) => a < b ? -1 : 1);
}

async function readSmall(file: string): Promise<string> {
  const { size, isFile } = await Deno.stat(file);
  if (!isFile) throw new CniConfigError(file, "", "is not a regular file");
  if (size > MAX_FILE_BYTES) {
    throw new CniConfigError(file, "", `has ${size} bytes, at most ${MAX_FILE_BYTES} are read`);
  }
  return await Deno.readTextFile(file);
}
