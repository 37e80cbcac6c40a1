import type { Block, Page } from "./document.ts";

/** When the texts were last looked through; a page without a date is a fault for mandoc. */
const DATE = "2026-11-28";
/** Stands for a place where a word may be broken. */
const BREAK = "\x01";
/** A word longer than this may be broken: the narrowest terminals have 80 columns. */
const LONG_WORD = 50;

/** A page in the macros of man(7), for groff and mandoc. */
export function renderRoff({ name, section, title, blocks }: Page, program: string): string {
  const head = [
    `.TH "${quoted(name.toUpperCase())}" ${section} "${DATE}" "${quoted(program)}" "crio"`,
    ".nh",
    ".ad l",
    ".SH NAME",
    `${escaped(name)} \\- ${escaped(title)}`,
  ];
  const body = blocks.flatMap((block, index) => {
    const isFirst = index > 0 && blocks[index - 1]?.kind === "heading";
    return isFirst ? lines(block).filter((line) => line !== ".PP") : lines(block);
  });
  return [...head, ...body].join("\n") + "\n";
}

function lines(block: Block): string[] {
  switch (block.kind) {
    case "heading":
      return [`.${block.level === 1 ? "SH" : "SS"} ${escaped(block.text)}`];
    case "paragraph":
      return [".PP", ...textLines(block.text)];
    case "terms":
      return block.terms.flatMap(({ term, text }) => [
        ".TP",
        ...textLines(`\`${term}\``),
        ...text.flatMap((part, index) => [...(index === 0 ? [] : [".br"]), ...textLines(part)]),
      ]);
    case "example":
      return [".PP", ".RS 4", ".nf", ...block.text.split("\n").map(sealed), ".fi", ".RE"];
  }
}

function textLines(text: string): string[] {
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "").map(sealed);
}

/** One line of text: code in bold, and nothing that troff takes for a request. */
function sealed(line: string): string {
  const broken = line.replace(new RegExp(`\\S{${LONG_WORD},}`, "g"), (word) => word.replace(/[,/:]/g, `$&${BREAK}`));
  const parts = broken.split("`").map((part, index) => index % 2 === 1 ? `\\fB${escaped(part)}\\fR` : escaped(part));
  const text = parts.join("");
  if (line === "") return "\\&";
  return /^[.']/.test(text) ? `\\&${text}` : text;
}

/** Backslashes; dashes as they are typed; quotes and tildes that troff would make prettier. */
function escaped(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("'", "\\(aq").replaceAll("`", "\\(ga")
    .replaceAll(BREAK, "\\:").replaceAll("^", "\\(ha").replaceAll("~", "\\(ti").replaceAll("…", "...");
}

function quoted(text: string): string {
  return escaped(text).replaceAll('"', "\\(dq");
}
