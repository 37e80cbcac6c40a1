import { InvalidArgumentError } from "../../base/errors.ts";

/** CRI-O's limit for one label, key and value together. */
const MAX_LABEL_BYTES = 4096;
/** The kernel's (uid_t)-1 is "no id". */
const MAX_ID = 0xffff_fffe;

const encoder = new TextEncoder();

/** @throws InvalidArgumentError that begins with the name of the field */
export function invalid(field: string, problem: string): InvalidArgumentError {
  return new InvalidArgumentError(`${field} ${problem}`);
}

/** The value, which the client has to give. */
export function required<T>(value: T | undefined, field: string): T {
  if (value === undefined) throw invalid(field, "is missing");
  return value;
}

/** Text that is not empty. */
export function nonEmpty(text: string, field: string): string {
  if (text === "") throw invalid(field, "is empty");
  return clean(text, field);
}

/** Text without NUL, which no system call could take. */
export function clean(text: string, field: string): string {
  if (text.includes("\0")) throw invalid(field, "contains a NUL byte");
  return text;
}

/** Text that goes into a line of some file: no control characters. */
export function oneLine(text: string, field: string): string {
  // deno-lint-ignore no-control-regex -- control characters are what this looks for
  if (/[\x00-\x1f\x7f]/.test(text)) throw invalid(field, `${quote(text)} contains a control character`);
  return text;
}

/** A name that becomes a part of file names and of a record's name. */
export function nameLike(text: string, field: string): string {
  if (text.includes("/") || text === "." || text === "..") throw invalid(field, `${quote(text)} is not a name`);
  return oneLine(nonEmpty(text, field), field);
}

/** An absolute path. */
export function absolute(path: string, field: string): string {
  if (!nonEmpty(path, field).startsWith("/")) throw invalid(field, `${quote(path)} is not an absolute path`);
  return path;
}

/** A relative path that stays inside; leading slashes are dropped. */
export function inside(path: string, field: string): string {
  const relative = clean(path, field).replace(/^\/+/, "");
  if (relative.split("/").includes("..")) throw invalid(field, `${quote(path)} leads out of its directory`);
  return relative;
}

/** A user or group id. */
export function hostId(value: bigint, field: string): number {
  if (value < 0n || value > BigInt(MAX_ID)) throw invalid(field, `${value} is not between 0 and ${MAX_ID}`);
  return Number(value);
}

/** An integer within limits; both are inclusive. */
export function integer(value: bigint, field: string, limits: { min: number; max?: number }): number {
  const { min, max = Number.MAX_SAFE_INTEGER } = limits;
  if (value < BigInt(min) || value > BigInt(max)) throw invalid(field, `${value} is not between ${min} and ${max}`);
  return Number(value);
}

/** Labels as a record; keys such as `__proto__` stay ordinary keys. */
export function labels(map: ReadonlyMap<string, string>, field: string): Readonly<Record<string, string>> {
  for (const [key, value] of map) {
    if (key === "") throw invalid(field, "has an empty key");
    const bytes = encoder.encode(key).length + encoder.encode(value).length;
    if (bytes > MAX_LABEL_BYTES) {
      throw invalid(field, `${quote(key)}: key and value have ${bytes} bytes, more than ${MAX_LABEL_BYTES}`);
    }
  }
  return plainRecord(map);
}

/** A map as a record. */
export function plainRecord(map: ReadonlyMap<string, string>): Readonly<Record<string, string>> {
  return Object.fromEntries(map);
}

/** Text in quotes and of bounded length, for messages. */
export function quote(text: string): string {
  return JSON.stringify(text.length <= 160 ? text : `${text.slice(0, 160)}…`);
}

/** Drops what is undefined, so that an absent field is absent in the record too. */
export function present<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
