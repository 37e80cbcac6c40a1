import assert from "node:assert/strict";
import { InvalidArgumentError } from "../../../../src/base/errors.ts";
import type { Logger } from "../../../../src/base/logger.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import { parseHook } from "../../../../src/oci/hooks/definition.ts";
import { type HookSubject, matches, OciHooks } from "../../../../src/oci/hooks/hooks.ts";

const SUBJECT: HookSubject = {
  annotations: { "com.example/gpu": "two" },
  args: ["/usr/bin/train"],
  hasBindMounts: false,
};

function definition(when: object, more: object = {}): string {
  return JSON.stringify({ version: "1.0.0", hook: { path: "/bin/true" }, when, stages: ["prestart"], ...more });
}

const WHEN: ReadonlyArray<[string, object, boolean]> = [
  ["always", { always: true }, true],
  ["never", { always: false }, false],
  ["no condition at all", {}, false],
  ["volumes are wanted and missing", { hasBindMounts: true }, false],
  ["a key and a value match", { annotations: { "gpu$": "^t" } }, true],
  ["only the key matches", { annotations: { "gpu$": "^one" } }, false],
  ["one of two pairs matches", { annotations: { "gpu$": ".", "cpu$": "." } }, false],
  ["one of two commands matches", { commands: ["^never", "train$"] }, true],
  ["a flag stands in front", { commands: ["(?i)TRAIN"] }, true],
  ["one condition of two fails", { always: true, commands: ["^sh$"] }, false],
  ["both conditions hold", { annotations: { gpu: "two" }, commands: ["train"] }, true],
];

for (const [name, when, expected] of WHEN) {
  Deno.test(`matches() is ${expected} when: ${name}`, () => {
    assert.deepEqual(matches(parseHook(definition(when)).when, SUBJECT), expected);
  });
}

Deno.test("parseHook() takes arguments, environment and timeout over", () => {
  const hook = { path: "/bin/true", args: ["true", "x"], env: ["A=b"], timeout: 5 };
  assert.deepEqual(parseHook(definition({ always: true }, { hook })).hook, hook);
});

Deno.test("parseHook() reads the form without a version, where one condition is enough", () => {
  const old = { hook: "/bin/true", arguments: ["x"], cmd: ["^sh$"], annotation: ["^two$"], stage: ["poststop"] };
  const { hook, when, stages } = parseHook(JSON.stringify({ ...old, hasbindmounts: true }));
  assert.deepEqual([hook, stages], [{ path: "/bin/true", args: ["/bin/true", "x"] }, ["poststop"]]);
  assert.ok(matches(when, SUBJECT));
  assert.ok(matches(when, { annotations: {}, args: ["other"], hasBindMounts: true }));
  assert.ok(!matches(when, { annotations: { a: "three" }, args: ["other"], hasBindMounts: false }));
});

const WRONG: ReadonlyArray<[string, string]> = [
  ["no JSON", "{"],
  ["another version", definition({ always: true }, { version: "2.0.0" })],
  ["no conditions", JSON.stringify({ version: "1.0.0", hook: { path: "/bin/true" }, stages: ["prestart"] })],
  ["no stage", definition({ always: true }, { stages: [] })],
  ["an unknown stage", definition({ always: true }, { stages: ["precreate"] })],
  ["a relative path", definition({ always: true }, { hook: { path: "true" } })],
  ["a timeout of nothing", definition({ always: true }, { hook: { path: "/bin/true", timeout: 0 } })],
  ["an expression that is none", definition({ commands: ["("] })],
  ["both spellings of the old form", JSON.stringify({ hook: "/bin/true", stage: ["prestart"], stages: ["prestart"] })],
];

for (const [name, text] of WRONG) {
  Deno.test(`parseHook() refuses ${name}`, () => {
    assert.throws(() => parseHook(text), InvalidArgumentError);
  });
}

async function withDirectories(body: (low: string, high: string) => Promise<void>): Promise<void> {
  const base = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${base}/low`);
    await Deno.mkdir(`${base}/high`);
    await body(`${base}/low`, `${base}/high`);
  } finally {
    await Deno.remove(base, { recursive: true });
  }
}

function hookFile(argument: string, more: object = {}): string {
  return definition({ always: true }, { hook: { path: "/bin/true", args: ["true", argument] }, ...more });
}

async function argumentsOf(hooks: OciHooks): Promise<Array<string | undefined>> {
  return ((await hooks.select(SUBJECT)).prestart ?? []).map(({ args }) => args?.[1]);
}

Deno.test("OciHooks gives hooks by file name, a later directory before an earlier one", async () => {
  await withDirectories(async (low, high) => {
    await Deno.writeTextFile(`${low}/20-b.json`, hookFile("low-b"));
    await Deno.writeTextFile(`${low}/10-a.json`, hookFile("low-a"));
    await Deno.writeTextFile(`${low}/30-c.txt`, hookFile("no"));
    await Deno.writeTextFile(`${high}/20-b.json`, hookFile("high-b"));
    const hooks = new OciHooks({ hooksDir: [`${low}/absent`, low, high] }, silentLogger);
    assert.deepEqual(await argumentsOf(hooks), ["low-a", "high-b"]);
  });
});

Deno.test("OciHooks sees what is added, changed and removed while it runs", async () => {
  await withDirectories(async (low, high) => {
    const hooks = new OciHooks({ hooksDir: [low, high] }, silentLogger);
    assert.deepEqual(await hooks.select(SUBJECT), {});
    await Deno.writeTextFile(`${low}/a.json`, hookFile("one"));
    assert.deepEqual(await argumentsOf(hooks), ["one"]);
    await Deno.writeTextFile(`${low}/a.json`, hookFile("changed"));
    assert.deepEqual(await argumentsOf(hooks), ["changed"]);
    await Deno.writeTextFile(`${high}/a.json`, hookFile("masks"));
    assert.deepEqual(await argumentsOf(hooks), ["masks"]);
    await Deno.remove(`${high}/a.json`);
    await Deno.remove(`${low}/a.json`);
    assert.deepEqual(await argumentsOf(hooks), []);
  });
});

Deno.test("OciHooks leaves a bad file out, says so once, and keeps the others", async () => {
  await withDirectories(async (low, high) => {
    const lines: string[] = [];
    const log: Logger = { ...silentLogger, error: (line) => void lines.push(line) };
    await Deno.writeTextFile(`${low}/bad.json`, "{");
    await Deno.writeTextFile(`${low}/gone.json`, hookFile("x", { hook: { path: "/no/such/program" } }));
    await Deno.writeTextFile(`${high}/good.json`, hookFile("good"));
    const hooks = new OciHooks({ hooksDir: [low, high] }, log);
    assert.deepEqual(await argumentsOf(hooks), ["good"]);
    assert.deepEqual(await argumentsOf(hooks), ["good"]);
    assert.equal(lines.length, 2);
  });
});
