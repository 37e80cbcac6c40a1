/** Writes the table of fields into docs/cri.md; `deno task docs`. */
import { FIELDS } from "./all.ts";
import { WITHOUT_EFFECT } from "./security.ts";

const MARK = "<!-- fields -->\n";

/** The documentation with its table made anew. */
export function documented(text: string): string {
  const rows = FIELDS.map(({ field, shows }) => `| ${field} | ${shows.replaceAll("|", "\\|")} |`);
  const without = Object.entries(WITHOUT_EFFECT).map(([field, why]) => `| ${field} | ${why} |`);
  const table = (head: string, lines: readonly string[]): string => `${head}\n|---|---|\n${lines.join("\n")}\n`;
  return text.slice(0, text.indexOf(MARK) + MARK.length) + `\n${table("| field | what is seen |", rows)}` +
    `\nWithout effect here, because a pod's infra process is a program of the daemon's own:\n` +
    `\n${table("| field | why |", without)}`;
}

if (import.meta.main) {
  const path = new URL("../../../docs/cri.md", import.meta.url);
  await Deno.writeTextFile(path, documented(await Deno.readTextFile(path)));
}
