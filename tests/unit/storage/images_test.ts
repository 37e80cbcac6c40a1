import assert from "node:assert/strict";
import { parseDigest } from "../../../src/base/ids.ts";
import {
  assertSound,
  layerCommits,
  makeImage,
  openStore,
  pullInto,
  sha256,
  withRoots,
  withStore,
} from "./store_fixture.ts";

const NAME = "docker.io/library/test:1";

Deno.test("commitImage() makes an image that is found by id, prefix, name and digest", async () => {
  await withStore(async (store, roots) => {
    const image = await makeImage(roots.directory, [{ "etc/a": "1" }, { "etc/b": "2" }]);
    const index = new TextEncoder().encode('{"schemaVersion":2,"manifests":[]}');
    const id = await pullInto(store, image, { names: [NAME], index: { digest: sha256(index), bytes: index } });
    assert.equal(id, image.id);
    const [listed] = await store.images();
    assert.deepEqual(listed?.names, [NAME]);
    assert.deepEqual(listed?.digests, [image.manifest.digest, sha256(index)]);
    assert.equal(listed?.created, "2023-11-14T22:13:20Z");
    assert.ok((listed?.sizeBytes ?? 0) > image.layers.reduce((sum, layer) => sum + layer.sizeBytes, 0));
    const repo = "docker.io/library/test";
    const references = [
      id,
      id.slice(0, 12),
      NAME,
      `${repo}@${image.manifest.digest}`,
      `${repo}@${sha256(index)}`,
      `${NAME}@${image.manifest.digest}`,
    ];
    for (const reference of references) assert.equal((await store.findImage(reference))?.id, id, reference);
    for (const wrong of ["", "a", id.slice(0, 2), "docker.io/library/test:2", `other@${image.manifest.digest}`]) {
      assert.equal(await store.findImage(wrong), undefined, wrong);
    }
    assert.deepEqual(await store.imageConfig(id), image.config);
    assert.deepEqual(await store.imageManifest(id), image.manifest.bytes);
    assert.deepEqual(await store.imageManifest(id, sha256(index)), index);
    await assert.rejects(store.imageManifest(id, parseDigest(`sha256:${"0".repeat(64)}`)), /not found/);
  });
});

Deno.test("commitImage() reuses present layers and takes a name from another image", async () => {
  await withStore(async (store, roots) => {
    const base = await makeImage(roots.directory, [{ "a": "1" }]);
    const first = await pullInto(store, base, { names: [NAME, "docker.io/library/test:old"] });
    const tree = await makeImage(roots.directory, [{ "a": "1" }, { "b": "2" }]);
    assert.equal(tree.layers[0]?.diffId, base.layers[0]?.diffId);
    assert.equal((await store.presentLayers(tree.layers.map((layer) => layer.diffId))).length, 1);
    const second = await pullInto(store, tree, { names: [NAME] });
    assert.equal((await store.findImage(NAME))?.id, second);
    const old = await store.findImage(first);
    assert.deepEqual(old?.names, ["docker.io/library/test:old"]);
    assert.deepEqual(old?.namesHistory, [NAME, "docker.io/library/test:old"]);
    assert.equal((await Array.fromAsync(Deno.readDir(`${roots.graphRoot}/overlay/l`))).length, 2);
  });
});

Deno.test("a layer's root takes mode and owner from its parent unless its tar had an entry for it", async () => {
  await withStore(async (store, roots) => {
    const image = await makeImage(roots.directory, [{ "a": "1" }, { "b": "2" }, { "c": "3" }]);
    await using stage = await store.stage();
    const root = await stage.layerDirectory(0);
    await Deno.chmod(root, 0o1711);
    await Deno.chown(root, 7, 8);
    await stage.layerDirectory(1);
    await Deno.chmod(await stage.layerDirectory(2), 0o700);
    const layers = layerCommits(image).map((layer, i) =>
      layer.source.kind === "staged" ? { ...layer, source: { ...layer.source, hasRootEntry: i !== 1 } } : layer
    );
    await store.commitImage({ stage, names: [], config: image.config, manifest: image.manifest, layers });
    const present = await store.presentLayers(image.layers.map((layer) => layer.diffId));
    const found = await Promise.all(present.map((layer) => Deno.stat(`${roots.graphRoot}/overlay/${layer.id}/diff`)));
    assert.deepEqual(found.map((info) => [(info.mode ?? 0) & 0o7777, info.uid, info.gid]), [
      [0o1711, 7, 8],
      [0o1711, 7, 8],
      [0o700, 0, 0],
    ]);
  });
});

Deno.test("commitImage() refuses what does not fit together, and leaves nothing", async () => {
  await withRoots(async (roots) => {
    {
      await using store = await openStore(roots);
      const image = await makeImage(roots.directory, [{ "a": "1" }, { "b": "2" }]);
      const { config, manifest } = image;
      const layers = layerCommits(image);
      const wrong = { digest: sha256(config), bytes: manifest.bytes };
      const other = new TextEncoder().encode(`{"config":{"digest":"sha256:${"1".repeat(64)}"}}`);
      await using stage = await store.stage();
      await stage.layerDirectory(0);
      await stage.layerDirectory(1);
      const cases = [
        [{ stage, names: [], config, manifest, layers: layers.slice(1) }, /not those of its configuration/],
        [{ stage, names: [], config, manifest, layers: [...layers].reverse() }, /not those of its configuration/],
        [{ stage, names: [], config, manifest: wrong, layers }, /its manifest has digest/],
        [{ stage, names: [], config, manifest, index: wrong, layers }, /its index has digest/],
        [
          { stage, names: [], config, manifest: { digest: sha256(other), bytes: other }, layers },
          /names the configuration/,
        ],
        [{ stage, names: ["a b"], config, manifest, layers }, /white space/],
        [{ names: [], config, manifest, layers }, /not in the store any more/],
        [{ stage, names: [], config, manifest, layers: layerCommits(image, 1) }, /not in the store any more/],
      ] as const;
      for (const [commit, message] of cases) await assert.rejects(store.commitImage(commit), message);
      assert.deepEqual(await store.images(), []);
    }
    await assertSound(roots);
  });
});

Deno.test("commitImage() undoes the layers when the image cannot be written", async () => {
  await withRoots(async (roots) => {
    {
      await using store = await openStore(roots);
      const image = await makeImage(roots.directory, [{ "a": "1" }, { "b": "2" }]);
      // A file in the place of the image's directory.
      await Deno.writeTextFile(`${roots.graphRoot}/overlay-images/${image.id}`, "");
      await assert.rejects(pullInto(store, image));
      assert.deepEqual(await store.presentLayers(image.layers.map((layer) => layer.diffId)), []);
      await Deno.remove(`${roots.graphRoot}/overlay-images/${image.id}`);
    }
    await assertSound(roots);
  });
});

Deno.test("deleteImage() removes layers that nothing else needs", async () => {
  await withRoots(async (roots) => {
    {
      await using store = await openStore(roots);
      const base = await makeImage(roots.directory, [{ "a": "1" }]);
      const tree = await makeImage(roots.directory, [{ "a": "1" }, { "b": "2" }, { "c": "3" }]);
      const first = await pullInto(store, base);
      const second = await pullInto(store, tree);
      await store.deleteImage(second);
      assert.equal((await store.presentLayers(tree.layers.map((layer) => layer.diffId))).length, 1);
      await store.deleteImage(first);
      await assert.rejects(store.deleteImage(first), /not found/);
      assert.deepEqual(await store.images(), []);
    }
    await assertSound(roots);
    assert.deepEqual(await Deno.readTextFile(`${roots.graphRoot}/overlay-layers/layers.json`), "[]");
  });
});

Deno.test("addNames() and removeNames() move names; an image without names stays", async () => {
  await withStore(async (store, roots) => {
    const a = await pullInto(store, await makeImage(roots.directory, [{ "a": "1" }]), { names: ["x/a:1"] });
    const b = await pullInto(store, await makeImage(roots.directory, [{ "b": "1" }]), { names: ["x/b:1"] });
    await store.addNames(b, ["x/a:1"]);
    assert.deepEqual((await store.findImage(a))?.names, []);
    assert.deepEqual((await store.findImage(b))?.names, ["x/a:1", "x/b:1"]);
    await store.removeNames(b, ["x/b:1", "x/unknown:1"]);
    assert.deepEqual((await store.findImage(b))?.names, ["x/a:1"]);
  });
});

Deno.test("an image that is committed again keeps its record and gains names and manifests", async () => {
  await withStore(async (store, roots) => {
    const image = await makeImage(roots.directory, [{ "a": "1" }]);
    const id = await pullInto(store, image, { names: ["x/a:1"] });
    const manifest = new TextEncoder().encode(`{"config":{"digest":"sha256:${id}"},"layers":[]}`);
    const layers = layerCommits(image, 1);
    await store.commitImage({
      names: ["x/a:2"],
      config: image.config,
      manifest: { digest: sha256(manifest), bytes: manifest },
      layers,
    });
    const found = await store.findImage(id);
    assert.deepEqual(found?.names, ["x/a:2", "x/a:1"]);
    assert.deepEqual(found?.digests, [sha256(manifest), image.manifest.digest]);
  });
});
