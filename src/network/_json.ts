import type { JsonObject } from "./types.ts";

/** `value` as an object; undefined when it is anything else. */
export function asObject(value: unknown): JsonObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value as JsonObject : undefined;
}

/** The entries of an array; empty when `value` is none. */
export function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** A text that is not empty, else undefined. */
export function asText(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** The texts of an array; other entries are dropped. */
export function asTexts(value: unknown): readonly string[] {
  return asList(value).filter((entry) => typeof entry === "string");
}

/** The JSON object in `text`; undefined when there is none. */
export function parseObject(text: string): JsonObject | undefined {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return undefined;
  }
}
