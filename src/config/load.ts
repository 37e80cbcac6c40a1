import { messageOf } from "../base/errors.ts";
import { ConfigError, parseToml } from "./toml.ts";
import { HANDLER, type Place, PLACES } from "./schema.ts";
import { addStorageConf, storageConfPaths } from "./storage_conf.ts";
import type { OptionTable, RawValue } from "./option.ts";
import { fromText } from "./toml.ts";
import { ConfigValues } from "./values.ts";

/** Read when no other file is named. */
export const DEFAULT_CONFIG_PATH = "/etc/crio/crio.conf";
/** Read when no other directory is named. */
export const DEFAULT_CONFIG_DIR = "/etc/crio/crio.conf.d";

export interface LoadOptions {
  /** Empty: no file. Absent: the default one, if it exists. */
  readonly configPath?: string;
  /** Empty: no directory. Absent: the default one, if it exists. */
  readonly configDir?: string;
  /** Flag name without dashes -> the texts that were given, in order. */
  readonly flags?: ReadonlyMap<string, readonly string[]>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Candidates for storage.conf; the first that exists counts. */
  readonly storageConfPaths?: readonly string[];
}

/**
 * Reads the configuration: storage.conf, then the file, then each file below the directory in lexical order, then the
 * environment, then flags; later ones win.
 *
 * @throws ConfigError with the file and the key path of the first value that is wrong
 */
export async function loadValues(options: LoadOptions = {}): Promise<ConfigValues> {
  const { configPath, configDir, flags = new Map(), env = {} } = options;
  const values = new ConfigValues();
  addStorageConf(values, await firstFile(options.storageConfPaths ?? storageConfPaths(env)), env);
  await addFile(values, configPath ?? DEFAULT_CONFIG_PATH, { required: configPath !== undefined });
  await addDirectory(values, configDir ?? DEFAULT_CONFIG_DIR);
  addEnvironment(values, env);
  addFlags(values, flags);
  return values;
}

/** Flag name or alias -> option. `runtimes`, `config` and `config-dir` have no row. */
export const PLACE_BY_FLAG: ReadonlyMap<string, Place> = new Map(
  PLACES.flatMap((place) =>
    [place.option.flag, ...place.option.aliases].filter((flag) => flag !== undefined).map((flag) => [flag, place])
  ),
);

async function addFile(values: ConfigValues, path: string, options: { required: boolean }): Promise<void> {
  if (path === "") return;
  const text = await readText(path);
  if (text !== undefined) values.addToml(parseToml(text, path), path);
  else if (options.required) {
    throw new ConfigError(path, "", 'no such configuration file; --config "" starts without one');
  }
}

async function addDirectory(values: ConfigValues, directory: string): Promise<void> {
  if (directory === "") return;
  for await (const path of filesBelow(directory)) await addFile(values, path, { required: false });
}

/** Files below a directory, directories descended in place, names in byte order; what is neither is left out. */
async function* filesBelow(directory: string): AsyncGenerator<string> {
  let entries: Deno.DirEntry[];
  try {
    entries = await Array.fromAsync(Deno.readDir(directory));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw new ConfigError(directory, "", `cannot be read: ${messageOf(error)}`, { cause: error });
  }
  entries.sort((left, right) => left.name < right.name ? -1 : 1);
  for (const { name, isDirectory, isFile, isSymlink } of entries) {
    const path = `${directory.replace(/\/+$/, "")}/${name}`;
    if (isDirectory) yield* filesBelow(path);
    else if (isFile || (isSymlink && await pointsToFile(path))) yield path;
  }
}

async function pointsToFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false; // a dangling link configures nothing
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new ConfigError(path, "", `cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

async function firstFile(paths: readonly string[]): Promise<{ path: string; text: string } | undefined> {
  for (const path of paths) {
    const text = await readText(path);
    if (text !== undefined) return { path, text };
  }
  return undefined;
}

function addEnvironment(values: ConfigValues, env: Readonly<Record<string, string | undefined>>): void {
  for (const { option, path } of PLACES) {
    const name = option.env.find((candidate) => env[candidate] !== undefined);
    const text = name === undefined ? undefined : env[name];
    if (text !== undefined && text !== "") values.addText(path, [text], `environment variable ${name}`);
  }
  const runtimes = env["CONTAINER_RUNTIMES"] ?? "";
  if (runtimes !== "") addRuntimes(values, runtimes.split(","), "environment variable CONTAINER_RUNTIMES");
}

function addFlags(values: ConfigValues, flags: ReadonlyMap<string, readonly string[]>): void {
  for (const [name, texts] of flags) {
    const place = PLACE_BY_FLAG.get(name);
    const source = `flag ${name.length === 1 ? "-" : "--"}${name}`;
    if (place !== undefined) values.addText(place.path, texts, source);
    else if (name === "runtimes") addRuntimes(values, texts.flatMap((text) => text.split(",")), source);
  }
}

/** Keys in the order of `--runtimes name:path:root:type:…`. */
const RUNTIMES_FIELDS = [
  "runtime_path",
  "runtime_root",
  "runtime_type",
  "privileged_without_host_devices",
  "runtime_config_path",
  "container_min_memory",
];

function addRuntimes(values: ConfigValues, texts: readonly string[], source: string): void {
  const rows = Object.values(HANDLER as OptionTable);
  for (const text of texts) {
    const [name = "", ...fields] = text.split(":");
    if (name === "" || fields.length < 1 || fields.length > RUNTIMES_FIELDS.length) {
      throw new ConfigError(source, "", `${JSON.stringify(text)} is not name:path[:root[:type[:…]]]`);
    }
    const given = new Map<string, RawValue>();
    for (const [index, field] of fields.entries()) {
      const option = rows.find((row) => row.key === RUNTIMES_FIELDS[index]);
      if (option !== undefined && field !== "") {
        given.set(option.key, fromText(option, [field], { source, path: option.key }));
      }
    }
    values.handlers.set(name, { values: given, resources: new Map(), source });
  }
}
