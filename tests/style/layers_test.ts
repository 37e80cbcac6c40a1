import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import plugin, { layerViolation, RANK } from "./layers_lint.ts";

const FILE = "/project/src/container/create.ts";

function findings(source: string, file = FILE): readonly string[] {
  return Deno.lint.runPlugin(plugin, file, source).map(({ id, message }) => `${id}: ${message}`);
}

Deno.test("the layer lint catches each way of importing a higher or equal layer", () => {
  const wrong = [
    `import { x } from "../sandbox/run.ts";`,
    `import type { X } from "../sandbox/types.ts";`,
    `export { x } from "../cri/server.ts";`,
    `export * from "../cri/server.ts";`,
    `const x = await import("../daemon.ts");`,
  ];
  for (const source of wrong) strictEqual(findings(source).length, 1, source);
  deepStrictEqual(findings(wrong[0] ?? ""), [
    "crio/layers: src/container (rank 4) must not import src/sandbox (rank 5)",
  ]);
});

Deno.test("the layer lint refuses equal layers and private files of others", () => {
  deepStrictEqual(findings(`import "../network/cni.ts";`, "/project/src/storage/layers.ts"), [
    "crio/layers: src/storage (rank 2) must not import src/network (rank 2)",
  ]);
  deepStrictEqual(findings(`import "../linux/_libc.ts";`), ["crio/layers: _libc.ts is private to its folder"]);
  deepStrictEqual(findings(`import "./restore/_x.ts";`), ["crio/layers: _x.ts is private to its folder"]);
});

Deno.test("the layer lint lets lower layers, the own folder, packages and tests be", () => {
  const fine = [
    `import "../base/errors.ts";`,
    `import "./types.ts";`,
    `import "./_private.ts";`,
    `import "node:fs";`,
    `import "@grpc/grpc-js";`,
    `export const x = 1;`,
    "const x = await import(name);",
  ];
  for (const source of fine) deepStrictEqual(findings(source), [], source);
  deepStrictEqual(findings(`import "../../src/daemon.ts";`, "/project/tests/unit/x_test.ts"), []);
});

Deno.test("every entry of src has a rank", () => {
  for (const { name } of Deno.readDirSync(new URL("../../src", import.meta.url))) ok(name in RANK, `src/${name}`);
  strictEqual(layerViolation("/p/src/new/a.ts", "/p/src/base/b.ts"), "src/new has no rank: add it to RANK");
});
