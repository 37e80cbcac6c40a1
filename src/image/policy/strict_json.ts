/** JSON for documents that decide about trust: a key that stands twice would be read differently by different programs. */
import { InvalidArgumentError, messageOf } from "../../base/errors.ts";

/** An object of a JSON document. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Strings, and what opens, closes and separates; a valid document has nothing else that matters here. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]/g;

/** @throws InvalidArgumentError for what is no JSON, and for an object with one key twice */
export function parseStrictJson(text: string): unknown {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw new InvalidArgumentError(`it is not valid JSON: ${messageOf(error).slice(0, 160)}`, { cause: error });
  }
  refuseDuplicates(text);
  return document;
}

/** @throws InvalidArgumentError unless the value is an object with no keys but these */
export function strictObject(value: unknown, what: string, keys?: readonly string[]): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InvalidArgumentError(`${what} is not an object`);
  }
  const unknown = keys === undefined ? undefined : Object.keys(value).find((key) => !keys.includes(key));
  if (unknown !== undefined) throw new InvalidArgumentError(`${what}: the key ${shown(unknown)} is not known`);
  return value as JsonObject;
}

/** @throws InvalidArgumentError unless the value is a string that is not empty */
export function strictText(value: unknown, what: string): string {
  if (typeof value === "string" && value !== "") return value;
  throw new InvalidArgumentError(`${what} is ${value === undefined ? "missing" : "not a text"}`);
}

/** A foreign text for a message. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}

function refuseDuplicates(text: string): void {
  /** For each open object the keys so far; undefined for a list. */
  const open: (Set<string> | undefined)[] = [];
  let last = "";
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (token === ":") addKey(open.at(-1), JSON.parse(last));
    last = token;
  }
}

function addKey(keys: Set<string> | undefined, key: string): void {
  if (keys?.has(key)) throw new InvalidArgumentError(`the key ${shown(key)} stands twice in one object`);
  keys?.add(key);
}
