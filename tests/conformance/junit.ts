/** How one spec ended. */
export interface SpecResult {
  /** The name without the labels that Ginkgo appends, as it stands in the skip list. */
  readonly name: string;
  readonly outcome: "passed" | "failed" | "skipped";
  /** Why it failed or was skipped; empty where it passed. */
  readonly message: string;
  readonly seconds: number;
}

/** What Ginkgo appends to a name: decorators and labels. (`[Conformance]` is part of names.) */
const LABELS = / \[Serial\]$/;

/**
 * The specs of a JUnit report that Ginkgo 2 wrote, without its set-up and report nodes (of those only failures).
 *
 * What was filtered out by name (`--ginkgo.skip`) has the message "skipped" alone, as has what a spec's own Skip() gave
 * no reason for.
 *
 * @throws Error when it holds no spec
 */
export function parseJunit(xml: string): SpecResult[] {
  const results: SpecResult[] = [];
  for (const [, attributes = "", body = ""] of xml.matchAll(/<testcase\b([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const full = attribute(attributes, "name");
    const outcome = outcomeOf(attribute(attributes, "status"));
    if (!full.startsWith("[It] ") && outcome !== "failed") continue;
    const name = full.replace(/^\[It\] /, "").replace(LABELS, "");
    const message = attribute(/<(?:skipped|failure|error)\b([^>]*)/.exec(body)?.[1] ?? "", "message");
    results.push({ name, outcome, message, seconds: Number(attribute(attributes, "time")) });
  }
  if (results.length === 0) throw new Error("the report holds no spec: did critest end before its first one?");
  return results;
}

function outcomeOf(status: string): SpecResult["outcome"] {
  if (status === "passed") return "passed";
  return status === "skipped" || status === "pending" ? "skipped" : "failed";
}

function attribute(attributes: string, name: string): string {
  return unescape(new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1] ?? "");
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

function unescape(text: string): string {
  return text.replace(/&(?:#x([0-9a-fA-F]+)|#(\d+)|(\w+));/g, (whole, hex, decimal, name) => {
    if (hex !== undefined) return String.fromCodePoint(parseInt(hex, 16));
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    return ENTITIES[name] ?? whole;
  });
}
