import assert from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { UsageMeter } from "../../../src/storage/usage_meter.ts";
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

Deno.test("UsageMeter.measure() says when it measured, and measures again what nobody asked for in a while", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-usage-" });
  let nowMs = 0;
  const clock = { monotonicMs: () => nowMs, nowNanos: () => BigInt(nowMs) * 1_000_000n };
  await using meter = new UsageMeter(silentLogger, clock);
  try {
    await Deno.writeTextFile(`${directory}/a`, "x");
    const first = await meter.measure(directory);
    assert.deepEqual([first.inodes, first.atNanos], [2, 0n]);
    await Deno.writeTextFile(`${directory}/b`, "x");
    nowMs = 9_999;
    assert.equal((await meter.measure(directory)).inodes, 2);
    nowMs = 29_999;
    // The last one, while the next one runs.
    assert.equal((await meter.measure(directory)).atNanos, 0n);
    while ((await meter.measure(directory)).inodes !== 3) await new Promise((done) => setTimeout(done, 2));
    await Deno.writeTextFile(`${directory}/c`, "x");
    nowMs = 100_000;
    const late = await meter.measure(directory);
    // Unless this machine takes longer than the wait.
    assert.ok(late.atNanos === 100_000_000_000n ? late.inodes === 4 : late.inodes === 3);
    while ((await meter.measure(directory)).inodes !== 4) await new Promise((done) => setTimeout(done, 2));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
