import { deepEqual, equal, match, rejects, throws } from "node:assert/strict";
import { canonical, parseReference, pullTarget } from "../../../src/image/reference.ts";
import { candidates, endpointsOf } from "../../../src/image/registries/endpoints.ts";
import { type LogFields, silentLogger } from "../../../src/base/logger.ts";
import { Registries } from "../../../src/image/registries/registries.ts";
import type { RegistriesConfig } from "../../../src/image/registries/registries_conf.ts";
import type { RegistriesSource } from "../../../src/image/registries/registry_files.ts";

const NOWHERE: RegistriesSource = {
  aliasFile: "/nonexistent/aliases",
  environment: { HOME: "/nonexistent" },
  systemDirectories: ["/nonexistent/etc"],
};
const load = (source: RegistriesSource): Promise<RegistriesConfig> =>
  new Registries({ ...NOWHERE, ...source }, silentLogger).current();

async function config(files: Readonly<Record<string, string>>): Promise<RegistriesConfig> {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${directory}/registries.conf.d`);
    for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${directory}/${name}`, text);
    return await load({
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

Deno.test("Registries.current() takes no files as an empty configuration", async () => {
  const empty = await load({ file: "/nonexistent/a", dropInDirectory: "/nonexistent/d" });
  deepEqual(empty.registries, []);
  deepEqual(places("quay.io/a/b:1", empty), ["quay.io/a/b"]);
});

Deno.test("Registries.current() lets later files replace prefixes and the search list", async () => {
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
  deepEqual(places("r.example/team/app:1", from), ["two.example/t/app insecure"]);
  match(from.warnings.join(), /registries\.conf: registry prefix "r\.example\/team\/app:1" never fits: .*without tag/);
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

Deno.test("endpointsOf() never takes a location without a host for a repository of Docker Hub", async () => {
  for (const location of ["location = 'internal'", "[[registry.mirror]]\nlocation = 'mirror/hub'"]) {
    const wrong = await config({ "registries.conf": `[[registry]]\nprefix = "a.example"\n${location}` });
    throws(
      () => places("a.example/app:1", wrong),
      { kind: "invalid_argument", message: /begins with a host/ },
      location,
    );
  }
  const local = await config({ "registries.conf": "[[registry]]\nprefix = 'a.example'\nlocation = 'localhost'" });
  deepEqual(places("a.example/app:1", local), ["localhost/app"]);
});

Deno.test("endpointsOf() repeats only so much of a location in its error", async () => {
  const location = `internal${"x".repeat(50_000)}`;
  const wrong = await config({ "registries.conf": `[[registry]]\nprefix = "a.example"\nlocation = "${location}"` });
  throws(() => places("a.example/app:1", wrong), /rewrites a.example\/app:1 to internalx{200,300}…: .{0,300}$/);
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

Deno.test("candidates() writes the line that would make a short name clear", async () => {
  const from = await config({ "registries.conf": `unqualified-search-registries = ["a.example", "b.example"]` });
  throws(
    () => candidates("team/app:2", { config: from }),
    /short name mode is enforcing.*add to \[aliases\].*: "team\/app" = "a\.example\/team\/app"/,
  );
  throws(() => candidates("x", { config: { ...from, searchRegistries: [] } }), /\[aliases\]/);
});

Deno.test("aliases and helpers of later files count, and an empty alias takes one back", async () => {
  const merged = await config({
    "registries.conf": `unqualified-search-registries = ["docker.io"]
      credential-helpers = ["containers-auth.json", "cloud"]
      [aliases]
      "one" = "a.example/one"
      "two" = "a.example/two"`,
    "registries.conf.d/000-shortnames.conf": `[aliases]\n"two" = ""\n"three" = "b.example/x/three"`,
  });
  const names = (text: string): string[] => candidates(text, { config: merged }).map(canonical);
  deepEqual([names("one"), names("two"), names("three:1")].flat(), [
    "a.example/one:latest",
    "docker.io/library/two:latest",
    "b.example/x/three:1",
  ]);
  deepEqual(merged.credentialHelpers, ["containers-auth.json", "cloud"]);
  deepEqual((await load({ file: "/nonexistent/f" })).credentialHelpers, ["containers-auth.json"]);
});

Deno.test("files are found in the places of vendor, administrator, user and environment", async () => {
  const root = await Deno.makeTempDir();
  const put = async (path: string, text: string): Promise<void> => {
    await Deno.mkdir(`${root}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(`${root}/${path}`, text);
  };
  const search = (name: string): string => `unqualified-search-registries = ["${name}"]`;
  const alias = (name: string, host: string): string => `[aliases]\n"${name}" = "${host}/${name}"`;
  const found = async (environment: Record<string, string> = {}, more: RegistriesSource = {}): Promise<string> => {
    const { searchRegistries, aliases } = await load({
      environment: { HOME: `${root}/home`, ...environment },
      systemDirectories: [`${root}/usr`, `${root}/etc`],
      aliasFile: `${root}/noted.conf`,
      ...more,
    });
    return [...searchRegistries, ...[...aliases.values()].sort()].join(" ");
  };
  try {
    await put("usr/registries.conf", search("v.example"));
    await put("usr/registries.conf.d/10-a.conf", alias("a", "v.example"));
    await put("usr/registries.conf.d/20-b.conf", alias("b", "v.example"));
    equal(await found(), "v.example v.example/a v.example/b");
    await put("etc/registries.conf", search("e.example"));
    await put("etc/registries.rootful.conf.d/10-a.conf", alias("a", "e.example"));
    equal(await found(), "e.example e.example/a v.example/b");
    await put("home/.config/containers/registries.conf", search("u.example"));
    await put("home/.config/containers/registries.conf.d/15-c.conf", alias("b", "u.example"));
    equal(await found(), "u.example e.example/a v.example/b");
    await put("noted.conf", alias("b", "n.example"));
    equal(await found(), "u.example e.example/a n.example/b");
    await put("named.conf", search("named.example"));
    await put("over.conf", alias("o", "o.example"));
    equal(await found({ CONTAINERS_REGISTRIES_CONF: `${root}/named.conf` }), "named.example n.example/b");
    equal(
      await found({ CONTAINERS_REGISTRIES_CONF_OVERRIDE: `${root}/over.conf` }),
      "u.example e.example/a n.example/b o.example/o",
    );
    await rejects(found({ CONTAINERS_REGISTRIES_CONF: `${root}/gone.conf` }), /gone\.conf does not exist/);
    const flags = { file: `${root}/named.conf`, dropInDirectory: `${root}/usr/registries.conf.d` };
    equal(
      await found({ CONTAINERS_REGISTRIES_CONF: `${root}/gone.conf` }, flags),
      "named.example n.example/b v.example/a",
    );
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("a file of version 1 is read, and told", async () => {
  const from = await config({
    "registries.conf": `[registries.search]\nregistries = ["a.example", "b.example"]
[registries.insecure]\nregistries = ["127.0.0.1:5000"]\n[registries.block]\nregistries = ["127.0.0.1:5000/no", "c.example"]`,
  });
  deepEqual(from.searchRegistries, ["a.example", "b.example"]);
  deepEqual(places("127.0.0.1:5000/x", from), ["127.0.0.1:5000/x insecure"]);
  throws(() => places("127.0.0.1:5000/no/x", from), /blocked/);
  throws(() => places("c.example/x", from), /blocked/);
  match(from.warnings.join(), /registries\.conf is of version 1/);
});

Deno.test("a change counts at once; a bad file is told once and leaves the last good configuration", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const lines: string[] = [];
    const log = {
      ...silentLogger,
      error: (text: string, _fields?: LogFields) => lines.push(`error ${text}`),
      info: (text: string) => lines.push(`info ${text}`),
    };
    const file = `${directory}/r.conf`;
    const dropIn = `${directory}/d/x.conf`;
    const source = { file, dropInDirectory: `${directory}/d`, aliasFile: "/nonexistent" };
    const registries = new Registries(source, log);
    const search = async (): Promise<string> => (await registries.current()).searchRegistries.join();
    await Deno.writeTextFile(file, `unqualified-search-registries = ["a.example"`);
    await rejects(search(), /r\.conf:1:/);
    await Deno.writeTextFile(file, `unqualified-search-registries = ["a.example"]`);
    equal(await search(), "a.example");
    equal(await registries.current(), await registries.current());
    await Deno.mkdir(`${directory}/d`);
    await Deno.writeTextFile(dropIn, `unqualified-search-registries = ["b.example"]`);
    equal(await search(), "b.example");
    await Deno.writeTextFile(dropIn, `unqualified-search-registries = 7`);
    equal(await search(), "b.example");
    equal(await search(), "b.example");
    await Deno.remove(dropIn);
    equal(await search(), "a.example");
    deepEqual(lines.map((line) => line.replace(directory, "")), [
      "info Read the changed registries configuration",
      "error registries configuration is wrong, the last good one stays in force: /d/x.conf: unqualified-search-registries is not an array of strings",
      "info Read the changed registries configuration",
    ]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("of one prefix that stands there twice the first counts", async () => {
  const from = await config({
    "registries.conf": `[[registry]]\nprefix="a.example"\nlocation="b.example"
      [[registry]]\nprefix="a.example"\nlocation="c.example"`,
  });
  deepEqual(places("a.example/x", from), ["b.example/x"]);
});

const WRONG: ReadonlyArray<readonly [text: string, reason: RegExp]> = [
  ["a = ", /registries\.conf:1:/],
  ["[registries.search]\nregistries = []\n[[registry]]\nlocation = 'x'", /registry is of version 2/],
  ["[registries.search]\nregistries = 'x'", /registries\.search\.registries is not an array of strings/],
  ["[registries]\nsearch = 1", /registries\.search\.registries is not an array of tables/],
  ["[[registry]]\nlocation = 'x'\npull-from-mirror = 'all'", /outside of a/],
  ["[[registry]]\ninsecure = true", /neither prefix nor location/],
  ["[[registry]]\nlocation = 'https://x'", /no scheme/],
  ["[[registry]]\nlocation = 'x'\ninsecure = 'yes'", /registry\.insecure is not true or false/],
  ["[[registry]]\nlocation = 'x'\n[[registry.mirror]]\n", /no location/],
  ["[[registry]]\nlocation = 'x'\n[[registry.mirror]]\nlocation='y'\npull-from-mirror='no'", /digest-only/],
  ["registry = 'x'", /array of tables/],
  ["unqualified-search-registries = [1]", /array of strings/],
  ["short-name-mode = 'maybe'", /enforcing/],
  ["unqualified-search-registries = ['https://x']", /no scheme/],
  ["unqualified-search-registries = ['x.example/y']", /"x.example\/y" has a path/],
  ["credential-helpers = ['../x']", /end of a program's name/],
  ["credential-helpers = 'x'", /array of strings/],
  ["[aliases]\na = 1", /not a string/],
  ["[aliases]\na = 'b/c'", /aliases\.a: "b\/c" has no registry host/],
  ["[aliases]\na = 'b.example/c:1'", /neither tag nor digest/],
  ["[aliases]\n'b.example/c' = 'b.example/c'", /not a short name/],
  ["[aliases]\n'a:1' = 'b.example/c'", /neither tag nor digest/],
  [
    "[[registry]]\nlocation='x'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='y'\npull-from-mirror='all'",
    /exclude each other/,
  ],
  [
    "[[registry]]\nlocation='x'\ninsecure=true\n[[registry]]\nprefix='y'\nlocation='x'",
    /registry\.insecure of location "x" is both true and false/,
  ],
];
for (const [text, reason] of WRONG) {
  Deno.test(`Registries.current() refuses ${JSON.stringify(text)}`, async () => {
    await rejects(config({ "registries.conf": text }), reason);
  });
}
