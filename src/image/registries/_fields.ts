/** Reads fields of a TOML document, naming the file and the key of what is wrong. */
import { InvalidArgumentError } from "../../base/errors.ts";

/** Where a value stands, for errors. */
export interface Where {
  readonly file: string;
  readonly key: string;
}

export type Table = Readonly<Record<string, unknown>>;

export function tables(value: unknown, where: Where): readonly Table[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every(isTable)) return value;
  throw wrong(where, "is not an array of tables");
}

export function strings(value: unknown, where: Where): readonly string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw wrong(where, "is not an array of strings");
}

export function optionalString(value: unknown, where: Where): string | undefined {
  if (value === undefined || typeof value === "string") return value;
  throw wrong(where, "is not a string");
}

export function optionalBoolean(value: unknown, where: Where): boolean {
  if (value === undefined) return false;
  if (typeof value === "boolean") return value;
  throw wrong(where, "is not true or false");
}

/** A place without the slashes at its end. */
export function trimmed(value: string | undefined, where: Where): string | undefined {
  if (value === undefined) return undefined;
  const text = value.replace(/\/+$/, "");
  if (text === "") throw wrong(where, "is empty");
  return text;
}

export function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function quote(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 120) ?? String(value);
}

export function wrong(where: Where, reason: string): InvalidArgumentError {
  return new InvalidArgumentError(`${where.file}: ${where.key} ${reason}`);
}
