import { deepEqual, equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { PodError } from "../../../src/base/errors.ts";
import { parseManifest } from "../../../src/image/manifest/documents.ts";
import { parseConfigSummary, parseImageConfig } from "../../../src/image/manifest/image_config.ts";
import { choosePlatform } from "../../../src/image/manifest/platform.ts";

const OCI = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
const DIGEST = `sha256:${"a".repeat(64)}`;
const CONFIG = { mediaType: "application/vnd.oci.image.config.v1+json", digest: DIGEST, size: 2 };
const DOCKER_CONFIG = { ...CONFIG, mediaType: "application/vnd.docker.container.image.v1+json" };
const LAYER = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: DIGEST, size: 5 };
const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

Deno.test("parseManifest() goes by the document's media type, then the header, then the shape", () => {
  const plain = { schemaVersion: 2, config: CONFIG, layers: [LAYER] };
  for (const type of [OCI, "", "application/json", "text/plain"]) equal(parseManifest(json(plain), type).kind, "image");
  equal(parseManifest(json({ ...plain, config: DOCKER_CONFIG }), "").kind, "image");
  equal(parseManifest(json({ ...plain, mediaType: OCI }), OCI_INDEX).kind, "image");
  equal(parseManifest(json({ schemaVersion: 2, manifests: [LAYER] }), "text/plain").kind, "index");
  equal(parseManifest(json({ schemaVersion: 2, manifests: [] }), OCI_INDEX).kind, "index");
});

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
  [{ schemaVersion: 2, config: CONFIG, layers: [{ ...LAYER, urls: ["http://x"] }] }, OCI, /foreign/],
  [
    { schemaVersion: 2, config: CONFIG, layers: [{ ...LAYER, mediaType: `${LAYER.mediaType}+encrypted` }] },
    OCI,
    /encrypted/,
  ],
  [{ schemaVersion: 2, config: CONFIG, layers: [{ ...LAYER, mediaType: "text/html" }] }, OCI, /text\/html/],
  [{ schemaVersion: 2, config: { ...CONFIG, mediaType: "application/vnd.cncf.helm" }, layers: [] }, OCI, /helm/],
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
});
