/** What a configuration value is: how it is written in TOML, on the command line and in the environment. */
export interface RawValues {
  readonly string: string;
  readonly integer: number;
  readonly boolean: boolean;
  readonly strings: readonly string[];
  /** A Go duration such as `1m30s`; milliseconds in the typed configuration. */
  readonly duration: string;
  /** Bytes with an optional unit, such as `12 MiB`; a number in the typed configuration. */
  readonly size: string;
  readonly map: Readonly<Record<string, string>>;
}

export type Kind = keyof RawValues;
export type RawValue = RawValues[Kind];

/** What the typed configuration holds for each kind. */
export interface TypedValues extends Omit<RawValues, "duration" | "size"> {
  readonly duration: number;
  readonly size: number;
}

/** Says what is wrong with a value, or undefined. */
export type Check<V> = (value: V) => string | undefined;

/** One row of the schema. */
export interface Option<K extends Kind = Kind> {
  readonly kind: K;
  /** Name in its TOML table. */
  readonly key: string;
  readonly initial: RawValues[K];
  /** What it does, for the template and the help text. */
  readonly doc: string;
  /** Long flag without dashes; undefined: none. */
  readonly flag: string | undefined;
  /** Other flag names: one letter stands behind one dash. */
  readonly aliases: readonly string[];
  /** Environment variables, the first one that is set counts. */
  readonly env: readonly string[];
  /** Left out of the help text. */
  readonly hidden: boolean;
  /** Whether SIGHUP applies a change. */
  readonly reload: boolean;
  /** False while the feature behind it does not exist: the value is accepted and has no effect. */
  readonly built: boolean;
  /** Why it should no longer be used. */
  readonly deprecated: string | undefined;
  /** Says what is wrong with a value, or undefined. */
  check(value: RawValues[K]): string | undefined;
}

/** What a row may leave out. */
export interface Details<V> {
  readonly doc: string;
  /** Default: the key with dashes; false: no flag, hence no variable. */
  readonly flag?: string | false;
  readonly aliases?: readonly string[];
  /** Default: `CONTAINER_` and the flag in capitals; false: none. */
  readonly env?: string | readonly string[] | false;
  readonly hidden?: boolean;
  readonly reload?: boolean;
  readonly built?: boolean;
  readonly deprecated?: string;
  readonly check?: Check<V>;
}

/** All values of an option, where they are a few words. */
export function wordsOf(option: Option): readonly string[] | undefined {
  const { words } = option.check as { readonly words?: readonly string[] };
  return words;
}

/** A table of options by the name that they have in the typed configuration. */
export type OptionTable = Readonly<Record<string, Option>>;

/** The typed values of a table of options. */
export type Typed<T extends OptionTable> = {
  readonly [P in keyof T]: T[P] extends Option<infer K> ? TypedValues[K] : never;
};

export function text(key: string, initial: string, details: Details<string>): Option<"string"> {
  return row("string", { key, initial }, details);
}

export function integer(key: string, initial: number, details: Details<number>): Option<"integer"> {
  return row("integer", { key, initial }, details);
}

/** A switch that is on unless the configuration says otherwise. */
export function on(key: string, details: Details<boolean>): Option<"boolean"> {
  return row("boolean", { key, initial: true }, details);
}

/** A switch that is off unless the configuration says otherwise. */
export function off(key: string, details: Details<boolean>): Option<"boolean"> {
  return row("boolean", { key, initial: false }, details);
}

export function list(key: string, initial: readonly string[], details: Details<readonly string[]>): Option<"strings"> {
  return row("strings", { key, initial }, details);
}

export function duration(key: string, initial: string, details: Details<string>): Option<"duration"> {
  return row("duration", { key, initial }, { ...details, check: both(checkDuration, details.check) });
}

export function size(key: string, initial: string, details: Details<string>): Option<"size"> {
  return row("size", { key, initial }, { ...details, check: both(checkSize, details.check) });
}

export function table(
  key: string,
  initial: Readonly<Record<string, string>>,
  details: Details<Readonly<Record<string, string>>>,
): Option<"map"> {
  return row("map", { key, initial }, { flag: false, ...details });
}

function row<K extends Kind>(
  kind: K,
  base: { readonly key: string; readonly initial: RawValues[K] },
  details: Details<RawValues[K]>,
): Option<K> {
  const { doc, aliases = [], hidden = false, reload = false, built = true, deprecated, check = fine } = details;
  const flag = details.flag === false ? undefined : details.flag ?? base.key.replaceAll("_", "-");
  return {
    ...base,
    kind,
    doc,
    flag,
    aliases,
    env: envNames(details.env, flag),
    hidden,
    reload,
    built,
    deprecated,
    check,
  };
}

function fine(): undefined {}

function envNames(given: string | readonly string[] | false | undefined, flag: string | undefined): readonly string[] {
  if (given === false || flag === undefined) return [];
  if (given === undefined) return [`CONTAINER_${flag.replaceAll("-", "_").toUpperCase()}`];
  return typeof given === "string" ? [given] : given;
}

function both(first: Check<string>, second: Check<string> | undefined): Check<string> {
  return (value) => first(value) ?? second?.(value);
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  "µs": 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};
const DURATION = /^[+-]?(?:0|(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+)$/;

/** Milliseconds of a Go duration (`time.ParseDuration`); undefined when it is none. An empty text is 0. */
export function parseDurationMs(value: string): number | undefined {
  if (value === "") return 0;
  if (!DURATION.test(value)) return undefined;
  let sumMs = 0;
  for (const [, amount, unit] of value.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/g)) {
    sumMs += Number(amount) * (UNIT_MS[unit ?? ""] ?? 0);
  }
  return value.startsWith("-") ? -sumMs : sumMs;
}

const SIZE = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?$/i;
const SIZE_EXPONENT: Readonly<Record<string, number>> = { "": 0, k: 1, m: 2, g: 3, t: 4 };

/** Bytes of `12 MiB`, `500KB`, `4096`; every unit counts in 1024, as CRI-O does. Undefined when it is none. */
export function parseSizeBytes(value: string): number | undefined {
  if (value === "") return 0;
  const match = SIZE.exec(value.trim());
  if (match === null) return undefined;
  return Math.round(Number(match[1]) * 1024 ** (SIZE_EXPONENT[(match[2] ?? "").toLowerCase()] ?? 0));
}

function checkDuration(value: string): string | undefined {
  return parseDurationMs(value) === undefined ? "is not a duration such as 30s or 1m30s" : undefined;
}

function checkSize(value: string): string | undefined {
  return parseSizeBytes(value) === undefined ? "is not a size such as 12 MiB" : undefined;
}
