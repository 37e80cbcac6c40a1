import { type ErrorKind, PodError } from "../base/errors.ts";

/** The command line is wrong; `main` prints the message and ends with 2. */
export class UsageError extends PodError {
  override readonly kind: ErrorKind = "invalid_argument";
}

/** What the parser needs to know of a flag. */
export interface FlagSpec {
  /** Long name, without dashes. */
  readonly name: string;
  /** Other names; one letter stands for `-x`. */
  readonly aliases?: readonly string[];
  /** Stands alone: `--flag` is `--flag=true`. */
  readonly boolean: boolean;
  /** What it does, for help and manual. */
  readonly doc?: string;
  /** What its value is, for help and manual. Default: `value`. */
  readonly value?: string;
  /** All values that it takes, where they are few; checked by who reads them. */
  readonly words?: readonly string[];
  /** Left out of help, manual and completions. */
  readonly hidden?: boolean;
}

/** Flags in front of the first word that is none, and everything from that word on. */
export interface ParsedFlags {
  /** By long name: the texts in the order given. */
  readonly flags: ReadonlyMap<string, readonly string[]>;
  readonly rest: readonly string[];
}

/**
 * Reads flags the way of Go's programs: `--name value`, `--name=value`, `-name=value`, `-n value`; a boolean takes a
 * value only after `=`. Ends at the first word without a dash, and after `--`.
 *
 * @throws UsageError for a flag that is unknown or lacks its value
 */
export function parseFlags(args: readonly string[], specs: Iterable<FlagSpec>): ParsedFlags {
  const known = new Map<string, FlagSpec>();
  for (const spec of specs) {
    for (const name of [spec.name, ...spec.aliases ?? []]) known.set(name, spec);
  }
  const flags = new Map<string, string[]>();
  for (let index = 0; index < args.length; index++) {
    const word = args[index] ?? "";
    if (word === "--") return { flags, rest: args.slice(index + 1) };
    const match = /^--?([^=-][^=]*)(?:=(.*))?$/s.exec(word);
    if (match === null) return { flags, rest: args.slice(index) };
    const [, name = "", attached] = match;
    const spec = known.get(name);
    if (spec === undefined) throw new UsageError(`flag provided but not defined: ${word.split("=", 1)[0]}`);
    const value = attached ?? (spec.boolean ? "true" : args[++index]);
    if (value === undefined) throw new UsageError(`flag needs an argument: ${word}`);
    flags.set(spec.name, [...flags.get(spec.name) ?? [], value]);
  }
  return { flags, rest: [] };
}

/** Whether a boolean flag was given and is not `=false`. */
export function isSet(parsed: ParsedFlags, name: string): boolean {
  const last = parsed.flags.get(name)?.at(-1);
  return last !== undefined && !["false", "f", "0"].includes(last.toLowerCase());
}

/** The last value of a flag. */
export function lastValue(parsed: ParsedFlags, name: string): string | undefined {
  return parsed.flags.get(name)?.at(-1);
}

/** A flag as it is typed: `--socket PATH`, `-s PATH`. */
export function spellings({ name, aliases = [], boolean, value = "value" }: FlagSpec): readonly string[] {
  const dashed = [name, ...aliases].map((one) => one.length === 1 ? `-${one}` : `--${one}`);
  return boolean ? dashed : dashed.map((one) => `${one} ${value}`);
}
