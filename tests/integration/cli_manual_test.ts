/** `crio man` and `crio markdown`: the pages as groff and mandoc see them. */
import { deepEqual, equal, match, ok } from "node:assert/strict";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const PAGES = ["crio.8", "crio.conf.5", "crio.conf.d.5", "crio-status.8"];
const decoder = new TextDecoder();

async function run(argv: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const [program = "", ...args] = argv;
  const env = { MANWIDTH: "100", LC_ALL: "C.UTF-8" };
  const { code, stdout, stderr } = await new Deno.Command(program, { args, env, stdin: "null" }).output();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

const crio = (...args: string[]): ReturnType<typeof run> => run([Deno.execPath(), "run", "-A", MAIN, ...args]);

/** Text of a rendered page without bold and underlines. */
async function rendered(file: string): Promise<string> {
  const { code, out, err } = await run(["/usr/bin/man", "--warnings", "-E", "UTF-8", "-l", file]);
  deepEqual([code, err], [0, ""], file);
  // deno-lint-ignore no-control-regex
  return out.replace(/.\x08/g, "").replace(/\s+/g, " ");
}

Deno.test("man and mandoc find no fault in the pages, and they hold every flag and option", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-man-" });
  const written = await crio("man", "--output", directory);
  deepEqual([written.code, written.out, written.err], [0, "", ""]);
  deepEqual((await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name).sort(), [...PAGES].sort());
  const texts = await Promise.all(PAGES.map((page) => rendered(`${directory}/${page}`)));
  const [main = "", conf = "", , status = ""] = texts;
  if (await Deno.stat("/usr/bin/mandoc").then(() => true, () => false)) {
    for (const page of PAGES) {
      const lint = await run(["/usr/bin/mandoc", "-T", "lint", "-W", "warning", `${directory}/${page}`]);
      deepEqual([lint.code, lint.out], [0, ""], page);
    }
  }
  const help = (await crio("--help")).out;
  const flags = [...help.matchAll(/^ {3}(--[a-z-]+)/gm)].map(([, flag = ""]) => flag);
  ok(flags.length > 130);
  deepEqual(flags.filter((flag) => !main.includes(flag)), []);
  const keys = [...(await crio("config", "--default")).out.matchAll(/^# ([a-z_]+) = /gm)].map(([, key = ""]) => key);
  ok(keys.length >= 140);
  deepEqual(keys.filter((key) => !conf.includes(key)), []);
  match(main, /check Look for damage .* Exit status 3: something is damaged/);
  match(status, /a symbolic link crio-status to it does the same/);
  await Deno.remove(directory, { recursive: true });
});

Deno.test("crio man prints one page, crio(8) by default, and markdown the same as Markdown", async () => {
  match((await crio("man")).out, /^\.TH "CRIO" 8 /);
  match((await crio("man", "crio.conf(5)")).out, /^\.TH "CRIO\.CONF" 5 /);
  match(
    (await crio("md", "crio-status")).out,
    /^# crio-status\(8\)\n\ncrio-status - ask a running crio\n\n## SYNOPSIS\n/,
  );
  match((await crio("markdown")).out, /^- `--log-level value, -l value`: Least severe level/m);
  const unknown = await crio("man", "criox");
  deepEqual([unknown.code, unknown.err], [
    2,
    'crio: no page "criox": there are crio, crio.conf, crio.conf.d, crio-status\n',
  ]);
});

Deno.test("each command explains itself with --help", async () => {
  const commands = [...(await crio("--help")).out.matchAll(/^ {3}([a-z]+)(?:, [a-z]+)? {3,}[a-z]/gm)];
  const names = commands.map(([, name = ""]) => name).filter((name) => name !== "");
  ok(names.includes("check") && names.includes("wipe") && names.includes("status"), names.join(" "));
  for (const name of names) {
    const { code, out } = await crio(name, "--help");
    equal(code, 0, name);
    match(out, new RegExp(`^crio ${name} - .+\\n\\nUSAGE:\\n {3}crio ${name}`), name);
  }
  equal((await crio("help", "status", "top")).out, (await crio("status", "top", "--help")).out);
  match((await crio("status", "top", "--help")).out, /^crio status top - .*\n[^]*--sort COLUMN\n/);
});

Deno.test("a program called crio-status is crio status", async () => {
  const line = `exec -a /usr/bin/crio-status '${Deno.execPath()}' run -A '${MAIN}' -s /nonexistent/crio.sock info`;
  const { code, err } = await run(["/bin/bash", "-c", line]);
  equal(code, 1);
  match(err, /no answer on \/nonexistent\/crio\.sock/);
});
