import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { parse } from "smol-toml";
import { adaptToHost } from "../../../src/config/adapt.ts";
import { buildConfig } from "../../../src/config/build.ts";
import { PLACES, SECTION_PATH } from "../../../src/config/schema.ts";
import { defaultTemplate, renderToml } from "../../../src/config/template.ts";
import { ConfigValues } from "../../../src/config/values.ts";
import { fakeHost, loadText } from "./_fixtures.ts";

Deno.test("defaultTemplate() shows every option as a comment and parses to nothing", () => {
  const text = defaultTemplate();
  for (const { option, section } of PLACES) {
    if (SECTION_PATH[section] !== undefined) match(text, new RegExp(`^# ${option.key} = `, "m"));
  }
  const { crio } = parse(text) as { crio: Record<string, unknown> };
  deepStrictEqual(Object.values(crio).filter((value) => typeof value !== "object"), []);
});

Deno.test("defaultTemplate() is a valid configuration when its comments are taken off", async () => {
  const text = defaultTemplate().split("\n").map((line) =>
    /^# (\[|[a-z_0-9]+ = | {2}"|\])/.test(line) ? line.slice(2) : line
  );
  const values = await loadText(text.join("\n").replaceAll(/activation_annotation = ""/g, ""));
  deepStrictEqual(values.warnings, []);
  deepStrictEqual(buildConfig(values).runtime, buildConfig(new ConfigValues()).runtime);
});

Deno.test("renderToml() prints only what differs unless asked for all", async () => {
  const values = await loadText(`[crio.runtime]\nlog_level = "debug"\nread_only = false`);
  const changed = renderToml(values, "changed");
  match(changed, /^log_level = "debug"$/m);
  ok(!changed.includes("read_only"));
  strictEqual(renderToml(values, "terse"), '[crio.runtime]\nlog_level = "debug"\n');
  match(renderToml(values, "complete"), /^read_only = false$/m);
});

Deno.test("renderToml() gives text that loads to the same configuration", async () => {
  const text = `[crio.runtime]\ndefault_env = ["A=\\"x\\"", "B=\\u007F\\\\n"]\n[crio.runtime.runtimes."odd name"]\n` +
    `runtime_path = "/usr/bin/runc"\ndefault_annotations = { "a.b/c" = "d" }\n[crio.runtime.workloads.w]\n` +
    `activation_annotation = "x"\n[crio.runtime.workloads.w.resources]\ncpushares = 7\n`;
  const values = await loadText(text);
  adaptToHost(values, fakeHost());
  const again = await loadText(renderToml(values, "complete"));
  deepStrictEqual(again.warnings, []);
  deepStrictEqual(buildConfig(again), buildConfig(values));
});

Deno.test("renderToml() quotes any text", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (text) => {
    const values = new ConfigValues();
    values.set("crio.image.global_auth_file", text, "test");
    const { crio } = parse(renderToml(values, "complete")) as { crio: { image: { global_auth_file: string } } };
    strictEqual(crio.image.global_auth_file, text);
  }));
});
