import { asTable, ConfigError, fromText, fromToml, type Table } from "./toml.ts";
import { nearest } from "./_nearest.ts";
import type { OptionTable, RawValue } from "./option.ts";
import { HANDLER, PLACE_BY_PATH, PLACES, SECTION_PATH, WORKLOAD, WORKLOAD_RESOURCES } from "./schema.ts";

/** A value with where it came from: a file, `flag --x`, `environment variable X`. */
export interface Sourced {
  readonly value: RawValue;
  readonly source: string;
}

/** One `[crio.runtime.runtimes.<name>]` or workload, as written. */
export interface SourcedTable {
  readonly values: ReadonlyMap<string, RawValue>;
  readonly resources: ReadonlyMap<string, RawValue>;
  readonly source: string;
}

/** Something odd in the configuration that the daemon can start with. */
export interface ConfigWarning {
  readonly source: string;
  readonly keyPath: string;
  readonly problem: string;
}

/** What the user set, before defaults: later sources replace earlier ones. */
export class ConfigValues {
  /** By path, e.g. `crio.runtime.log_level`. */
  readonly fixed = new Map<string, Sourced>();
  readonly handlers = new Map<string, SourcedTable>();
  readonly workloads = new Map<string, SourcedTable>();
  readonly warnings: ConfigWarning[] = [];

  /** The value that counts. */
  get(path: string): RawValue {
    const set = this.fixed.get(path);
    if (set !== undefined) return set.value;
    const place = PLACE_BY_PATH.get(path);
    if (place === undefined) throw new TypeError(`no option ${path}`);
    return place.option.initial;
  }

  /** Puts one file over what is there. Handlers and workloads are replaced as a whole, as CRI-O does. */
  addToml(document: Table, source: string): void {
    const crio = asTable(document["crio"]);
    for (const key of Object.keys(document)) {
      if (key !== "crio") this.#unknown(source, key, ["crio"]);
    }
    if (crio !== undefined) this.#addSection("crio", crio, source);
    else if (document["crio"] !== undefined) throw new ConfigError(source, "crio", "must be a table");
  }

  /** Puts one flag or variable over what is there. */
  addText(path: string, texts: readonly string[], source: string): void {
    const place = PLACE_BY_PATH.get(path);
    if (place === undefined) throw new TypeError(`no option ${path}`);
    this.set(path, fromText(place.option, texts, { source, path }), source);
  }

  /** Puts a value of the right kind over what is there. */
  set(path: string, value: RawValue, source: string): void {
    const merged = path === "crio.storage_option" ? mergeOptions(this.get(path), value) : value;
    this.fixed.set(path, { value: merged, source });
  }

  #addSection(prefix: string, section: Table, source: string): void {
    for (const [key, value] of Object.entries(section)) {
      const path = aliasOf(`${prefix}.${key}`);
      const place = PLACE_BY_PATH.get(path);
      const table = asTable(value);
      if (place !== undefined && SECTION_PATH[place.section] !== undefined) {
        this.set(path, fromToml(place.option, value, { source, path }), source);
      } else if (path === "crio.runtime.runtimes" && table !== undefined) this.#addHandlers(table, source);
      else if (path === "crio.runtime.workloads" && table !== undefined) this.#addWorkloads(table, source);
      else if (SECTION_PATHS.has(path) && table !== undefined) this.#addSection(path, table, source);
      else if (SECTION_PATHS.has(path)) throw new ConfigError(source, path, "must be a table");
      else this.#unknown(source, path, namesIn(prefix));
    }
  }

  #addHandlers(tables: Table, source: string): void {
    for (const [name, value] of Object.entries(tables)) {
      const path = `crio.runtime.runtimes.${name}`;
      const values = this.#read(HANDLER, value, { source, path });
      this.handlers.set(name, { values, resources: new Map(), source });
    }
  }

  #addWorkloads(tables: Table, source: string): void {
    for (const [name, value] of Object.entries(tables)) {
      const path = `crio.runtime.workloads.${name}`;
      const { resources = {}, ...rest } = asTable(value) ?? {};
      this.workloads.set(name, {
        values: this.#read(WORKLOAD, value === undefined ? value : rest, { source, path }),
        resources: this.#read(WORKLOAD_RESOURCES, resources, { source, path: `${path}.resources` }),
        source,
      });
    }
  }

  #read(options: OptionTable, value: unknown, where: { source: string; path: string }): Map<string, RawValue> {
    const given = asTable(value);
    if (given === undefined) throw new ConfigError(where.source, where.path, "must be a table");
    const rows = Object.values(options);
    const read = new Map<string, RawValue>();
    for (const [key, item] of Object.entries(given)) {
      const path = `${where.path}.${key}`;
      const option = rows.find((row) => row.key === key);
      if (option === undefined) this.#unknown(where.source, path, rows.map((row) => row.key));
      else read.set(key, fromToml(option, item, { source: where.source, path }));
    }
    return read;
  }

  #unknown(source: string, keyPath: string, known: readonly string[]): void {
    const word = keyPath.slice(keyPath.lastIndexOf(".") + 1);
    const hint = nearest(word, known) ?? elsewhere(word);
    const problem = hint === undefined ? "is not known" : `is not known; is ${JSON.stringify(hint)} meant?`;
    this.warnings.push({ source, keyPath, problem });
  }
}

const SECTION_PATHS: ReadonlySet<string> = new Set(Object.values(SECTION_PATH).filter((path) => path !== undefined));

/** CRI-O reads this key from two tables. */
function aliasOf(path: string): string {
  return path === "crio.runtime.separate_pull_cgroup" ? "crio.image.separate_pull_cgroup" : path;
}

function namesIn(prefix: string): readonly string[] {
  const keys = PLACES.filter((place) => SECTION_PATH[place.section] === prefix).map((place) => place.option.key);
  const tables = [...SECTION_PATHS, "crio.runtime.runtimes", "crio.runtime.workloads"]
    .filter((path) => path.startsWith(`${prefix}.`))
    .map((path) => path.slice(prefix.length + 1));
  return [...keys, ...tables];
}

/** The path of a key that is known, but in another table. */
function elsewhere(key: string): string | undefined {
  return PLACES.find((place) => place.option.key === key && SECTION_PATH[place.section] !== undefined)?.path;
}

/** Later options replace earlier ones of the same name; image stores add up. */
function mergeOptions(before: RawValue, after: RawValue): RawValue {
  const merged = new Map<string, string>();
  for (const option of [...(before as readonly string[]), ...(after as readonly string[])]) {
    const name = option.split("=", 1)[0] ?? option;
    merged.set(name.endsWith("imagestore") ? option : name, option);
  }
  return [...merged.values()];
}
