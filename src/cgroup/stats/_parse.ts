/**
 * Words of cgroup files: single values and `key value` lines. What is absent or malformed is undefined; the
 * kernel's admin-guide (cgroup-v1/memory, cgroup-v2) describes all of them.
 */

/** The text of one file of the cgroup by its name; undefined when the cgroup has no such file. */
export type ReadText = (file: string) => string | undefined;

/** The files that a controller's figures come from, by the controller whose v1 hierarchy holds them. */
export interface ControllerFiles {
  readonly v1: Readonly<Record<string, readonly string[]>>;
  readonly v2: readonly string[];
}

/** v1 writes "no limit" as the largest multiple of the page size, which depends on the machine. */
const V1_UNLIMITED = 2 ** 62;

/** A file that holds one number. */
export function single(text: string | undefined): number | undefined {
  const digits = text?.trim();
  return digits !== undefined && /^\d+$/.test(digits) ? Number(digits) : undefined;
}

/** As {@link single}, for counters that pass 2^53. */
export function singleBig(text: string | undefined): bigint | undefined {
  const digits = text?.trim();
  return digits !== undefined && /^\d+$/.test(digits) ? BigInt(digits) : undefined;
}

/** The value of one of a file's `key value` lines. */
export function keyed(text: string | undefined, key: string): number | undefined {
  if (text === undefined) return undefined;
  const start = text.startsWith(`${key} `) ? 0 : text.indexOf(`\n${key} `) + 1;
  if (start === 0 && !text.startsWith(`${key} `)) return undefined;
  const end = text.indexOf("\n", start);
  return single(text.slice(start + key.length + 1, end === -1 ? undefined : end));
}

/** A limit; undefined when there is none (`max`, or v1's huge number). */
export function limit(value: number | undefined): number | undefined {
  return value === undefined || value >= V1_UNLIMITED ? undefined : value;
}
