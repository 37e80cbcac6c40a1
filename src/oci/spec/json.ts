/** RLIM_INFINITY (sys/resource.h): no limit. Numbers of JavaScript do not hold it. */
const NO_LIMIT = "18446744073709551615";

// ECMAScript's raw JSON: V8 has it, the types of this TypeScript do not.
const { rawJSON } = JSON as typeof JSON & { rawJSON(text: string): unknown };

/** Part of a runtime configuration as JSON; `Infinity` is the largest 64-bit number, which says "no limit". */
export function ociJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => item === Infinity ? rawJSON(NO_LIMIT) : item);
}

/** The reverse of {@link ociJson}. */
export function parseOciJson(text: string): unknown {
  const reviver = (_key: string, item: unknown, context?: { readonly source?: string }): unknown =>
    context?.source === NO_LIMIT ? Infinity : item;
  return JSON.parse(text, reviver);
}
