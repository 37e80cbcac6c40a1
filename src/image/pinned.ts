import { canonical, familiar, parseReference } from "./reference.ts";

/**
 * Compiles the patterns of `pinned_images`: exact, `glob*` (one star, at the end), or `*keyword*`; case does not matter.
 *
 * @returns whether an image with these names is pinned
 */
export function pinnedMatcher(patterns: readonly string[]): (names: readonly string[]) => boolean {
  const tests = patterns.filter((pattern) => pattern !== "").map(patternTest);
  if (tests.length === 0) return () => false;
  return (names) => names.some((name) => spellings(name).some((spelling) => tests.some((test) => test(spelling))));
}

function patternTest(pattern: string): (name: string) => boolean {
  const text = pattern.toLowerCase();
  if (text.length > 2 && text.startsWith("*") && text.endsWith("*")) {
    const keyword = text.slice(1, -1);
    return (name) => name.includes(keyword);
  }
  if (text.endsWith("*")) {
    const prefix = text.slice(0, -1);
    return (name) => name.startsWith(prefix);
  }
  return (name) => name === text;
}

/** As it is stored, as people write it. */
function spellings(name: string): string[] {
  try {
    const reference = parseReference(name);
    return [canonical(reference), familiar(reference)].map((text) => text.toLowerCase());
  } catch {
    // Other programs may store names that are none of ours.
    return [name.toLowerCase()];
  }
}
