import assert from "node:assert/strict";
import { makeImage, pullInto, withStore } from "./store_fixture.ts";

Deno.test("imageFilesystem() counts layers once and their inodes when they are measured", async () => {
  await withStore(async (store, roots) => {
    assert.deepEqual(await store.imageFilesystem(), {
      path: `${roots.graphRoot}/overlay-images`,
      usedBytes: 0,
      inodesUsed: 0,
    });
    const base = await makeImage(roots.directory, [{ "a": "1" }]);
    const tree = await makeImage(roots.directory, [{ "a": "1" }, { "d/b": "2" }]);
    await pullInto(store, base);
    await pullInto(store, tree);
    const usedBytes = tree.layers.reduce((sum, layer) => sum + layer.sizeBytes, 0);
    const first = await store.imageFilesystem();
    assert.equal(first.usedBytes, usedBytes);
    // Two roots, two files, one directory. The measurement runs in the background of the first call.
    const EXPECTED = 5;
    while ((await store.imageFilesystem()).inodesUsed !== EXPECTED) await new Promise((done) => setTimeout(done, 2));
  });
});
