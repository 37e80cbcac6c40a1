/**
 * registries.conf (version 2) and its drop-in directory, as containers-registries.conf(5) and
 * containers-registries.conf.d(5) define them.
 *
 * @module
 */
import { parse, TomlError } from "smol-toml";
import { InvalidArgumentError, messageOf } from "../../base/errors.ts";

/** When a mirror may be asked. */
export type PullFromMirror = "all" | "digest-only" | "tag-only";
/** What to do with a short name that several search registries may hold. */
export type ShortNameMode = "enforcing" | "permissive" | "disabled";

export interface Mirror {
  /** `host[:port][/path]`, takes the place of the registry's prefix. */
  readonly location: string;
  readonly insecure: boolean;
  readonly pullFromMirror: PullFromMirror;
}

/** One `[[registry]]` table. */
export interface RegistryEntry {
  /** `host[/path[:tag|@digest]]`, or `*.host` for each host below that one. */
  readonly prefix: string;
  /** Takes the place of the prefix; absent for a wildcard that rewrites nothing. */
  readonly location?: string;
  readonly insecure: boolean;
  readonly blocked: boolean;
  readonly mirrors: readonly Mirror[];
  /** The file that said so. */
  readonly file: string;
}

export interface RegistriesConfig {
  readonly registries: readonly RegistryEntry[];
  readonly searchRegistries: readonly string[];
  readonly shortNameMode: ShortNameMode;
  /** Short name -> full repository name, without tag. */
  readonly aliases: ReadonlyMap<string, string>;
}

export interface RegistriesSource {
  /** Default `/etc/containers/registries.conf`; a file that does not exist counts as empty. */
  readonly file?: string;
  /** Default `/etc/containers/registries.conf.d`; its `*.conf` files come after `file`, in order of their names. */
  readonly dropInDirectory?: string;
}

const MAX_FILE_BYTES = 4 * 1024 * 1024;

/**
 * Reads the configuration. A later file replaces entries with the same prefix, and the search list as a whole.
 *
 * @throws InvalidArgumentError naming the file, and the line or the key, of what is wrong
 */
export async function loadRegistries(source: RegistriesSource = {}): Promise<RegistriesConfig> {
  const { file = "/etc/containers/registries.conf", dropInDirectory = "/etc/containers/registries.conf.d" } = source;
  const files = [file, ...await dropIns(dropInDirectory)];
  const layers: Partial<RegistriesConfig>[] = [];
  for (const path of files) {
    const text = await readIfThere(path);
    if (text !== undefined) layers.push(parseRegistries(text, path));
  }
  return merge(layers);
}

/** Parses one file. Keys that it does not have are absent. @throws InvalidArgumentError */
export function parseRegistries(text: string, file: string): Partial<RegistriesConfig> {
  const table = parseToml(text, file);
  if (isTable(table["registries"])) {
    throw new InvalidArgumentError(
      `${file}: version 1 of the registries format ([registries.search]) is not supported; use [[registry]] tables and unqualified-search-registries`,
    );
  }
  const at = (key: string): Where => ({ file, key });
  const search = table["unqualified-search-registries"];
  const mode = table["short-name-mode"];
  const aliases = table["aliases"];
  return {
    registries: tables(table["registry"], at("registry")).map((entry) => registryEntry(entry, file)),
    ...(search === undefined ? {} : { searchRegistries: strings(search, at("unqualified-search-registries")) }),
    ...(mode === undefined ? {} : { shortNameMode: shortNameMode(mode, at("short-name-mode")) }),
    ...(aliases === undefined ? {} : { aliases: aliasMap(aliases, at("aliases")) }),
  };
}

interface Where {
  readonly file: string;
  readonly key: string;
}

type Table = Readonly<Record<string, unknown>>;

function merge(layers: readonly Partial<RegistriesConfig>[]): RegistriesConfig {
  const registries = new Map<string, RegistryEntry>();
  const aliases = new Map<string, string>();
  let searchRegistries: readonly string[] = [];
  let mode: ShortNameMode = "enforcing";
  for (const layer of layers) {
    for (const entry of layer.registries ?? []) registries.set(entry.prefix, entry);
    for (const [name, value] of layer.aliases ?? []) aliases.set(name, value);
    searchRegistries = layer.searchRegistries ?? searchRegistries;
    mode = layer.shortNameMode ?? mode;
  }
  return { registries: [...registries.values()], searchRegistries, shortNameMode: mode, aliases };
}

function registryEntry(table: Table, file: string): RegistryEntry {
  const at = (key: string): Where => ({ file, key: `registry.${key}` });
  const location = trimmed(optionalString(table["location"], at("location")), at("location"));
  const prefix = trimmed(optionalString(table["prefix"], at("prefix")), at("prefix")) ?? location;
  if (prefix === undefined) {
    throw new InvalidArgumentError(`${file}: a [[registry]] has neither prefix nor location`);
  }
  const wildcard = prefix.startsWith("*.");
  if (prefix.includes("*", wildcard ? 1 : 0)) {
    throw new InvalidArgumentError(`${file}: registry prefix ${quote(prefix)}: only a leading "*." may be a wildcard`);
  }
  if (location !== undefined) requireLocation(location, at("location"));
  const digestOnly = optionalBoolean(table["mirror-by-digest-only"], at("mirror-by-digest-only"));
  const target = location ?? (wildcard ? undefined : prefix);
  return {
    prefix,
    ...(target === undefined ? {} : { location: target }),
    insecure: optionalBoolean(table["insecure"], at("insecure")),
    blocked: optionalBoolean(table["blocked"], at("blocked")),
    mirrors: tables(table["mirror"], at("mirror")).map((entry) => mirror(entry, { file, digestOnly })),
    file,
  };
}

function mirror(table: Table, parent: { readonly file: string; readonly digestOnly: boolean }): Mirror {
  const at = (key: string): Where => ({ file: parent.file, key: `registry.mirror.${key}` });
  const location = trimmed(optionalString(table["location"], at("location")), at("location"));
  if (location === undefined) throw new InvalidArgumentError(`${parent.file}: a [[registry.mirror]] has no location`);
  const policy = optionalString(table["pull-from-mirror"], at("pull-from-mirror"));
  return {
    location: requireLocation(location, at("location")),
    insecure: optionalBoolean(table["insecure"], at("insecure")),
    pullFromMirror: parent.digestOnly ? "digest-only" : pullFromMirror(policy, at("pull-from-mirror")),
  };
}

function requireLocation(location: string, where: Where): string {
  if (/^[^\s/@*]+(?:\/[^\s/@]+)*$/.test(location) && !location.includes("://")) return location;
  throw wrong(where, `${quote(location)} is not host[:port][/path] (no scheme, no wildcard)`);
}

function pullFromMirror(value: string | undefined, where: Where): PullFromMirror {
  if (value === undefined || value === "") return "all";
  if (value === "all" || value === "digest-only" || value === "tag-only") return value;
  throw wrong(where, `${quote(value)} is not one of all, digest-only, tag-only`);
}

function shortNameMode(value: unknown, where: Where): ShortNameMode {
  if (value === "enforcing" || value === "permissive" || value === "disabled") return value;
  throw wrong(where, `${quote(value)} is not one of enforcing, permissive, disabled`);
}

function aliasMap(value: unknown, where: Where): ReadonlyMap<string, string> {
  if (!isTable(value)) throw wrong(where, "is not a table");
  return new Map(
    Object.entries(value).map(([name, target]) => {
      if (typeof target !== "string") throw wrong(where, `${quote(name)} is not a string`);
      return [name, target];
    }),
  );
}

function parseToml(text: string, file: string): Table {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = messageOf(error).split("\n")[0] ?? "";
    throw new InvalidArgumentError(`${file}:${error.line}:${error.column}: ${reason}`, { cause: error });
  }
}

async function dropIns(directory: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of Deno.readDir(directory)) {
      if (entry.name.endsWith(".conf") && !entry.isDirectory) names.push(entry.name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw unreadable(directory, error);
  }
  return names.sort().map((name) => `${directory}/${name}`);
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    if ((await Deno.stat(path)).size > MAX_FILE_BYTES) {
      throw new InvalidArgumentError(`${path} is larger than ${MAX_FILE_BYTES} bytes`);
    }
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error instanceof InvalidArgumentError ? error : unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): InvalidArgumentError {
  return new InvalidArgumentError(`read registries configuration ${path}: ${messageOf(error)}`, { cause: error });
}

function tables(value: unknown, where: Where): readonly Table[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every(isTable)) return value;
  throw wrong(where, "is not an array of tables");
}

function strings(value: unknown, where: Where): readonly string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw wrong(where, "is not an array of strings");
}

function optionalString(value: unknown, where: Where): string | undefined {
  if (value === undefined || typeof value === "string") return value;
  throw wrong(where, "is not a string");
}

function optionalBoolean(value: unknown, where: Where): boolean {
  if (value === undefined) return false;
  if (typeof value === "boolean") return value;
  throw wrong(where, "is not true or false");
}

function trimmed(value: string | undefined, where: Where): string | undefined {
  if (value === undefined) return undefined;
  const text = value.replace(/\/+$/, "");
  if (text === "") throw wrong(where, "is empty");
  return text;
}

function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function quote(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 120) ?? String(value);
}

function wrong(where: Where, reason: string): InvalidArgumentError {
  return new InvalidArgumentError(`${where.file}: ${where.key} ${reason}`);
}
