import { errnoByName } from "../../linux/errno.ts";

/** A comparison of one argument of a system call, as in the OCI runtime specification. */
export interface SeccompArgument {
  /** 0 to 5. */
  readonly index: number;
  /** Up to 64 bits: a number, or what {@link rawInteger} makes of one that a number cannot hold. */
  readonly value: unknown;
  readonly valueTwo?: unknown;
  readonly op: string;
}

/** When a rule counts; every condition that is given has to be met. */
export interface SeccompCondition {
  /** `includes`: all of them are there; `excludes`: none of them is. As `CAP_X`. */
  readonly caps: readonly string[];
  /** Go's names: `amd64`, `arm64`. */
  readonly arches: readonly string[];
  readonly minKernel?: readonly [major: number, minor: number];
}

export interface SeccompRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args: readonly SeccompArgument[];
  readonly includes: SeccompCondition;
  readonly excludes: SeccompCondition;
}

/** A profile in the form of containers/common and Docker, of which the plain OCI form is a part. */
export interface SeccompProfile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures: readonly string[];
  readonly archMap: ReadonlyArray<{ readonly architecture: string; readonly subArchitectures: readonly string[] }>;
  readonly flags: readonly string[];
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly rules: readonly SeccompRule[];
}

const ACTIONS: ReadonlySet<string> = new Set(
  "KILL KILL_PROCESS KILL_THREAD TRAP ERRNO TRACE ALLOW LOG NOTIFY".split(" ").map((name) => `SCMP_ACT_${name}`),
);
const OPERATORS: ReadonlySet<string> = new Set(
  "NE LT LE EQ GE GT MASKED_EQ".split(" ").map((name) => `SCMP_CMP_${name}`),
);
const LAST_ARGUMENT = 5;
const MAX_ERRNO = 4095;

/** What is wrong with a profile, beginning with where. */
export class SeccompSyntaxError extends Error {}

/**
 * Reads a profile's text.
 *
 * @throws SeccompSyntaxError that names the place
 */
export function parseSeccompProfile(text: string): SeccompProfile {
  let json: unknown;
  try {
    json = JSON.parse(text, keepLargeIntegers);
  } catch (error) {
    throw new SeccompSyntaxError(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  return readSeccompProfile(json);
}

/** Like {@link parseSeccompProfile}, of what the text was parsed to. */
export function readSeccompProfile(json: unknown): SeccompProfile {
  const top = record(json, "profile");
  const architectures = strings(top["architectures"], "architectures");
  const archMap = list(top["archMap"], "archMap").map((entry, i) => archEntry(entry, `archMap[${i}]`));
  if (architectures.length > 0 && archMap.length > 0) fail("architectures", "and archMap are both given");
  return {
    defaultAction: action(top["defaultAction"], "defaultAction"),
    ...optional("defaultErrnoRet", errnoOf(top, { name: "defaultErrno", number: "defaultErrnoRet" }, "")),
    architectures,
    archMap,
    flags: strings(top["flags"], "flags"),
    ...optional("listenerPath", textOf(top["listenerPath"], "listenerPath")),
    ...optional("listenerMetadata", textOf(top["listenerMetadata"], "listenerMetadata")),
    rules: list(top["syscalls"], "syscalls").map((entry, i) => rule(entry, `syscalls[${i}]`)),
  };
}

function archEntry(json: unknown, where: string): SeccompProfile["archMap"][number] {
  const entry = record(json, where);
  return {
    architecture: required(textOf(entry["architecture"], `${where}.architecture`), `${where}.architecture`),
    subArchitectures: strings(entry["subArchitectures"], `${where}.subArchitectures`),
  };
}

function rule(json: unknown, where: string): SeccompRule {
  const entry = record(json, where);
  const one = textOf(entry["name"], `${where}.name`);
  const many = strings(entry["names"], `${where}.names`);
  if (one !== undefined && many.length > 0) fail(`${where}.name`, "and names are both given");
  const names = one === undefined ? many : [one];
  if (names.length === 0) fail(`${where}.names`, "is empty");
  return {
    names,
    action: action(entry["action"], `${where}.action`),
    ...optional("errnoRet", errnoOf(entry, { name: "errno", number: "errnoRet" }, `${where}.`)),
    args: list(entry["args"], `${where}.args`).map((arg, i) => argument(arg, `${where}.args[${i}]`)),
    includes: condition(entry["includes"], `${where}.includes`),
    excludes: condition(entry["excludes"], `${where}.excludes`),
  };
}

function argument(json: unknown, where: string): SeccompArgument {
  const entry = record(json, where);
  const op = required(textOf(entry["op"], `${where}.op`), `${where}.op`);
  if (!OPERATORS.has(op)) fail(`${where}.op`, `${JSON.stringify(op)} is not known`);
  const index = entry["index"];
  if (typeof index !== "number" || !Number.isInteger(index) || index < 0 || index > LAST_ARGUMENT) {
    fail(`${where}.index`, `is not 0 to ${LAST_ARGUMENT}`);
  }
  const [value, valueTwo] = ["value", "valueTwo"].map((key) => unsigned(entry[key], `${where}.${key}`));
  return { index, op, value: value ?? 0, ...optional("valueTwo", valueTwo) };
}

function condition(json: unknown, where: string): SeccompCondition {
  const entry = json === undefined || json === null ? {} : record(json, where);
  const kernel = textOf(entry["minKernel"], `${where}.minKernel`);
  const version = kernel === undefined ? undefined : /^(\d+)\.(\d+)/.exec(kernel);
  if (version === null) fail(`${where}.minKernel`, `${JSON.stringify(kernel)} is not a kernel version such as 4.8`);
  return {
    caps: strings(entry["caps"], `${where}.caps`),
    arches: strings(entry["arches"], `${where}.arches`),
    ...(version === undefined ? {} : { minKernel: [Number(version[1]), Number(version[2])] as const }),
  };
}

function action(json: unknown, where: string): string {
  const name = required(textOf(json, where), where);
  if (!ACTIONS.has(name)) fail(where, `${JSON.stringify(name)} is not an action`);
  return name;
}

/** The error by name counts before the number, as in containers/common. */
function errnoOf(
  entry: Readonly<Record<string, unknown>>,
  keys: { readonly name: string; readonly number: string },
  where: string,
): number | undefined {
  const name = textOf(entry[keys.name], where + keys.name);
  if (name !== undefined) {
    return errnoByName(name) ?? fail(where + keys.name, `${JSON.stringify(name)} is not an error that is known here`);
  }
  const number = entry[keys.number];
  if (number === undefined || number === null) return undefined;
  if (typeof number !== "number" || !Number.isInteger(number) || number < 0 || number > MAX_ERRNO) {
    fail(where + keys.number, `is not 0 to ${MAX_ERRNO}`);
  }
  return number;
}

const MAX_U64 = 2n ** 64n - 1n;

function unsigned(json: unknown, where: string): unknown {
  if (json === undefined || json === null) return undefined;
  const digits = typeof json === "number" ? String(json) : rawText(json);
  if (digits === undefined || !/^\d+$/.test(digits) || BigInt(digits) > MAX_U64) {
    fail(where, "is not an unsigned integer of 64 bits");
  }
  return json;
}

/** JSON numbers are read as doubles, which hold 53 bits; arguments of system calls have 64. */
function keepLargeIntegers(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value) || context?.source === undefined) return value;
  return /^\d+$/.test(context.source) ? rawInteger(context.source) : value;
}

/** An integer that `JSON.stringify` writes with all its digits. */
export function rawInteger(digits: string): unknown {
  // ECMAScript 2026, which the type library does not know yet.
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(digits);
}

function rawText(json: unknown): string | undefined {
  if (typeof json !== "object" || json === null || !("rawJSON" in json)) return undefined;
  return typeof json.rawJSON === "string" ? json.rawJSON : undefined;
}

function record(json: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) fail(where, "is not an object");
  return json as Record<string, unknown>;
}

function list(json: unknown, where: string): readonly unknown[] {
  if (json === undefined || json === null) return [];
  return Array.isArray(json) ? json : fail(where, "is not a list");
}

function strings(json: unknown, where: string): string[] {
  return list(json, where).map((entry, i) => required(textOf(entry, `${where}[${i}]`), `${where}[${i}]`));
}

/** Go writes fields that are not set as empty text. */
function textOf(json: unknown, where: string): string | undefined {
  if (json === undefined || json === null || json === "") return undefined;
  return typeof json === "string" ? json : fail(where, "is not text");
}

function required(value: string | undefined, where: string): string {
  return value ?? fail(where, "is missing");
}

function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: V };
}

function fail(where: string, problem: string): never {
  throw new SeccompSyntaxError(`${where} ${problem}`);
}
