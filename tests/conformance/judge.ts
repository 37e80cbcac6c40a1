import type { HostFacts } from "./host.ts";
import type { SpecResult } from "./junit.ts";
import { EXPECTED_SKIPS, type ExpectedSkip } from "./skips.ts";
import type { VariantName } from "./variants.ts";

/** The outcome of one run, compared with the list of skips. */
export interface Verdict {
  readonly passed: number;
  /** Skipped as the list says. */
  readonly skipped: number;
  /** Specs that failed, were skipped against the list, or ran against it. */
  readonly failures: readonly { readonly name: string; readonly message: string }[];
}

export interface Circumstances {
  readonly variant: VariantName;
  readonly host: HostFacts;
  /** Only some specs were asked for: those that were filtered out count as nothing. */
  readonly partial: boolean;
  /** Default: the list of `skips.ts`. */
  readonly list?: readonly ExpectedSkip[];
}

/** Holds the results against the list: each skip must be in it, and each of its lines must have been skipped. */
export function judge(results: readonly SpecResult[], circumstances: Circumstances): Verdict {
  const { list = EXPECTED_SKIPS, partial } = circumstances;
  const expected = new Map(list.filter((line) => concerns(line, circumstances)).map((line) => [line.name, line]));
  const failures: { name: string; message: string }[] = [];
  let [passed, skipped] = [0, 0];
  const seen = new Set<string>();
  for (const { name, outcome, message } of results) {
    seen.add(name);
    if (outcome === "failed") failures.push({ name, message });
    else if (outcome === "passed" && !expected.has(name)) passed++;
    else if (outcome === "passed") failures.push({ name, message: "ran and passed, but is in the list of skips" });
    else if (expected.has(name)) skipped++;
    else if (!partial) failures.push({ name, message: `was skipped, but is not in the list of skips: ${message}` });
  }
  if (!partial) failures.push(...unknownLines(expected, seen));
  return { passed, skipped, failures };
}

function* unknownLines(
  expected: ReadonlyMap<string, ExpectedSkip>,
  seen: ReadonlySet<string>,
): Generator<{ name: string; message: string }> {
  for (const name of expected.keys()) {
    if (!seen.has(name)) {
      yield { name, message: "is in the list of skips, but critest has no such spec" };
    }
  }
}

function concerns(line: ExpectedSkip, { variant, host }: Circumstances): boolean {
  if (line.variants !== undefined && !line.variants.includes(variant)) return false;
  return line.unlessHost === undefined || !host[line.unlessHost];
}
