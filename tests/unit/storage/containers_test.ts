import assert from "node:assert/strict";
import { randomHex } from "../../../src/base/ids.ts";
import { runCommand } from "../../../src/linux/command.ts";
import { bindMount, mount } from "../../../src/linux/mount.ts";
import { assertSound, makeImage, mountsBelow, openStore, pullInto, withRoots, withStore } from "./store_fixture.ts";

Deno.test("a container is made, mounted, written to, counted and deleted", async () => {
  await withRoots(async (roots) => {
    {
      await using store = await openStore(roots);
      const image = await makeImage(roots.directory, [{ "etc/a": "1" }, { "etc/b": "2" }]);
      const imageId = await pullInto(store, image);
      const id = randomHex(32);
      const made = await store.createContainer({ id, names: ["k8s_x"], imageId, metadata: '{"a":1}' });
      assert.equal(made.metadata, '{"a":1}');
      assert.deepEqual(await store.containers(), [made]);
      for (const path of [store.containerDirectory(id), store.containerRunDirectory(id)]) {
        assert.equal(((await Deno.stat(path)).mode ?? 0) & 0o7777, 0o700);
      }
      const root = await store.mountContainer(id);
      assert.equal(await Deno.readTextFile(`${root}/etc/b`), "2");
      await Deno.writeFile(`${root}/etc/new`, new Uint8Array(100_000));
      assert.equal(((await Deno.stat(root)).mode ?? 0) & 0o7777, 0o555);
      const usage = await store.layerUsage(id);
      assert.equal(usage.inodes, 3);
      assert.ok(usage.bytes >= 100_000 && usage.bytes < 200_000, String(usage.bytes));
      assert.equal(await store.mountContainer(id), root);
      const counts = JSON.parse(await Deno.readTextFile(`${roots.runRoot}/overlay-layers/mountpoints.json`));
      assert.deepEqual(counts, [{ id: made.layerId, path: root, count: 2 }]);
      assert.ok(!(await store.unmountContainer(id)));
      assert.ok(await store.unmountContainer(id));
      assert.ok(await store.unmountContainer(id), "it is unmounted already");
      assert.equal(await store.mountContainer(id), root);
      assert.equal((await Deno.stat(`${root}/etc/new`)).size, 100_000, "a volatile layer can be mounted again");
      await assert.rejects(store.deleteImage(imageId), /used by 1 container/);
      await store.deleteContainer(id);
      await store.deleteContainer(id);
      assert.deepEqual(await store.containers(), []);
      await assert.rejects(store.mountContainer(id), /not found/);
      await assert.rejects(store.layerUsage(id), /not found/);
    }
    await assertSound(roots);
    assert.deepEqual(await mountsBelow(`${roots.graphRoot}/overlay/`), []);
  });
});

Deno.test("createContainer() refuses taken ids and names, bad ids and absent images", async () => {
  await withRoots(async (roots) => {
    {
      await using store = await openStore(roots);
      const id = randomHex(32);
      await store.createContainer({ id, names: ["n"], metadata: "" });
      const again = store.createContainer({ id, names: ["other"], metadata: "" });
      await assert.rejects(again, /in the store already/);
      const named = store.createContainer({ id: randomHex(32), names: ["n"], metadata: "" });
      await assert.rejects(named, new RegExp(`taken by container ${id}`));
      await assert.rejects(store.createContainer({ id: "../x", names: [], metadata: "" }), /64 hex/);
      const absent = store.createContainer({ id: randomHex(32), names: [], imageId: "f".repeat(64), metadata: "" });
      await assert.rejects(absent, /not found/);
      const root = await store.mountContainer(id);
      await Deno.writeTextFile(`${root}/x`, "an image is not needed");
      await store.unmountContainer(id);
    }
    await assertSound(roots);
  });
});

Deno.test("eight containers at a time, volatile and not, in one store and in a second one on the same roots", async () => {
  await withRoots(async (roots) => {
    {
      await using store = await openStore(roots);
      await using other = await openStore(roots);
      const imageId = await pullInto(store, await makeImage(roots.directory, [{ "a": "1" }]));
      const ids = Array.from({ length: 16 }, () => randomHex(32));
      await Promise.all(ids.map(async (id, i) => {
        const mine = i % 2 === 0 ? store : other;
        await mine.createContainer({ id, names: [`c${i}`], imageId, metadata: "", volatile: i % 3 !== 0 });
        await Deno.writeTextFile(`${await mine.mountContainer(id)}/b`, id);
      }));
      assert.deepEqual(new Set((await store.containers()).map((container) => container.id)), new Set(ids));
      assert.equal((await other.containers()).length, 16);
      await Promise.all(ids.map((id, i) => (i % 2 === 0 ? other : store).deleteContainer(id)));
      assert.deepEqual(await store.containers(), []);
    }
    await assertSound(roots);
  });
});

Deno.test("deleteContainer() never deletes through a mount, and copes with immutable files", async () => {
  await withRoots(async (roots) => {
    {
      await using store = await openStore(roots);
      const id = randomHex(32);
      await store.createContainer({ id, names: [], metadata: "" });
      const root = await store.mountContainer(id);
      await Deno.mkdir(`${roots.directory}/precious`);
      await Deno.writeTextFile(`${roots.directory}/precious/file`, "kept");
      for (const parent of [root, store.containerDirectory(id), store.containerRunDirectory(id)]) {
        await Deno.mkdir(`${parent}/volume`);
        bindMount(`${roots.directory}/precious`, `${parent}/volume`);
      }
      await Deno.mkdir(`${root}/odd`);
      await Deno.symlink(`${roots.directory}/precious`, `${root}/odd/link`);
      for (const name of ["-rf", "new\nline", "*", "\\"]) await Deno.writeTextFile(`${root}/odd/${name}`, "");
      await runCommand(["/usr/bin/env", "mkfifo", `${root}/odd/fifo`]);
      const upper = root.replace(/merged$/, "diff");
      await runCommand(["/usr/bin/env", "chattr", "+i", `${upper}/odd/*`]);
      await runCommand(["/usr/bin/env", "chattr", "+i", `${upper}/odd`]);
      await store.deleteContainer(id);
      assert.equal(await Deno.readTextFile(`${roots.directory}/precious/file`), "kept");
    }
    await assertSound(roots);
    assert.equal(await Deno.readTextFile(`${roots.directory}/precious/file`), "kept");
  });
});

Deno.test("mountImage() mounts read-only, and a mounted image cannot be deleted", async () => {
  await withStore(async (store, roots) => {
    const image = await makeImage(roots.directory, [{ "a": "1" }]);
    const id = await pullInto(store, image);
    const path = await store.mountImage(id);
    assert.equal(await Deno.readTextFile(`${path}/a`), "1");
    await assert.rejects(Deno.writeTextFile(`${path}/b`, ""), /Read-only/);
    await assert.rejects(store.deleteImage(id), /is mounted/);
    assert.ok(await store.unmountImage(id));
    await store.deleteImage(id);
  });
});

Deno.test("a wait for a lock ends when its signal aborts", async () => {
  await withRoots(async (roots) => {
    await using store = await openStore(roots);
    const { RecordLockFile } = await import("../../../src/linux/record_lock.ts");
    using held = RecordLockFile.open(`${roots.graphRoot}/overlay-layers/layers.lock`);
    assert.ok(held.tryLock("write"));
    const id = randomHex(32);
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(store.createContainer({ id, names: [], metadata: "" }, { signal }), /enough/);
    const controller = new AbortController();
    const waiting = store.createContainer({ id, names: [], metadata: "" }, { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("tired")), 5);
    await assert.rejects(waiting, /tired/);
    held.unlock();
    await store.createContainer({ id, names: [], metadata: "" });
  });
});

Deno.test("a store whose overlay directory is a file system of its own works too", async () => {
  await withRoots(async (roots) => {
    const overlay = `${roots.graphRoot}/overlay`;
    await Deno.mkdir(overlay, { recursive: true });
    mount({ source: "tmpfs", target: overlay, filesystem: "tmpfs", data: "size=16m,mode=700" });
    {
      await using store = await openStore(roots);
      const beforeCommit = (stage: { tarSplitPath(index: number): string }): Promise<void> =>
        Deno.writeTextFile(stage.tarSplitPath(0), "split");
      const image = await makeImage(roots.directory, [{ "a": "1" }]);
      const imageId = await pullInto(store, image, { beforeCommit });
      const [layer] = await store.presentLayers(image.layers.map(({ diffId }) => diffId));
      assert.equal(await Deno.readTextFile(`${roots.graphRoot}/overlay-layers/${layer?.id}.tar-split.gz`), "split");
      const id = randomHex(32);
      await store.createContainer({ id, names: [], imageId, metadata: "" });
      assert.equal(await Deno.readTextFile(`${await store.mountContainer(id)}/a`), "1");
      await store.deleteContainer(id);
      await store.deleteImage(imageId);
    }
    assert.deepEqual([...await Array.fromAsync(Deno.readDir(`${overlay}/staging`))], []);
    await Deno.remove(`${overlay}/staging`);
    await assertSound(roots);
  });
});
