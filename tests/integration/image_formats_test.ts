/** Forms of layers and manifests that are met in registries, from real tools where one makes them. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { buildImage, type BuiltImage, type ImageSpec, sha256 } from "../fakes/registry/content.ts";
import { FakeRegistry } from "../fakes/registry.ts";
import { buildTar } from "../fakes/tar.ts";
import { addLayout, Layout, layoutOf, skopeo } from "./layouts.ts";
import { type PullNode, withNode } from "./pull_node.ts";

openLibraries();

const file = (name: string, body: string | Uint8Array): Uint8Array => buildTar([{ name, body }]);
const LAYERS = [file("etc/one", "1".repeat(3000)), file("etc/two", "22")];
const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

/** Stores an image whose manifest was changed. */
function addChanged(
  registry: FakeRegistry,
  built: BuiltImage,
  change: (manifest: Record<string, unknown> & { config: object; layers: Record<string, unknown>[] }) => object,
): string {
  for (const bytes of built.blobs.values()) registry.addBlob(bytes);
  const manifest = json(change(JSON.parse(new TextDecoder().decode(built.manifest))));
  registry.addManifest({ name: "odd", tag: "1", bytes: manifest, mediaType: built.mediaType });
  return `${registry.host}/odd:1`;
}

async function topLayerOf({ images, store }: PullNode, reference: string): Promise<string | undefined> {
  const id = await images.pull({ image: reference });
  return (await store.images()).find((image) => image.id === id)?.topLayer;
}

const ODDITIES: ReadonlyArray<
  readonly [what: string, spec: Partial<ImageSpec>, change: Parameters<typeof addChanged>[2]]
> = [
  ["Docker's manifest without media types", { dialect: "docker" }, ({ mediaType: _, config, layers, ...rest }) => ({
    ...rest,
    config: { ...config, mediaType: undefined },
    layers: layers.map((layer) => ({ ...layer, mediaType: undefined })),
  })],
  ["zstd content under gzip's label", { compression: "zstd" }, ({ layers, ...rest }) => ({
    ...rest,
    layers: layers.map((layer) => ({ ...layer, mediaType: "application/vnd.oci.image.layer.v1.tar+gzip" })),
  })],
  ["gzip content under zstd's label", { dialect: "docker" }, ({ layers, ...rest }) => ({
    ...rest,
    layers: layers.map((layer) => ({ ...layer, mediaType: "application/vnd.docker.image.rootfs.diff.tar.zstd" })),
  })],
  ["plain content under gzip's label", { compression: "none" }, ({ layers, ...rest }) => ({
    ...rest,
    layers: layers.map((layer) => ({ ...layer, mediaType: "application/x-gzip" })),
  })],
  ["Docker's old configuration type", { dialect: "docker" }, ({ config, ...rest }) => ({
    ...rest,
    config: { ...config, mediaType: "application/octet-stream" },
  })],
  ["Docker's layers in an OCI manifest", {}, ({ layers, ...rest }) => ({
    ...rest,
    layers: layers.map((layer) => ({ ...layer, mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip" })),
  })],
];

Deno.test("pull() takes what is labelled wrongly for what it is", async (t) => {
  await withNode({}, async (node) => {
    const plain = node.registry.addImage({ name: "plain", layers: LAYERS });
    const wanted = await topLayerOf(node, plain.reference);
    ok(wanted);
    for (const [what, spec, change] of ODDITIES) {
      await t.step(what, async () => {
        const built = buildImage({ layers: LAYERS, config: { Labels: { what } }, ...spec });
        equal(await topLayerOf(node, addChanged(node.registry, built, change)), wanted);
      });
    }
  });
});

Deno.test("pull() takes empty layers: Docker's and one of no bytes", async () => {
  await withNode({}, async ({ images, registry, store }) => {
    const built = registry.addImage({
      name: "empty",
      layers: [new Uint8Array(1024), LAYERS[0] ?? new Uint8Array(), new Uint8Array()],
      compression: ["gzip", "gzip", "none"],
    });
    const id = await images.pull({ image: built.reference });
    deepEqual(await Array.fromAsync(Deno.readDir(`${await store.mountImage(id)}/etc`), ({ name }) => name), ["one"]);
    await store.unmountImage(id);
  });
});

Deno.test("pull() refuses Docker's schema 1 and says what to do", async () => {
  await withNode({}, async ({ images, registry }) => {
    const mediaType = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    const bytes = json({ schemaVersion: 1, name: "old", tag: "1", fsLayers: [], history: [], signatures: [] });
    registry.addManifest({ name: "old", tag: "1", bytes, mediaType });
    await rejects(images.pull({ image: `${registry.host}/old:1` }), {
      kind: "unimplemented",
      message: /schema 1, which is not supported: push the image again with a current tool/,
    });
  });
});

const FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

Deno.test("a foreign layer comes from the registry, else from its URLs, without credentials", async () => {
  await using elsewhere = await FakeRegistry.start();
  const account = { username: "u", password: "secret-word" };
  await withNode({ auth: { kind: "basic", account } }, async ({ images, registry }) => {
    const credentials = { kind: "basic", ...account } as const;
    const built = buildImage({ layers: LAYERS, dialect: "docker" });
    const [first] = built.layers;
    const url = `http://${elsewhere.host}/v2/any/blobs/${first?.digest}?sig=x`;
    const reference = addChanged(registry, built, ({ layers, ...rest }) => ({
      ...rest,
      layers: layers.map((layer, i) =>
        i === 0 ? { ...layer, mediaType: FOREIGN, urls: ["ftp://x/y", "::", `http://127.0.0.1:1/gone`, url] } : layer
      ),
    }));
    registry.removeBlob(first?.digest ?? "");
    await rejects(images.pull({ image: reference, credentials }), /download blob|answered 404/);
    elsewhere.addBlob(built.blobs.get(first?.digest ?? "") ?? new Uint8Array());
    const id = await images.pull({ image: reference, credentials });
    ok(elsewhere.requestsTo("registry", first?.digest).length >= 2);
    ok(elsewhere.requests.every((request) => request.authorization === undefined && request.query === "sig=x"));
    await images.remove(id);
    // What the registry has is taken from there.
    registry.addBlob(built.blobs.get(first?.digest ?? "") ?? new Uint8Array());
    const before = elsewhere.requests.length;
    await images.pull({ image: reference, credentials });
    equal(elsewhere.requests.length, before);
    // A liar gets nothing in.
    await images.remove(id);
    registry.removeBlob(first?.digest ?? "");
    elsewhere.addBlob(gzipSync(file("etc/lie", "x")), { digest: first?.digest ?? "" });
    await rejects(images.pull({ image: reference, credentials }), { kind: "data_loss" });
  });
});

for (const format of ["zstd", "zstd:chunked"]) {
  Deno.test(`skopeo's ${format} layers give what gzip gives`, async () => {
    await using layout = await layoutOf([...LAYERS, file("big", crypto.getRandomValues(new Uint8Array(60_000)))]);
    await withNode({}, async (node) => {
      const wanted = await topLayerOf(node, await addLayout(node.registry, { layout, ref: "plain", name: "plain" }));
      // Beside it: what a layout has already is not packed again.
      const other = new Layout(`${layout.path}/packed`);
      const [from, to] = [`oci:${layout.path}:plain`, `oci:${other.path}:packed`];
      await skopeo("copy", "-q", "--dest-compress", "--dest-compress-format", format, from, to);
      const reference = await addLayout(node.registry, { layout: other, ref: "packed", name: "packed" });
      const { layers } = await other.manifest("packed");
      match(layers[0]?.mediaType ?? "", /zstd$/);
      if (format === "zstd:chunked") {
        ok(layers[0]?.annotations?.["io.containers.zstd-chunked.manifest-position"]);
      }
      const { images, store } = node;
      for (const { id } of await store.images()) await images.remove(id);
      equal(await topLayerOf(node, reference), wanted);
    });
  });
}

Deno.test("zstd layers with skippable frames and a table of contents after them are read to their end", async () => {
  await withNode({}, async (node) => {
    const skippable = (content: Uint8Array): Uint8Array => {
      return new Uint8Array([0x50, 0x2a, 0x4d, 0x18, content.length, 0, 0, 0, ...content]);
    };
    const tar = LAYERS[0] ?? new Uint8Array();
    const parts = [
      skippable(new Uint8Array(0)),
      zstdCompressSync(tar.subarray(0, 700)),
      skippable(new Uint8Array(200).fill(1)),
      zstdCompressSync(tar.subarray(700)),
      skippable(zstdCompressSync(json({ version: 1, entries: [] }))),
      skippable(new Uint8Array(40).fill(9)),
    ];
    const blob = new Uint8Array(await new Blob(parts as Uint8Array<ArrayBuffer>[]).arrayBuffer());
    const wanted = await topLayerOf(
      node,
      node.registry.addImage({ name: "plain", layers: [tar] }).reference,
    );
    node.registry.addBlob(blob);
    const built = buildImage({ layers: [tar], config: { Env: ["chunked=1"] } });
    const reference = addChanged(node.registry, built, ({ layers, ...rest }) => ({
      ...rest,
      layers: [{ ...layers[0], digest: sha256(blob), size: blob.length }],
    }));
    equal(await topLayerOf(node, reference), wanted);
  });
});

Deno.test("estargz is read as the gzip that it is: many members and a footer", async () => {
  await withNode({}, async (node) => {
    const tar = buildTar([
      { name: "etc/one", body: "1".repeat(3000) },
      { name: ".no.prefetch.landmark", body: "\x0f" },
      { name: "stargz.index.json", body: JSON.stringify({ version: 1, entries: [] }) },
    ]);
    // The footer: an empty member whose extra field holds the place of the table, marked "SG".
    const extra = new Uint8Array([0x53, 0x47, 22, 0, ...new TextEncoder().encode("0000000000000400STARGZ")]);
    const footer = new Uint8Array(
      [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, extra.length, 0, ...extra, 1, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    equal(gunzipSync(footer).length, 0);
    const members = [gzipSync(tar.subarray(0, 512)), gzipSync(tar.subarray(512, 4096)), gzipSync(tar.subarray(4096))];
    const blob = new Uint8Array(
      await new Blob([...members, footer] as Uint8Array<ArrayBuffer>[]).arrayBuffer(),
    );
    const wanted = await topLayerOf(node, node.registry.addImage({ name: "plain", layers: [tar] }).reference);
    node.registry.addBlob(blob);
    const built = buildImage({ layers: [tar], config: { Env: ["stargz=1"] } });
    const reference = addChanged(node.registry, built, ({ layers, ...rest }) => ({
      ...rest,
      layers: [{
        ...layers[0],
        digest: sha256(blob),
        size: blob.length,
        annotations: { "containerd.io/snapshot/stargz/toc.digest": sha256(json({})) },
      }],
    }));
    equal(await topLayerOf(node, reference), wanted);
  });
});

Deno.test("an index is chosen from by the level of the processor", async () => {
  if (Deno.build.arch !== "x86_64") return;
  await withNode({}, async ({ images, registry }) => {
    const of = (variant: string) =>
      registry.addImage({
        name: "levels",
        tag: variant || "none",
        layers: [file(variant || "none", variant)],
        platform: { os: "linux", architecture: "amd64", ...(variant === "" ? {} : { variant }) },
      });
    const [v1, v9] = [of("v1"), of("v9")];
    registry.addIndex({ name: "levels", tag: "some", images: [v9, v1] });
    equal(`sha256:${await images.pull({ image: `${registry.host}/levels:some` })}`, v1.config.digest);
    registry.addIndex({ name: "levels", tag: "high", images: [v9] });
    await rejects(images.pull({ image: `${registry.host}/levels:high` }), /it has linux\/amd64\/v9/);
  });
});
