import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { silentLogger } from "../../../../src/base/logger.ts";
import { CdiRegistry } from "../../../../src/security/cdi/registry.ts";

interface Bench {
  readonly registry: CdiRegistry;
  write(path: string, text: string): Promise<void>;
  remove(path: string): Promise<void>;
  env(...names: string[]): Promise<string[]>;
}

async function withRegistry(body: (bench: Bench) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${root}/static`);
    const directories = [`${root}/static`, `${root}/missing`, `${root}/dynamic`];
    await Deno.mkdir(`${root}/dynamic`);
    const registry = new CdiRegistry({ source: { cdiSpecDirs: directories }, log: silentLogger });
    await body({
      registry,
      write: async (path, text) => {
        // As writers do: a name of its own, then the rename.
        await Deno.writeTextFile(`${root}/new`, text);
        await Deno.rename(`${root}/new`, `${root}/${path}`);
      },
      remove: (path) => Deno.remove(`${root}/${path}`),
      env: async (...names) => (await registry.edits(names)).flatMap(({ env }) => env ?? []),
    });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function json(kind: string, devices: Record<string, string>, common?: string): string {
  return JSON.stringify({
    cdiVersion: "0.5.0",
    kind,
    devices: Object.entries(devices).map(([name, value]) => ({ name, containerEdits: { env: [`${name}=${value}`] } })),
    ...(common === undefined ? {} : { containerEdits: { env: [common] } }),
  });
}

const YAML = `cdiVersion: "0.6.0"
kind: v.com/yaml
annotations: {}
devices:
  - name: 0
    containerEdits:
      env: [ZERO=1]
      deviceNodes:
        - path: /dev/x
          fileMode: 0640
`;

Deno.test("CdiRegistry reads JSON and YAML, and puts a file's common edits before its first device", async () => {
  await withRegistry(async ({ registry, write, env }) => {
    await write("static/a.json", json("v.com/c", { a: "1", b: "2" }, "ALL=1"));
    await write("static/b.yaml", YAML);
    await write("static/c.txt", "not looked at");
    deepStrictEqual(await env("v.com/c=b", "v.com/yaml=0", "v.com/c=a", "v.com/c=b"), [
      "ALL=1",
      "b=2",
      "ZERO=1",
      "a=1",
    ]);
    const [, edits] = await registry.edits(["v.com/yaml=0"]);
    strictEqual(edits?.deviceNodes?.[0]?.fileMode, 0o640);
    deepStrictEqual(await registry.edits([]), []);
  });
});

Deno.test("CdiRegistry sees files that come, change and go", async () => {
  await withRegistry(async ({ write, remove, env }) => {
    await rejects(env("v.com/c=a"), /unresolvable CDI devices v\.com\/c=a: not described in .*static.*dynamic/);
    await write("dynamic/a.json", json("v.com/c", { a: "1" }));
    deepStrictEqual(await env("v.com/c=a"), ["a=1"]);
    await write("dynamic/a.json", json("v.com/c", { a: "2" }));
    deepStrictEqual(await env("v.com/c=a"), ["a=2"]);
    await remove("dynamic/a.json");
    await rejects(env("v.com/c=a"), /unresolvable/);
  });
});

Deno.test("CdiRegistry takes the later directory's device, and neither of two in one directory", async () => {
  await withRegistry(async ({ write, remove, env }) => {
    await write("static/a.json", json("v.com/c", { a: "low", b: "low" }));
    await write("dynamic/a.json", json("v.com/c", { a: "high" }));
    deepStrictEqual(await env("v.com/c=a", "v.com/c=b"), ["a=high", "b=low"]);
    await write("dynamic/b.json", json("v.com/c", { a: "twin" }));
    await rejects(env("v.com/c=a"), /v\.com\/c=a \(both in .*dynamic\/a\.json and .*dynamic\/b\.json\)/);
    deepStrictEqual(await env("v.com/c=b"), ["b=low"]);
    await remove("dynamic/b.json");
    await write("static/b.json", json("v.com/c", { a: "twin" }));
    // What wins is not in doubt.
    deepStrictEqual(await env("v.com/c=a"), ["a=high"]);
  });
});

Deno.test("CdiRegistry leaves broken files out and tells of them when a device is missing", async () => {
  await withRegistry(async ({ write, env }) => {
    await write("static/a.json", json("v.com/c", { a: "1" }));
    await write("static/broken.json", "{");
    await write("static/old.yaml", YAML.replace("0.6.0", "9.9.9"));
    deepStrictEqual(await env("v.com/c=a"), ["a=1"]);
    await rejects(
      env("v.com/yaml=0", "v.com/c=x"),
      /v\.com\/yaml=0, v\.com\/c=x: .*broken\.json: .*old\.yaml: cdiVersion: "9\.9\.9"/,
    );
    await rejects(env("nonsense"), /InvalidArgumentError: CDI device "nonsense"/);
  });
});
