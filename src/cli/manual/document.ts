/** A manual page before it is troff or Markdown. In all texts `x` is set as code, and nothing else has a meaning. */

/** One entry of a list of terms. */
export interface Term {
  readonly term: string;
  readonly text: readonly string[];
}

export type Block =
  | { readonly kind: "heading"; readonly text: string; readonly level: 1 | 2 }
  | { readonly kind: "paragraph"; readonly text: string }
  | { readonly kind: "terms"; readonly terms: readonly Term[] }
  | { readonly kind: "example"; readonly text: string };

export interface Page {
  readonly name: string;
  readonly section: 5 | 8;
  readonly title: string;
  readonly blocks: readonly Block[];
}

export function heading(text: string, level: 1 | 2 = 1): Block {
  return { kind: "heading", text, level };
}

export function paragraph(text: string): Block {
  return { kind: "paragraph", text };
}

export function terms(entries: readonly Term[]): Block {
  return { kind: "terms", terms: entries };
}

export function example(...lines: readonly string[]): Block {
  return { kind: "example", text: lines.join("\n") };
}
