import { nearest } from "./_nearest.ts";
import { GATED_ANNOTATIONS } from "./annotations.ts";
import type { Check } from "./option.ts";

/** One of these words; the empty text too where it is listed. */
export function oneOf(...words: readonly string[]): Check<string> & { readonly words: readonly string[] } {
  const shown = words.map((word) => word === "" ? '""' : word).join(", ");
  const check = (value: string): string | undefined => words.includes(value) ? undefined : `is not one of ${shown}`;
  return Object.assign(check, { words });
}

/** An absolute path. */
export function absolute(value: string): string | undefined {
  if (value.includes("\0")) return "has a NUL byte";
  return value.startsWith("/") ? undefined : "is not an absolute path";
}

/** Empty or an absolute path. */
export function absoluteOrEmpty(value: string): string | undefined {
  return value === "" ? undefined : absolute(value);
}

/** `PREFIX=TRANSPORT:/path` items. */
export function imageSources(values: readonly string[]): string | undefined {
  const item = /^[^=\s]+\s*=\s*(?:oci|oci-archive|docker-archive|dir):\/[^\0]*$/;
  return each(values, (value) => item.test(value) ? undefined : "is not PREFIX=TRANSPORT:/PATH");
}

/** Only absolute paths. */
export function absolutePaths(values: readonly string[]): string | undefined {
  return each(values, absolute);
}

/** An integer in a range, both ends included. */
export function between(min: number, max: number): Check<number> {
  return (value) => value >= min && value <= max ? undefined : `is not between ${min} and ${max}`;
}

/** `NAME=value` items. */
export function assignments(values: readonly string[]): string | undefined {
  return each(values, (value) => /^[^=\0]+=[^\0]*$/.test(value) ? undefined : "is not NAME=value");
}

/** Names of getrlimit(2) in lower case. */
const ULIMITS = ("as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack")
  .split(" ");

/** `name=soft:hard` items; the hard limit may be left out, -1 is none. */
export function ulimits(values: readonly string[]): string | undefined {
  return each(values, (value) => {
    const match = /^([a-z]+)=(-1|\d+)(?::(-1|\d+))?$/.exec(value);
    if (match === null) return "is not name=soft:hard";
    if (!ULIMITS.includes(match[1] ?? "")) return `names no limit; there are ${ULIMITS.join(", ")}`;
    const soft = limit(match[2]);
    const hard = limit(match[3] ?? match[2]);
    return soft > hard ? "has a soft limit above the hard one" : undefined;
  });
}

function limit(value: string | undefined): number {
  return value === undefined || value === "-1" ? Infinity : Number(value);
}

/** `key=value` items without blanks around the equals sign. */
export function sysctls(values: readonly string[]): string | undefined {
  return each(
    values,
    (value) => /^[\w./-]+=(?:\S(?:.*\S)?)?$/.test(value) ? undefined : "is not key=value without blanks",
  );
}

/** `host:container:rwm` items; only the first part is needed. */
export function devices(values: readonly string[]): string | undefined {
  return each(values, (value) => {
    const parts = value.split(":");
    const paths = parts.filter((part) => part.startsWith("/"));
    const rest = parts.filter((part) => !part.startsWith("/"));
    const wrong = paths.length === 0 || paths.length > 2 || rest.length > 1 || !parts[0]?.startsWith("/") ||
      rest.some((part) => !/^[rwm]{1,3}$/.test(part));
    return wrong ? "is not host-path[:container-path][:rwm]" : undefined;
  });
}

/** Capability names, with or without `CAP_`. */
export function capabilities(values: readonly string[]): string | undefined {
  return each(values, (value) => /^(?:CAP_)?[A-Z_]+$/i.test(value) ? undefined : "is not a capability name");
}

/** A list of CPUs such as `0-3,8`. */
export function cpuList(value: string): string | undefined {
  return /^(?:\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)?$/.test(value) ? undefined : "is not a list of CPUs such as 0-3,8";
}

/** A regular expression. */
export function pattern(value: string): string | undefined {
  try {
    new RegExp(value);
    return undefined;
  } catch (error) {
    return `is not a regular expression: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** A TCP port as text. */
export function portText(value: string): string | undefined {
  return /^\d{1,5}$/.test(value) && Number(value) <= 65535 ? undefined : "is not a port number";
}

/** Empty, `pod`, or a systemd slice. */
export function podOrSlice(value: string): string | undefined {
  return value === "" || value === "pod" || value.endsWith(".slice") ? undefined : 'is not "pod" or a systemd slice';
}

/** Annotations that can be allowed. */
export function annotationNames(values: readonly string[]): string | undefined {
  return each(values, (value) => {
    if (GATED_ANNOTATIONS.includes(value)) return undefined;
    const hint = nearest(value, GATED_ANNOTATIONS);
    return `is not an annotation that can be allowed${hint === undefined ? "" : `; is ${JSON.stringify(hint)} meant?`}`;
  });
}

function each(values: readonly string[], check: Check<string>): string | undefined {
  for (const value of values) {
    const problem = check(value);
    if (problem !== undefined) return `${JSON.stringify(value)} ${problem}`;
  }
  return undefined;
}
