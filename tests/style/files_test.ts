import { deepStrictEqual } from "node:assert/strict";
import { ROOT, sourceFiles } from "./_tree.ts";

const MAX_LINES = 500;
const MAX_README_LINES = 60;

Deno.test("no file is longer than 500 lines", async () => {
  const long = (await sourceFiles())
    .filter(({ path }) => /\.ts$|^scripts\//.test(path))
    .map(({ path, text }) => ({ path, lines: text.split("\n").length - 1 }))
    .filter(({ lines }) => lines > MAX_LINES);
  deepStrictEqual(long, []);
});

Deno.test("every folder of src has a README.md of at most 60 lines", async () => {
  const problems: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${ROOT}src`)) {
    if (!isDirectory || (await Array.fromAsync(Deno.readDir(`${ROOT}src/${name}`))).length === 0) continue;
    const text = await Deno.readTextFile(`${ROOT}src/${name}/README.md`).catch(() => undefined);
    if (text === undefined) problems.push(`src/${name} has none`);
    else if (text.split("\n").length - 1 > MAX_README_LINES) problems.push(`src/${name} is longer`);
  }
  deepStrictEqual(problems, []);
});

Deno.test("files are named in snake_case and for what they hold", async () => {
  const vague = /(?:^|\/|_)(?:utils?|helpers?|common|manager|misc)(?:_|\.|\/)/;
  const wrong = (await sourceFiles()).map(({ path }) => path)
    .filter((path) => /^(?:src|tests)\/.*\.ts$/.test(path))
    .filter((path) => /[A-Z-]/.test(path) || vague.test(path));
  deepStrictEqual(wrong, []);
});

Deno.test("Deno.dlopen, child processes and libraries stay in their homes", async () => {
  const homes: ReadonlyArray<readonly [RegExp, RegExp]> = [
    [/Deno\.dlopen\(/, /^src\/linux\//],
    [/new Deno\.Command\(|from "node:child_process"/, /^src\/linux\//],
    [/["']@grpc\/grpc-js["']/, /^src\/(?:cri\/|socket\.ts)/],
    [/["']prom-client["']/, /^src\/metrics\//],
    [/["']smol-toml["']/, /^src\/(?:config|image\/registries)\//],
    [/\bconsole\.(?:log|error|warn|info)\(/, /^$/],
  ];
  const wrong = (await sourceFiles()).filter(({ path }) => path.startsWith("src/")).flatMap(({ path, text }) =>
    homes.filter(([what, home]) => path.endsWith(".ts") && what.test(text) && !home.test(path))
      .map(([what]) => `${path}: ${what.source}`)
  );
  deepStrictEqual(wrong, []);
});

// Put together from halves, so that this file does not match itself.
const FORBIDDEN = [
  ["/wo", "rk/(?:main|shared)"],
  ["/tmp/br", "ief"],
  ["/opt/wh", "eels"],
  ["\\bFIX", "ME\\b"],
  ["\\bXX", "X\\b"],
  ["\\bTO", "DO\\b(?!\\(#\\d+\\))"],
  ["\\bAs an A", "I\\b"],
  ["\\bLL", "M\\b"],
].map((halves) => new RegExp(halves.join("")));

Deno.test("nothing speaks of where or how it was written", async () => {
  const wrong = (await sourceFiles()).flatMap(({ path, text }) =>
    FORBIDDEN.filter((pattern) => pattern.test(text)).map((pattern) => `${path}: ${pattern.exec(text)?.[0]}`)
  );
  deepStrictEqual(wrong, []);
});

Deno.test("links between documents lead somewhere", async () => {
  const broken: string[] = [];
  for (const { path, text } of (await sourceFiles()).filter(({ path }) => path.endsWith(".md"))) {
    for (const [, target = ""] of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const resolved = new URL(target, `file://${ROOT}${path}`);
      if (await Deno.stat(resolved).catch(() => undefined) === undefined) broken.push(`${path}: ${target}`);
    }
  }
  deepStrictEqual(broken, []);
});

Deno.test("scripts can be run, and the shell finds no fault in them", async () => {
  const wrong: string[] = [];
  for (const { path, text } of (await sourceFiles()).filter(({ path }) => /^(?:scripts|\.ci)\//.test(path))) {
    const { mode } = await Deno.stat(ROOT + path);
    if (!text.startsWith("#!")) continue;
    if (!path.endsWith(".sh") && ((mode ?? 0) & 0o111) === 0) wrong.push(`${path} is not executable`);
    const shell = /^#!.*\b(bash|sh)\b/.exec(text)?.[1];
    if (shell === undefined) continue;
    const { code, stderr } = await new Deno.Command(shell, { args: ["-n", ROOT + path] }).output();
    if (code !== 0) wrong.push(`${path}: ${new TextDecoder().decode(stderr)}`);
  }
  deepStrictEqual(wrong, []);
});
