import type { Block, Page } from "./document.ts";

/** A page as Markdown. */
export function renderMarkdown({ name, section, title, blocks }: Page): string {
  return [`# ${name}(${section})\n`, `${escaped(`${name} - ${title}`)}\n`, ...blocks.map(text)].join("\n");
}

function text(block: Block): string {
  switch (block.kind) {
    case "heading":
      return `${block.level === 1 ? "##" : "###"} ${escaped(block.text)}\n`;
    case "paragraph":
      return `${escaped(block.text)}\n`;
    case "terms":
      return `${
        block.terms.map(({ term, text }) => `- \`${term.replaceAll("`", "")}\`: ${text.map(escaped).join("\n  ")}`)
          .join("\n")
      }\n`;
    case "example":
      return `${block.text.split("\n").map((line) => `    ${line}`).join("\n")}\n`;
  }
}

/** What is between backquotes is code already; elsewhere nothing may turn into mark-up. */
function escaped(text: string): string {
  return text.split("`").map((part, index) =>
    index % 2 === 1 ? `\`${part}\`` : part.replace(/[\\*_<>[\]#|]/g, (character) => `\\${character}`)
  ).join("");
}
