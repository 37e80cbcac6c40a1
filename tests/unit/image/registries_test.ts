import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import { canonical, parseReference, pullTarget } from "../../../src/image/reference.ts";
import { candidates, endpointsOf } from "../../../src/image/registries/endpoints.ts";
import { loadRegistries, type RegistriesConfig } from "../../../src/image/registries/registries_conf.ts";

async function config(files: Readonly<Record<string, string>>): Promise<RegistriesConfig> {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${directory}/registries.conf.d`);
    for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${directory}/${name}`, text);
    return await loadRegistries({
      file: `${directory}/registries.conf`,
      dropInDirectory: `${directory}/registries.conf.d`,
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const places = (text: string, from: RegistriesConfig): string[] =>
  endpointsOf(pullTarget(parseReference(text)), from).map((e) =>
    `${e.mirror ? "mirror " : ""}${e.host}/${e.path}${e.insecure ? " insecure" : ""}`
  );

Deno.test("loadRegistries() takes no files as an empty configuration", async () => {
  const empty = await loadRegistries({ file: "/nonexistent/a", dropInDirectory: "/nonexistent/d" });
  deepEqual(empty.registries, []);
  deepEqual(places("quay.io/a/b:1", empty), ["quay.io/a/b"]);
});

Deno.test("loadRegistries() lets later files replace prefixes and the search list", async () => {
  const merged = await config({
    "registries.conf": `unqualified-search-registries = ["docker.io", "quay.io"]
      short-name-mode = "permissive"
      [[registry]]
      location = "a.example"
      insecure = true
      [[registry]]
      location = "b.example/"`,
    "registries.conf.d/10-x.conf": `unqualified-search-registries = ["r.example:5000"]`,
    "registries.conf.d/20-x.conf": `[[registry]]\nprefix = "a.example"\nlocation = "c.example/x"`,
    "registries.conf.d/30-x.conf.bak": "not toml =",
  });
  deepEqual(merged.searchRegistries, ["r.example:5000"]);
  equal(merged.shortNameMode, "permissive");
  deepEqual(places("a.example/app", merged), ["c.example/x/app"]);
  deepEqual(places("b.example/app", merged), ["b.example/app"]);
});

Deno.test("endpointsOf() takes the longest prefix, at component borders only", async () => {
  const from = await config({
    "registries.conf": `
      [[registry]]
      prefix = "r.example"
      location = "one.example"
      [[registry]]
      prefix = "r.example/team"
      location = "two.example/t"
      insecure = true
      [[registry]]
      prefix = "r.example/team/app:1"
      location = "three.example/app:1"`,
  });
  deepEqual(places("r.example/x", from), ["one.example/x"]);
  deepEqual(places("r.example/team/x", from), ["two.example/t/x insecure"]);
  deepEqual(places("r.example/teams/x", from), ["one.example/teams/x"]);
  deepEqual(places("r.example.org/x", from), ["r.example.org/x"]);
  deepEqual(places("r.example:5000/x", from), ["one.example:5000/x"]);
});

Deno.test("endpointsOf() matches wildcard hosts", async () => {
  const from = await config({
    "registries.conf": `
      [[registry]]
      prefix = "*.example.com"
      insecure = true
      [[registry]]
      prefix = "*.corp.example"
      location = "mirror.local:5000/corp"
      [[registry]]
      prefix = "*.evil.example"
      blocked = true`,
  });
  deepEqual(places("a.b.example.com/x", from), ["a.b.example.com/x insecure"]);
  deepEqual(places("example.com/x", from), ["example.com/x"]);
  deepEqual(places("quay.io/.example.com".replace(".example", "a.example"), from), ["quay.io/a.example.com"]);
  deepEqual(places("x.corp.example/app", from), ["mirror.local:5000/corp/app"]);
  throws(() => places("x.evil.example/app", from), /x\.evil\.example\/app:latest cannot be pulled|blocked/);
});

Deno.test("endpointsOf() puts mirrors first and keeps their digest rules", async () => {
  const from = await config({
    "registries.conf": `
      [[registry]]
      prefix = "docker.io/library"
      location = "docker.io/library"
      [[registry.mirror]]
      location = "m1.example/hub"
      insecure = true
      [[registry.mirror]]
      location = "m2.example"
      pull-from-mirror = "digest-only"
      [[registry.mirror]]
      location = "m3.example"
      pull-from-mirror = "tag-only"`,
  });
  const digest = `sha256:${"ab".repeat(32)}`;
  deepEqual(places("busybox:1", from), [
    "mirror m1.example/hub/busybox insecure",
    "mirror m3.example/busybox",
    "docker.io/library/busybox",
  ]);
  deepEqual(places(`busybox@${digest}`, from), [
    "mirror m1.example/hub/busybox insecure",
    "mirror m2.example/busybox",
    "docker.io/library/busybox",
  ]);
});

Deno.test("candidates() resolves short names through aliases, then search registries in order", async () => {
  const from = await config({
    "registries.conf": `unqualified-search-registries = ["docker.io", "quay.io"]
      [aliases]
      "tool" = "ghcr.io/team/tool"`,
  });
  const names = (text: string): string[] =>
    candidates(text, { config: from, shortNameMode: "disabled" }).map(canonical);
  deepEqual(names("busybox"), ["docker.io/library/busybox:latest", "quay.io/busybox:latest"]);
  deepEqual(names("team/app:2"), ["docker.io/team/app:2", "quay.io/team/app:2"]);
  deepEqual(names("tool:3"), ["ghcr.io/team/tool:3"]);
  deepEqual(names("quay.io/x"), ["quay.io/x:latest"]);
  throws(() => candidates("busybox", { config: from }), /enforcing.*docker\.io, quay\.io/);
  throws(() => candidates("busybox", { config: { ...from, searchRegistries: [] } }), /write the full name/);
});

const WRONG: ReadonlyArray<readonly [text: string, reason: RegExp]> = [
  ["a = ", /registries\.conf:1:/],
  ["[registries.search]\nregistries = []", /version 1/],
  ["[[registry]]\ninsecure = true", /neither prefix nor location/],
  ["[[registry]]\nlocation = 'https://x'", /no scheme/],
  ["[[registry]]\nprefix = 'a.*.b'\nlocation = 'x'", /leading/],
  ["[[registry]]\nlocation = 'x'\ninsecure = 'yes'", /registry\.insecure is not true or false/],
  ["[[registry]]\nlocation = 'x'\n[[registry.mirror]]\n", /no location/],
  ["[[registry]]\nlocation = 'x'\n[[registry.mirror]]\nlocation='y'\npull-from-mirror='no'", /digest-only/],
  ["registry = 'x'", /array of tables/],
  ["unqualified-search-registries = [1]", /array of strings/],
  ["short-name-mode = 'maybe'", /enforcing/],
];
for (const [text, reason] of WRONG) {
  Deno.test(`loadRegistries() refuses ${JSON.stringify(text)}`, async () => {
    await rejects(config({ "registries.conf": text }), reason);
  });
}
