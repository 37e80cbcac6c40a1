import assert from "node:assert/strict";
import { bigDataFileName, Layout } from "../../../src/storage/layout.ts";
import { randomHex } from "../../../src/base/ids.ts";
import { DataLossError, FailedPreconditionError, InvalidArgumentError } from "../../../src/base/errors.ts";
import { RecordLockFile } from "../../../src/linux/record_lock.ts";
import { assertSound, makeImage, openStore, pullInto, withRoots } from "./store_fixture.ts";

Deno.test("bigDataFileName() names files as containers/storage does", () => {
  assert.equal(bigDataFileName("manifest"), "manifest");
  assert.equal(bigDataFileName("sha256:ab"), "=c2hhMjU2OmFi");
  assert.equal(bigDataFileName("manifest-sha256:ab"), "=bWFuaWZlc3Qtc2hhMjU2OmFi");
  for (const hostile of ["..", ".", "", "a/", "/", "../x", "a\0"]) {
    assert.ok(!bigDataFileName(hostile).includes("/") && bigDataFileName(hostile).startsWith("="), hostile);
  }
});

Deno.test("Layout refuses roots that cannot stand in mount options", () => {
  for (const root of ["", "relative", "/", "/a:b", "/a,b", "/a\\b", "/a\nb", "/a/../b", "/a//b", "/a/./b", "/a/"]) {
    assert.throws(() => new Layout(root, "/run/x"), InvalidArgumentError, root);
    assert.throws(() => new Layout("/var/x", root), InvalidArgumentError, root);
  }
  assert.equal(new Layout("/var/x..y/.z", "/run/x").layer("i"), "/var/x..y/.z/overlay/i");
});

Deno.test("open() names the damaged file", async () => {
  const hostile = ["{", "{}", "7", "[1]", '[{"id":""}]', '[{"id":"../x"}]', '[{"id":5}]', "[null]", "\0\0\0"];
  for (const [file, content] of hostile.map((content) => ["overlay-layers/layers.json", content] as const)) {
    await withRoots(async (roots) => {
      await (await openStore(roots))[Symbol.asyncDispose]();
      await Deno.writeTextFile(`${roots.graphRoot}/${file}`, content);
      await assert.rejects(openStore(roots), (error) => {
        assert.ok(error instanceof DataLossError, String(error));
        assert.match(error.message, /graph\/overlay-layers\/layers\.json is damaged/);
        return true;
      });
    });
  }
});

Deno.test("a damaged file that another tool wrote fails the reads, and the store heals with the file", async () => {
  await withRoots(async (roots) => {
    await using store = await openStore(roots);
    const path = `${roots.graphRoot}/overlay-images/images.json`;
    using lock = RecordLockFile.open(`${roots.graphRoot}/overlay-images/images.lock`);
    await Deno.writeTextFile(path, "[{");
    lock.write(crypto.getRandomValues(new Uint8Array(64)));
    await assert.rejects(store.images(), /images\.json is damaged/);
    await Deno.writeTextFile(path, "null");
    lock.write(crypto.getRandomValues(new Uint8Array(64)));
    assert.deepEqual(await store.images(), []);
  });
});

Deno.test("fields of other tools survive a rewrite, and their writes are seen by the token", async () => {
  await withRoots(async (roots) => {
    await using store = await openStore(roots);
    const image = await makeImage(roots.directory, [{ "a": "1" }]);
    const id = await pullInto(store, image, { names: ["x/a:1"] });
    const path = `${roots.graphRoot}/overlay-images/images.json`;
    const [record] = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify([{ ...record, "from-the-future": { deep: [1, null] } }]));
    assert.equal((await store.images())[0]?.id, id);
    using lock = RecordLockFile.open(`${roots.graphRoot}/overlay-images/images.lock`);
    const before = lock.read(64);
    assert.equal(before.length, 64);
    lock.write(crypto.getRandomValues(new Uint8Array(64)));
    await store.addNames(id, ["x/a:2"]);
    assert.notDeepEqual(lock.read(64), before);
    const [rewritten] = JSON.parse(await Deno.readTextFile(path));
    assert.deepEqual(rewritten["from-the-future"], { deep: [1, null] });
    assert.deepEqual(rewritten.names, ["x/a:2", "x/a:1"]);
  });
});

Deno.test("open() refuses the store of another driver with the remedy", async () => {
  await withRoots(async (roots) => {
    await Deno.mkdir(`${roots.graphRoot}/vfs-images/x`, { recursive: true });
    await assert.rejects(openStore(roots), (error) => {
      assert.ok(error instanceof FailedPreconditionError);
      assert.match(error.message, /driver vfs.*system reset/);
      return true;
    });
  });
});

Deno.test("open() sweeps abandoned stages and orphans, and leaves live stages and other tools' alone", async () => {
  await withRoots(async (roots) => {
    {
      await using store = await openStore(roots);
      await using live = await store.stage();
      const file = `${await live.layerDirectory(0)}/file`;
      await Deno.writeTextFile(file, "");
      const staging = `${roots.graphRoot}/tmp`;
      await Deno.mkdir(`${staging}/crio-0123456789abcdef/layers/0/diff`, { recursive: true });
      await Deno.writeTextFile(`${staging}/crio-0123456789abcdef/staging.lock`, "");
      await Deno.mkdir(`${staging}/of-another-tool`);
      await Deno.mkdir(`${roots.graphRoot}/overlay/${randomHex(32)}/diff`, { recursive: true });
      await Deno.symlink(`../${randomHex(32)}/diff`, `${roots.graphRoot}/overlay/l/DANGLING`);
      await Deno.mkdir(`${roots.graphRoot}/overlay-containers/${randomHex(32)}/userdata`, { recursive: true });
      await using second = await openStore(roots);
      assert.deepEqual(second.swept, { stages: 1, orphanDirectories: 2, layers: 0, links: 1 });
      await Deno.stat(file);
      await Deno.remove(`${staging}/of-another-tool`);
    }
    await assertSound(roots);
  });
});

Deno.test("a list does not wait for a program that keeps the lock, and sees what that one has written", async () => {
  await withRoots(async (roots) => {
    await using store = await openStore(roots);
    const id = await pullInto(store, await makeImage(roots.directory, [{ "a": "1" }]), { names: ["x/a:1"] });
    using lock = RecordLockFile.open(`${roots.graphRoot}/overlay-images/images.lock`);
    assert.ok(lock.tryLock("write"));
    lock.write(crypto.getRandomValues(new Uint8Array(64)));
    assert.equal((await store.images())[0]?.id, id);
    const path = `${roots.graphRoot}/overlay-images/images.json`;
    const [record] = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify([{ ...record, names: ["x/a:9"] }]));
    assert.deepEqual((await store.images())[0]?.names, ["x/a:9"]);
  });
});
