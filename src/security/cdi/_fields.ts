/** A mistake in a CDI specification file, with its place. */
export class CdiFormatError extends Error {
  constructor(readonly place: string, readonly problem: string) {
    super(place === "" ? problem : `${place}: ${problem}`);
  }
}

/** An object's fields; the entry with the empty name is its own place, for messages. */
export type Fields = ReadonlyMap<string, unknown>;

/** The fields of an object that has no others than these; null counts as absent. */
export function fieldsOf(value: unknown, place: string, known: readonly string[]): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new CdiFormatError(place, "is not an object");
  }
  const fields = new Map<string, unknown>([["", place]]);
  for (const [name, field] of Object.entries(value)) {
    if (!known.includes(name)) throw new CdiFormatError(join(place, name), "is not known");
    if (field !== null) fields.set(name, field);
  }
  return fields;
}

/** A text that is not empty. */
export function text(fields: Fields, name: string): string {
  const value = optionalText(fields, name);
  if (value === undefined || value === "") throw new CdiFormatError(placeOf(fields, name), "is missing");
  return value;
}

/** A text, or a number where YAML makes one of an unquoted text such as `name: 0`. */
export function optionalText(fields: Fields, name: string): string | undefined {
  const value = fields.get(name);
  if (value === undefined || typeof value === "string") return value;
  if (typeof value === "number") return String(value);
  throw new CdiFormatError(placeOf(fields, name), "is not a text");
}

/** A whole number from 0 on. */
export function optionalCount(fields: Fields, name: string): number | undefined {
  const value = fields.get(name);
  if (value === undefined) return undefined;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new CdiFormatError(placeOf(fields, name), "is not a whole number from 0 on");
}

export function optionalSwitch(fields: Fields, name: string): boolean | undefined {
  const value = fields.get(name);
  if (value === undefined || typeof value === "boolean") return value;
  throw new CdiFormatError(placeOf(fields, name), "is not true or false");
}

/** The items of a list, each with its place; none when there is no list. */
export function arrayOf(fields: Fields, name: string): ReadonlyArray<readonly [place: string, value: unknown]> {
  const value = fields.get(name) ?? [];
  const place = placeOf(fields, name);
  if (!Array.isArray(value)) throw new CdiFormatError(place, "is not a list");
  return value.map((item, index) => [`${place}[${index}]`, item] as const);
}

export function texts(fields: Fields, name: string): string[] {
  return arrayOf(fields, name).map(([place, value]) => {
    if (typeof value === "string") return value;
    throw new CdiFormatError(place, "is not a text");
  });
}

/** Texts by name; undefined when there are none. */
export function stringMap(fields: Fields, name: string): Readonly<Record<string, string>> | undefined {
  const value = fields.get(name);
  if (value === undefined) return undefined;
  const place = placeOf(fields, name);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new CdiFormatError(place, "is not an object");
  }
  const entries = Object.entries(value);
  for (const [key, item] of entries) {
    if (typeof item !== "string") throw new CdiFormatError(join(place, key), "is not a text");
  }
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/** What `read` makes of a field; undefined when it is absent. */
export function optional<T>(
  fields: Fields,
  name: string,
  read: (value: unknown, place: string) => T,
): T | undefined {
  const value = fields.get(name);
  return value === undefined ? undefined : read(value, placeOf(fields, name));
}

/** Where a field stands. */
export function placeOf(fields: Fields, name: string): string {
  return join(String(fields.get("") ?? ""), name);
}

function join(place: string, name: string): string {
  return place === "" ? name : `${place}.${name}`;
}
