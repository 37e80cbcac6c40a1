import { VERSION } from "../base/version.ts";
import { print } from "./_output.ts";
import { flagsOf } from "./commands.ts";
import { lastValue, parseFlags, UsageError } from "./flags.ts";
import type { Page } from "./manual/document.ts";
import { renderMarkdown } from "./manual/markdown.ts";
import { PAGES } from "./manual/pages.ts";
import { renderRoff } from "./manual/roff.ts";

/** `crio man [PAGE]` and `crio markdown [PAGE]`. @throws UsageError; Deno's file errors with `--output` */
export async function manualCommand(form: "man" | "markdown", args: readonly string[]): Promise<number> {
  const outer = parseFlags(args, flagsOf(form));
  const [name = "crio", ...rest] = outer.rest;
  const inner = parseFlags(rest, flagsOf(form));
  if (inner.rest.length > 0) throw new UsageError(`${form} takes one page, got ${[name, ...inner.rest].join(" ")}`);
  const directory = lastValue(inner, "output") ?? lastValue(outer, "output");
  if (directory !== undefined) {
    await writeAll(form, directory);
    return 0;
  }
  const page = PAGES.get(name.replace(/(?:\.[58]|\([58]\))$/, ""));
  if (page === undefined) {
    throw new UsageError(`no page ${JSON.stringify(name)}: there are ${[...PAGES.keys()].join(", ")}`);
  }
  print(render(form, page()));
  return 0;
}

async function writeAll(form: "man" | "markdown", directory: string): Promise<void> {
  await Deno.mkdir(directory, { recursive: true });
  for (const page of [...PAGES.values()].map((make) => make())) {
    const name = `${page.name}.${page.section}${form === "man" ? "" : ".md"}`;
    await Deno.writeTextFile(`${directory}/${name}`, render(form, page));
  }
}

function render(form: "man" | "markdown", page: Page): string {
  return form === "man" ? renderRoff(page, `crio ${VERSION}`) : renderMarkdown(page);
}
