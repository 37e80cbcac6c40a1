import { parse, TomlError } from "smol-toml";
import { type ErrorKind, PodError } from "../base/errors.ts";
import type { Kind, Option, RawValue } from "./option.ts";

/** A parsed TOML table. */
export type Table = { readonly [key: string]: unknown };

/** Something in the configuration that the daemon cannot start with. */
export class ConfigError extends PodError {
  override readonly kind: ErrorKind = "invalid_argument";

  /**
   * @param source file, `environment variable X` or `flag --x`
   * @param keyPath such as `crio.runtime.log_level`; empty when the file as a whole is wrong
   */
  constructor(readonly source: string, readonly keyPath: string, problem: string, options?: ErrorOptions) {
    super([source, keyPath, problem].filter((part) => part !== "").join(": "), options);
  }
}

/** @throws ConfigError with line and column when `text` is not TOML */
export function parseToml(text: string, source: string): Table {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [first = "", ...code] = error.message.split("\n");
    const reason = first.replace("Invalid TOML document: ", "");
    const shown = code.filter((line) => line.trim() !== "").join("\n");
    throw new ConfigError(source, "", `line ${error.line}, column ${error.column}: ${reason}\n${shown}`.trimEnd(), {
      cause: error,
    });
  }
}

/** A table, or undefined for anything else. */
export function asTable(value: unknown): Table | undefined {
  const plain = typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
  return plain ? value as Table : undefined;
}

/**
 * A TOML value as its option's kind asks for it, checked.
 *
 * @throws ConfigError naming `source` and `path`
 */
export function fromToml(option: Option, value: unknown, where: { source: string; path: string }): RawValue {
  const converted = convert(option.kind, value);
  if (converted === undefined) {
    throw new ConfigError(where.source, where.path, `is ${typeName(value)}, must be ${KIND_NAME[option.kind]}`);
  }
  return checkedValue(option, converted, where);
}

/**
 * A flag's or variable's text as its option's kind asks for it, checked.
 *
 * @throws ConfigError naming `source` and `path`
 */
export function fromText(option: Option, texts: readonly string[], where: { source: string; path: string }): RawValue {
  const last = texts.at(-1) ?? "";
  const value = ((): unknown => {
    if (option.kind === "boolean") return BOOLEANS.get(last.toLowerCase());
    if (option.kind === "integer") return /^[+-]?\d+$/.test(last) ? Number(last) : undefined;
    if (option.kind === "strings") return texts.flatMap((text) => text === "" ? [] : text.split(","));
    return last;
  })();
  if (value === undefined) {
    throw new ConfigError(where.source, "", `${JSON.stringify(last)} is not ${KIND_NAME[option.kind]}`);
  }
  return checkedValue(option, value as RawValue, { ...where, path: "" });
}

function checkedValue(option: Option, value: RawValue, where: { source: string; path: string }): RawValue {
  const problem = option.check(value);
  if (problem === undefined) return value;
  const shown = typeof value === "object" ? "" : `${JSON.stringify(value)} `;
  throw new ConfigError(where.source, where.path, `${shown}${problem}`);
}

const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ["true", true],
  ["t", true],
  ["1", true],
  ["", true],
  ["false", false],
  ["f", false],
  ["0", false],
]);

const KIND_NAME: Readonly<Record<Kind, string>> = {
  string: "a string",
  integer: "an integer",
  boolean: "true or false",
  strings: "an array of strings",
  duration: 'a duration such as "30s"',
  size: 'a size such as "12 MiB"',
  map: "a table of strings",
};

function convert(kind: Kind, value: unknown): RawValue | undefined {
  switch (kind) {
    case "string":
    case "duration":
    case "size":
      return typeof value === "string" ? value : undefined;
    case "integer":
      return typeof value === "number" && Number.isSafeInteger(value) ? value : undefined;
    case "boolean":
      return typeof value === "boolean" ? value : undefined;
    case "strings":
      return Array.isArray(value) && value.every((item) => typeof item === "string") ? value : undefined;
    case "map": {
      const given = asTable(value);
      const items = Object.entries(given ?? {}).filter((item): item is [string, string] => typeof item[1] === "string");
      return given !== undefined && items.length === Object.keys(given).length ? Object.fromEntries(items) : undefined;
    }
  }
}

function typeName(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  if (value instanceof Date) return "a date";
  if (typeof value === "object") return "a table";
  if (typeof value === "number") return Number.isInteger(value) ? "an integer" : "a float";
  return typeof value === "boolean" ? "a boolean" : "a string";
}
