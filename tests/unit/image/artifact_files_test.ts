import { deepEqual, throws } from "node:assert/strict";
import fc from "fast-check";
import { PodError } from "../../../src/base/errors.ts";
import { parseDigest } from "../../../src/base/ids.ts";
import { filesOf } from "../../../src/image/artifacts/artifact.ts";
import type { ArtifactManifest } from "../../../src/image/manifest/documents.ts";

const TITLE = "org.opencontainers.image.title";
const digest = parseDigest(`sha256:${"a".repeat(64)}`);
const layer = (annotations?: Readonly<Record<string, string>>): ArtifactManifest["config"] => ({
  ...{ mediaType: "x", digest, sizeBytes: 1, urls: [] },
  ...(annotations === undefined ? {} : { annotations }),
});
const manifest = (...names: readonly string[]): ArtifactManifest => ({
  ...{ kind: "artifact", artifactType: "x", config: layer() },
  layers: names.map((name) => layer({ [TITLE]: name })),
});

Deno.test("filesOf() takes titles, else ModelPack's paths; layers without a name are no files", () => {
  const layers = [
    layer({ [TITLE]: "a", "org.cncf.model.filepath": "b" }),
    layer({ "org.cncf.model.filepath": "deep/model.gguf" }),
    layer({ "org.cnai.model.filepath": "./old//model.bin" }),
    layer({ [TITLE]: "" }),
    layer(),
  ];
  deepEqual(
    filesOf({ ...manifest(), layers }).map(({ name }) => name),
    ["a", "deep/model.gguf", "old/model.bin"],
  );
});

const HOSTILE: ReadonlyArray<readonly [names: readonly string[], reason: RegExp]> = [
  [["../../etc/passwd"], /"\.\.\/\.\.\/etc\/passwd" leads out/],
  [["a/../../b"], /leads out/],
  [["a/.."], /leads out/],
  [[".."], /leads out/],
  [["/etc/passwd"], /is absolute/],
  [["//x"], /is absolute/],
  [["."], /none of a file/],
  [["a/"], /none of a file/],
  [["x\0y"], /NUL/],
  [["é".repeat(128)], /is too long/],
  [[`${"d/".repeat(1200)}f`], /is too long/],
  [["a", "b", "a"], /"a" twice/],
  [["a/b", "./a//b"], /"a\/b" twice/],
  [["a", "a/b"], /"a" as a file and as a directory/],
  [["a/b/c", "a/b"], /"a\/b" as a file and as a directory/],
];
for (const [names, reason] of HOSTILE) {
  Deno.test(`filesOf() refuses ${JSON.stringify(names).slice(0, 60)}`, () => {
    throws(() => filesOf(manifest(...names)), reason);
  });
}

Deno.test("filesOf() takes odd names that are names all the same", () => {
  const names = ["..a", "a..", ".hidden", "a b\n", "…", "-rf", "con", "a\\b", "%2e%2e/x", "é".repeat(127)];
  deepEqual(filesOf(manifest(...names)).map(({ name }) => name), names);
});

Deno.test("filesOf() gives relative names without dots that are all different, or an error of ours", () => {
  const part = fc.constantFrom("a", "b", "..", ".", "", "/", "c\0", "x".repeat(300), "ü");
  const name = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join("/"));
  fc.assert(fc.property(fc.array(name, { maxLength: 6 }), (names) => {
    try {
      const found = filesOf(manifest(...names)).map((file) => file.name);
      if (new Set(found).size !== found.length) throw new Error("a name twice");
      for (const one of found) {
        const parts = one.split("/");
        if (parts.some((text) => ["", ".", ".."].includes(text) || text.includes("\0"))) throw new Error(one);
      }
    } catch (error) {
      if (!(error instanceof PodError)) throw error;
    }
  }));
});
