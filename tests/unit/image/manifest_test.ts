import { deepEqual, equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { PodError } from "../../../src/base/errors.ts";
import { parseManifest } from "../../../src/image/manifest/documents.ts";
import { parseConfigSummary, parseImageConfig } from "../../../src/image/manifest/image_config.ts";
import { amd64Variant, choosePlatform } from "../../../src/image/manifest/platform.ts";

const OCI = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
const DIGEST = `sha256:${"a".repeat(64)}`;
const CONFIG = { mediaType: "application/vnd.oci.image.config.v1+json", digest: DIGEST, size: 2 };
const DOCKER_CONFIG = { ...CONFIG, mediaType: "application/vnd.docker.container.image.v1+json" };
const LAYER = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: DIGEST, size: 5 };
const EMPTY = { ...CONFIG, mediaType: "application/vnd.oci.empty.v1+json" };
const DOCKER = "application/vnd.docker.distribution.manifest.v2+json";
const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

Deno.test("parseManifest() goes by the document's media type, then the header, then the shape", () => {
  const plain = { schemaVersion: 2, config: CONFIG, layers: [LAYER] };
  for (const type of [OCI, "", "application/json", "text/plain"]) equal(parseManifest(json(plain), type).kind, "image");
  equal(parseManifest(json({ ...plain, config: DOCKER_CONFIG }), "").kind, "image");
  equal(parseManifest(json({ ...plain, mediaType: OCI }), OCI_INDEX).kind, "image");
  equal(parseManifest(json({ schemaVersion: 2, manifests: [LAYER] }), "text/plain").kind, "index");
  equal(parseManifest(json({ schemaVersion: 2, manifests: [] }), OCI_INDEX).kind, "index");
  equal(parseManifest(json({ schemaVersion: 2, manifests: [] }), OCI).kind, "index", "the shape beats a wrong header");
  equal(parseManifest(json(plain), OCI_INDEX).kind, "image");
});

const typed = (mediaType: unknown): unknown[] => [{ ...LAYER, mediaType }];
const KINDS: ReadonlyArray<readonly [what: string, document: object, type: string, kind: "image" | "artifact"]> = [
  ["a configuration without a type", { config: { ...CONFIG, mediaType: undefined }, layers: [LAYER] }, "", "image"],
  [
    "Docker's untyped configuration",
    { config: { ...CONFIG, mediaType: "application/octet-stream" }, layers: [LAYER] },
    DOCKER,
    "image",
  ],
  ["layers without a type", { config: CONFIG, layers: typed(undefined) }, OCI, "image"],
  [
    "layers of a type that says nothing",
    { config: DOCKER_CONFIG, layers: typed("application/x-gzip") },
    DOCKER,
    "image",
  ],
  [
    "foreign layers",
    { config: DOCKER_CONFIG, layers: typed("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip") },
    DOCKER,
    "image",
  ],
  [
    "non-distributable layers",
    { config: CONFIG, layers: typed("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd") },
    OCI,
    "image",
  ],
  [
    "Docker's layers in an OCI manifest",
    { config: CONFIG, layers: typed("application/vnd.docker.image.rootfs.diff.tar.gzip") },
    OCI,
    "image",
  ],
  ["encrypted layers", { config: CONFIG, layers: typed(`${LAYER.mediaType}+encrypted`) }, OCI, "image"],
  ["an image that names an artifact type", { artifactType: "x/y", config: CONFIG, layers: [LAYER] }, OCI, "image"],
  [
    "an artifact that has an image's configuration",
    { artifactType: "x/y", config: CONFIG, layers: typed("text/plain") },
    OCI,
    "artifact",
  ],
  ["the empty configuration", { artifactType: "x/y", config: EMPTY, layers: typed("text/plain") }, OCI, "artifact"],
  [
    "a configuration of its own",
    { config: { ...CONFIG, mediaType: "application/vnd.cncf.helm" }, layers: [LAYER] },
    OCI,
    "artifact",
  ],
];
for (const [what, document, type, kind] of KINDS) {
  Deno.test(`parseManifest() takes ${what} for an ${kind}`, () => {
    equal(parseManifest(json({ schemaVersion: 2, ...document }), type).kind, kind);
  });
}

const BAD: ReadonlyArray<readonly [document: unknown, type: string, reason: RegExp]> = [
  [[], OCI, /not a JSON object/],
  [null, OCI, /not a JSON object/],
  [{ schemaVersion: 2, config: CONFIG, layers: [], manifests: [] }, OCI, /layers and manifests/],
  [{ schemaVersion: 2, manifests: [], layers: [] }, OCI_INDEX, /layers and manifests/],
  [{ schemaVersion: 1 }, "application/vnd.docker.distribution.manifest.v1+prettyjws", /schema 1/],
  [{ schemaVersion: 3, config: CONFIG, layers: [] }, OCI, /schemaVersion/],
  [{ schemaVersion: 2, config: CONFIG }, OCI, /layers is not a list/],
  [{ schemaVersion: 2, config: CONFIG, layers: {} }, OCI, /layers is not a list/],
  [{ schemaVersion: 2, layers: [] }, OCI, /config is not a descriptor/],
  [{ schemaVersion: 2, config: CONFIG, layers: [null] }, OCI, /layers\[0\]/],
  [{ schemaVersion: 2, config: CONFIG, layers: [{ ...LAYER, size: -1 }] }, OCI, /no valid size/],
  [{ schemaVersion: 2, config: CONFIG, layers: [{ ...LAYER, size: 1e300 }] }, OCI, /no valid size/],
  [{ schemaVersion: 2, config: CONFIG, layers: [{ ...LAYER, size: "5" }] }, OCI, /no valid size/],
  [{ schemaVersion: 2, config: CONFIG, layers: [{ ...LAYER, digest: "sha256:../../x" }] }, OCI, /digest/],
  [{ schemaVersion: 2, config: CONFIG, layers: [{ ...LAYER, digest: `md5:${"a".repeat(32)}` }] }, OCI, /digest/],
  [{ schemaVersion: 2, config: CONFIG, layers: Array(501).fill(LAYER) }, OCI, /more than 500 layers/],
  [{ schemaVersion: 2, config: CONFIG, layers: [{ ...LAYER, mediaType: 7 }] }, OCI, /media type that is no text/],
  [{ schemaVersion: 2, config: CONFIG, layers: [{ ...LAYER, mediaType: "text/html" }] }, OCI, /text\/html/],
  [
    { schemaVersion: 2, config: { ...CONFIG, mediaType: "application/vnd.docker.plugin" }, layers: [] },
    DOCKER,
    /plugin/,
  ],
  [{ schemaVersion: 2, config: EMPTY, layers: Array(2001).fill(LAYER) }, OCI, /more than 2000 files/],
  [{ schemaVersion: 2, manifests: "x" }, OCI_INDEX, /manifests is not a list/],
  [{ schemaVersion: 2, mediaType: "application/x" }, OCI, /application\/x/],
];
for (const [document, type, reason] of BAD) {
  Deno.test(`parseManifest() refuses ${JSON.stringify(document).slice(0, 100)}`, () => {
    throws(() => parseManifest(json(document), type), reason);
  });
}

Deno.test("parseManifest() and the configuration parsers throw only errors of ours", () => {
  const anything = fc.oneof(fc.json().map((text) => new TextEncoder().encode(text)), fc.uint8Array({ maxLength: 50 }));
  fc.assert(fc.property(anything, fc.constantFrom("", OCI, OCI_INDEX), (bytes, type) => {
    for (
      const parse of [
        () => parseManifest(bytes, type),
        () => parseConfigSummary(bytes, 1),
        () => parseImageConfig(bytes),
      ]
    ) {
      try {
        parse();
      } catch (error) {
        if (!(error instanceof PodError)) throw error;
      }
    }
  }));
});

Deno.test("parseConfigSummary() wants one diff ID per layer", () => {
  const config = (rootfs: unknown): Uint8Array => json({ created: "2026-01-01T00:00:00Z", rootfs });
  deepEqual(parseConfigSummary(config({ type: "layers", diff_ids: [DIGEST] }), 1).diffIds, [DIGEST]);
  deepEqual(parseConfigSummary(config({ type: "layers" }), 0).diffIds, []);
  throws(() => parseConfigSummary(config({ type: "layers", diff_ids: [DIGEST] }), 2), /1 diff IDs .* 2 layers/);
  throws(() => parseConfigSummary(config({ type: "layers", diff_ids: ["x"] }), 1), /diff ID/);
  throws(() => parseConfigSummary(config({ type: "other" }), 0), /rootfs/);
});

Deno.test("parseImageConfig() takes fields of a wrong type as absent", () => {
  const parsed = parseImageConfig(
    json({ config: { User: 5, Env: ["A=1", 2], Cmd: null, Volumes: [], Labels: { a: "b", c: 1 } } }),
  );
  deepEqual([parsed.user, parsed.env, parsed.cmd, parsed.volumes, parsed.labels], ["", ["A=1"], [], [], { a: "b" }]);
  deepEqual(parseImageConfig(json({})).entrypoint, []);
});

Deno.test("choosePlatform() prefers the exact variant, then none, then the baseline", () => {
  const entry = (
    architecture: string,
    variant: string,
    digit: string,
  ): Parameters<typeof choosePlatform>[0][number] => {
    const digest = `sha256:${digit.repeat(64)}` as Parameters<typeof choosePlatform>[0][number]["digest"];
    return { mediaType: OCI, digest, sizeBytes: 1, urls: [], platform: { os: "linux", architecture, variant } };
  };
  const arm = { os: "linux", architecture: "arm64", variant: "v8" };
  const amd = { os: "linux", architecture: "amd64", variant: "" };
  const all = [
    entry("unknown", "", "0"),
    entry("amd64", "v3", "1"),
    entry("amd64", "", "2"),
    entry("arm64", "", "3"),
    entry("arm64", "v8", "4"),
  ];
  equal(choosePlatform(all, arm).digest[7], "4");
  equal(choosePlatform(all.slice(0, 4), arm).digest[7], "3");
  equal(choosePlatform(all, amd).digest[7], "2");
  throws(
    () => choosePlatform([entry("amd64", "v3", "1")], amd),
    /no variant for linux\/amd64; it has linux\/amd64\/v3/,
  );
  throws(() => choosePlatform([], amd), /it has none/);
  const chosen = (architecture: string, wanted: string, offered: readonly string[]): string | undefined => {
    const list = offered.map((variant, i) => entry(architecture, variant, String(i)));
    return choosePlatform(list, { os: "linux", architecture, variant: wanted }).platform?.variant;
  };
  equal(chosen("amd64", "v3", ["", "v2", "v3", "v4"]), "v3");
  equal(chosen("amd64", "v3", ["v1", "", "v2", "v4"]), "v2");
  equal(chosen("amd64", "v3", ["v1", "", "v4"]), "");
  equal(chosen("amd64", "v2", ["v4", "v1"]), "v1");
  equal(chosen("arm", "v7", ["v5", "v6", "v8"]), "v6");
  equal(chosen("arm", "v7", ["v5", "v6", "v7"]), "v7");
  equal(chosen("arm", "v8", ["v6", "v7"]), "v7");
  equal(chosen("arm", "v6", ["v5", "v7"]), "v5");
  equal(chosen("arm64", "v9", ["", "v8"]), "");
  equal(chosen("riscv64", "", ["", "v1"]), "");
  throws(() => chosen("arm", "v6", ["v7", "v8"]), /no variant for linux\/arm\/v6/);
});

Deno.test("amd64Variant() is the highest level whose features are all there", () => {
  const v2 = "flags\t\t: fpu lm cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3";
  const v3 = `${v2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave`;
  equal(amd64Variant("processor : 0\nflags\t\t: fpu lm\n"), "v1");
  equal(amd64Variant(`${v2} avx2\nbugs : none\n`), "v2");
  equal(amd64Variant(v3), "v3");
  equal(amd64Variant(`${v3} avx512f avx512bw avx512cd avx512dq avx512vl`), "v4");
  equal(amd64Variant(""), "");
});

Deno.test("choosePlatform() names the platforms that there are, but not at any length", () => {
  const platforms = ["arm64", "x".repeat(1_000_000)].map((architecture) => ({ os: "linux", architecture }));
  const manifests = platforms.map((platform) => ({ ...LAYER, platform }));
  const index = parseManifest(json({ schemaVersion: 2, manifests }), OCI_INDEX);
  if (index.kind !== "index") throw new Error(index.kind);
  throws(
    () => choosePlatform(index.manifests, { os: "linux", architecture: "amd64", variant: "" }),
    (error: Error) => /it has linux\/arm64, linux\/x{50,60}$/.test(error.message),
  );
});
