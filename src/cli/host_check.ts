import type { ConfigValues } from "../config/values.ts";
import { print, printError } from "./_output.ts";
import { hostFacts } from "./host/facts.ts";
import { type Finding, findings } from "./host/findings.ts";
import { tableLines } from "./table.ts";

/** `crio check --host [--json]`: what this node lacks, with the remedy. Gives 1 when pods need something that is missing. */
export async function hostCheck(values: ConfigValues, { json }: { readonly json: boolean }): Promise<number> {
  const found = findings(await hostFacts(values));
  const missing = found.filter(({ level }) => level === "missing").length;
  print(json ? `${JSON.stringify({ fit: missing === 0, findings: found }, undefined, 2)}\n` : textOf(found));
  if (missing === 0) return 0;
  printError(`${missing} ${missing === 1 ? "thing is" : "things are"} missing that pods need\n`);
  return 1;
}

function textOf(found: readonly Finding[]): string {
  const rows = found.map(({ level, subject, detail, remedy }) => [
    level,
    subject,
    remedy === undefined ? detail : `${detail}: ${remedy}`,
  ]);
  const columns = ["LEVEL", "SUBJECT", "WHAT, AND WHAT TO DO ABOUT IT"].map((title) => ({ title }));
  return `${tableLines(columns, rows).join("\n")}\n`;
}
