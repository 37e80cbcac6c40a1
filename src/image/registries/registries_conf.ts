/**
 * registries.conf (version 2) and its drop-in files, as containers-registries.conf(5) and
 * containers-registries.conf.d(5) define them. Which files there are: `registry_files.ts`.
 *
 * @module
 */
import { parse, TomlError } from "smol-toml";
import { InvalidArgumentError, messageOf } from "../../base/errors.ts";
import { isShortName, parseReference } from "../reference.ts";
import {
  isTable,
  optionalBoolean,
  optionalString,
  quote,
  strings,
  type Table,
  tables,
  trimmed,
  type Where,
  wrong,
} from "./_fields.ts";
import { upgraded } from "./_version_1.ts";

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
  /** `host[:port][/path]`, or `*.host` for each host below that one. */
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
  /** Short name -> full repository name, without tag. Empty: an alias that was taken back. */
  readonly aliases: ReadonlyMap<string, string>;
  /** What is read and cannot have the effect that was meant. */
  readonly warnings: readonly string[];
  /** Where credentials are looked for, in order: {@link AUTH_FILES}, or the end of a `docker-credential-` program's name. */
  readonly credentialHelpers: readonly string[];
}

/** The credential helper that means auth.json and its kin. */
export const AUTH_FILES = "containers-auth.json";

/** Parses one file. Keys that it does not have are absent. @throws InvalidArgumentError */
export function parseRegistries(text: string, file: string): Partial<RegistriesConfig> {
  const read = parseToml(text, file);
  const old = isTable(read["registries"]);
  const table = old ? upgraded(read, file) : read;
  const at = (key: string): Where => ({ file, key });
  const search = table["unqualified-search-registries"];
  const mode = table["short-name-mode"];
  const aliases = table["aliases"];
  const helpers = table["credential-helpers"];
  const registries = tables(table["registry"], at("registry")).map((entry) => registryEntry(entry, file));
  refuseConflicts(registries);
  return {
    warnings: [
      ...(old ? [`${file} is of version 1 of its format: write [[registry]] tables`] : []),
      ...registries.flatMap(prefixWarning),
    ],
    // Of one prefix that stands there twice, the first counts.
    registries: registries.filter((one, i) => registries.findIndex(({ prefix }) => prefix === one.prefix) === i),
    ...(search === undefined
      ? {}
      : { searchRegistries: searchRegistries(search, at("unqualified-search-registries")) }),
    ...(mode === undefined || mode === "" ? {} : { shortNameMode: shortNameMode(mode, at("short-name-mode")) }),
    ...(aliases === undefined ? {} : { aliases: aliasMap(aliases, at("aliases")) }),
    ...helperNames(helpers, at("credential-helpers")),
  };
}

/** A later file replaces entries with the same prefix, single aliases, and each other key as a whole. */
export function mergeRegistries(layers: readonly Partial<RegistriesConfig>[]): RegistriesConfig {
  const registries = new Map<string, RegistryEntry>();
  const aliases = new Map<string, string>();
  let merged: Pick<RegistriesConfig, "searchRegistries" | "shortNameMode" | "credentialHelpers"> = {
    searchRegistries: [],
    shortNameMode: "enforcing",
    credentialHelpers: [AUTH_FILES],
  };
  const warnings: string[] = [];
  for (const { registries: entries = [], aliases: names = [], warnings: more = [], ...rest } of layers) {
    warnings.push(...more);
    for (const entry of entries) registries.set(entry.prefix, entry);
    for (const [name, value] of names) aliases.set(name, value);
    merged = { ...merged, ...rest };
  }
  return { ...merged, registries: [...registries.values()], aliases, warnings };
}

function registryEntry(table: Table, file: string): RegistryEntry {
  const at = (key: string): Where => ({ file, key: `registry.${key}` });
  const location = trimmed(optionalString(table["location"], at("location")), at("location"));
  const prefix = trimmed(optionalString(table["prefix"], at("prefix")), at("prefix")) ?? location;
  if (prefix === undefined) {
    throw new InvalidArgumentError(`${file}: a [[registry]] has neither prefix nor location`);
  }
  const wildcard = prefix.startsWith("*.");
  if (/\s|:\/\//.test(prefix)) {
    throw new InvalidArgumentError(`${file}: registry prefix ${quote(prefix)} is not host[:port][/path] (no scheme)`);
  }
  if (location !== undefined) requireLocation(location, at("location"));
  if (table["pull-from-mirror"] !== undefined) {
    throw wrong(at("pull-from-mirror"), `of ${quote(prefix)} stands outside of a [[registry.mirror]]`);
  }
  const digestOnly = optionalBoolean(table["mirror-by-digest-only"], at("mirror-by-digest-only"));
  const target = location ?? (wildcard ? undefined : prefix);
  return {
    prefix,
    ...(target === undefined ? {} : { location: target }),
    insecure: optionalBoolean(table["insecure"], at("insecure")),
    blocked: optionalBoolean(table["blocked"], at("blocked")),
    mirrors: tables(table["mirror"], at("mirror")).map((entry) => mirror(entry, { file, digestOnly, prefix })),
    file,
  };
}

function mirror(
  table: Table,
  parent: { readonly file: string; readonly digestOnly: boolean; readonly prefix: string },
): Mirror {
  const at = (key: string): Where => ({ file: parent.file, key: `registry.mirror.${key}` });
  const location = trimmed(optionalString(table["location"], at("location")), at("location"));
  if (location === undefined) throw new InvalidArgumentError(`${parent.file}: a [[registry.mirror]] has no location`);
  const policy = optionalString(table["pull-from-mirror"], at("pull-from-mirror"));
  if (parent.digestOnly && policy !== undefined && policy !== "") {
    throw wrong(
      at("pull-from-mirror"),
      `of ${quote(location)} and mirror-by-digest-only of registry ${quote(parent.prefix)} exclude each other`,
    );
  }
  return {
    location: requireLocation(location, at("location")),
    insecure: optionalBoolean(table["insecure"], at("insecure")),
    pullFromMirror: parent.digestOnly ? "digest-only" : pullFromMirror(policy, at("pull-from-mirror")),
  };
}

/** containers/image takes these prefixes, and no name ever fits them. */
function prefixWarning({ prefix, file }: RegistryEntry): string[] {
  const reason = prefix.includes("*", prefix.startsWith("*.") ? 1 : 0)
    ? 'only a leading "*." is a wildcard'
    : /@|:[^/]*$/.test(prefix.slice(prefix.indexOf("/") + 1)) && prefix.includes("/")
    ? "names are compared without tag and digest"
    : undefined;
  return reason === undefined ? [] : [`${file}: registry prefix ${quote(prefix)} never fits: ${reason}`];
}

/** A place that is secure here and insecure there: no order of reading would be right. */
function refuseConflicts(entries: readonly RegistryEntry[]): void {
  const places = new Map<string, RegistryEntry>();
  for (const entry of entries) {
    const { location, file } = entry;
    if (location === undefined) continue;
    const other = places.get(location) ?? entry;
    for (const key of ["insecure", "blocked"] as const) {
      if (other[key] === entry[key]) continue;
      throw wrong({ file, key: `registry.${key}` }, `of location ${quote(location)} is both true and false`);
    }
    places.set(location, other);
  }
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

function searchRegistries(value: unknown, where: Where): readonly string[] {
  return strings(value, where).map((text) => {
    const host = requireLocation(trimmed(text, where) ?? "", where);
    if (!host.includes("/")) return host;
    throw wrong(where, `${quote(text)} has a path: it takes hosts only, host[:port]`);
  });
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
      if (!isShortName(name)) throw wrong(where, `${quote(name)} is not a short name: it has a registry host`);
      requireRepository(name, { ...where, key: `aliases: ${quote(name)}` });
      if (target === "") return [name, ""];
      const at = { ...where, key: `aliases.${name}:` };
      if (isShortName(target)) throw wrong(at, `${quote(target)} has no registry host`);
      requireRepository(target, at);
      return [name, target];
    }),
  );
}

function requireRepository(text: string, where: Where): void {
  let reference: ReturnType<typeof parseReference>;
  try {
    reference = parseReference(text);
  } catch (error) {
    throw wrong(where, messageOf(error));
  }
  if (reference.tag === undefined && reference.digest === undefined) return;
  throw wrong(where, `${quote(text)} must have neither tag nor digest`);
}

/** An empty list says nothing. */
function helperNames(value: unknown, where: Where): { readonly credentialHelpers?: readonly string[] } {
  const names = value === undefined ? [] : strings(value, where);
  // It becomes part of a program's name.
  const bad = names.find((name) => !/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(name));
  if (bad !== undefined) throw wrong(where, `${quote(bad)} is not the end of a program's name`);
  return names.length === 0 ? {} : { credentialHelpers: names };
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
