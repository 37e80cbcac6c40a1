/** Stores beside the own one: read-only ones that podman or skopeo made, and one for images alone. */
import assert from "node:assert/strict";
import { parseImageId, randomHex } from "../../src/base/ids.ts";
import { unmount } from "../../src/linux/mount.ts";
import { treeSnapshot } from "../fakes/tree_snapshot.ts";
import {
  assertSound,
  imageOf,
  makeImage,
  openStore,
  pullInto,
  type Roots,
  type TestImage,
  withRoots,
} from "../unit/storage/store_fixture.ts";
import { LIMITS, podman, podmanArgs, podmanDone, skopeoInto, tool } from "./storage_tools.ts";

const BASE = "localhost/base:1";
const CHILD = "localhost/child:1";
const CONTENTS = [{ "etc/one": "1" }, { "etc/two": "2" }];
const RUN = ["run", "--rm", ...LIMITS, "--network", "none"];

/** A store that another program filled and that cannot be written: mounted read-only, and compared afterwards. */
async function withFrozen(
  by: "skopeo" | "podman",
  body: (frozen: Roots, own: Roots, image: TestImage) => Promise<void>,
): Promise<void> {
  await withRoots(async (frozen) => {
    const image = await makeImage(frozen.directory, CONTENTS, { busybox: true });
    await skopeoInto(frozen, image, by === "skopeo" ? BASE : "localhost/first:1");
    if (by === "podman") await podman(frozen, "tag", "localhost/first:1", BASE);
    await tool(["umount", `${frozen.graphRoot}/overlay`]).catch(() => {});
    await tool(["mount", "--bind", frozen.graphRoot, frozen.graphRoot]);
    await tool(["mount", "-o", "remount,bind,ro", frozen.graphRoot]);
    try {
      const before = await treeSnapshot(frozen.graphRoot);
      await withRoots((own) => body(frozen, own, image));
      assert.deepEqual(await treeSnapshot(frozen.graphRoot), before, "nothing was written there");
    } finally {
      await unmount(frozen.graphRoot, { detach: true });
    }
  });
}

const withOption = (roots: Roots, store: string): string[] => [
  ...podmanArgs(roots),
  "--storage-opt",
  `overlay.imagestore=${store}`,
];

for (const by of ["skopeo", "podman"] as const) {
  Deno.test(`images of a read-only store that ${by} made are listed, mounted, run on, and not removed`, async () => {
    await withFrozen(by, async (frozen, own, image) => {
      {
        await using store = await openStore(own, { additionalStores: [frozen.graphRoot] });
        const found = await store.findImage(BASE);
        assert.equal(found?.id, image.id);
        assert.equal(found?.readOnlyStore, frozen.graphRoot);
        assert.ok((found?.sizeBytes ?? 0) > 1_000_000, "layers of that store count");
        assert.deepEqual(await store.imageConfig(found.id), image.config);
        const root = await store.mountImage(found.id);
        assert.equal(await Deno.readTextFile(`${root}/etc/two`), "2");
        await store.unmountImage(found.id);
        const id = randomHex(32);
        await store.createContainer({ id, names: ["a"], imageId: found.id, metadata: "{}", volatile: false });
        const merged = await store.mountContainer(id);
        assert.equal(await Deno.readTextFile(`${merged}/etc/one`), "1");
        await Deno.writeTextFile(`${merged}/etc/two`, "mine");
        await assert.rejects(store.deleteImage(found.id), /read-only image store .*remove it where that store is made/);
        await assert.rejects(store.removeNames(found.id, [BASE]), /read-only image store/);
        const listed = await tool([
          ...withOption(own, frozen.graphRoot),
          "ps",
          "-a",
          "--external",
          "--format",
          "{{.ID}}",
        ]);
        assert.equal(listed, id.slice(0, 12), "podman knows the container too");
        await store.deleteContainer(id);
      }
      await assertSound(own);
    });
  });
}

Deno.test("a pull takes layers of a read-only store for present, and one of its images needs no record", async () => {
  await withFrozen("skopeo", async (frozen, own, image) => {
    await using store = await openStore(own, { additionalStores: [frozen.graphRoot] });
    assert.equal(await pullInto(store, image, { names: [BASE] }), image.id);
    assert.equal(await Deno.readTextFile(`${own.graphRoot}/overlay-images/images.json`).catch(() => "none"), "none");
    const more = await makeImage(own.directory, [{ "etc/three": "3" }]);
    const child = imageOf([...image.layers, ...more.layers]);
    assert.equal((await store.presentLayers(child.layers.map((layer) => layer.diffId))).length, 2);
    const id = await pullInto(store, child, { names: [CHILD] });
    const root = await store.mountImage(id);
    assert.equal(await Deno.readTextFile(`${root}/etc/three`) + await Deno.readTextFile(`${root}/etc/one`), "31");
    await store.unmountImage(id);
    const show = ["/bin/cat", "/etc/one", "/etc/three"];
    assert.equal(await tool([...withOption(own, frozen.graphRoot), ...RUN, CHILD, ...show]), "13", "podman runs it");
    await podmanDone(own);
    // Names move between stores: the own image has it now, and gives it back when it goes.
    await store.addNames(id, [BASE]);
    assert.equal((await store.findImage(BASE))?.id, id);
    assert.deepEqual((await store.images()).find((found) => found.id === image.id)?.names, []);
    await store.deleteImage(id);
    assert.equal((await store.findImage(BASE))?.id, image.id);
    await store.addNames((await store.findImage(BASE))?.id ?? id, ["localhost/other:1"]);
    const other = await store.findImage("localhost/other:1");
    assert.equal(other?.readOnlyStore, undefined, "a record of ours has the name");
    assert.deepEqual(other?.names, ["localhost/other:1", BASE], "and the names of both count");
    const imageId = parseImageId(image.id);
    await assert.rejects(store.removeNames(imageId, ["localhost/missing:1", BASE]), /read-only image store/);
    await store.deleteImage(imageId);
    assert.equal((await store.findImage(BASE))?.readOnlyStore, frozen.graphRoot, "the read-only one is left");
  });
});

Deno.test("a pull gives a name that an image of ours has to the image of a read-only store", async () => {
  await withFrozen("skopeo", async (frozen, own, image) => {
    await using store = await openStore(own, { additionalStores: [frozen.graphRoot] });
    const former = await makeImage(own.directory, [{ "etc/one": "former" }]);
    await pullInto(store, former, { names: [BASE] });
    assert.equal((await store.findImage(BASE))?.id, former.id, "what is ours counts before");
    await pullInto(store, image, { names: [BASE] });
    assert.equal((await store.findImage(BASE))?.id, image.id);
    assert.deepEqual((await store.findImage(former.id))?.names, []);
  });
});

Deno.test("a read-only store that is away or damaged takes nothing else along, and is seen when it comes back", async () => {
  await withRoots(async (own) => {
    const place = `${own.directory}/share`;
    await using store = await openStore(own, { additionalStores: [place] });
    const image = await makeImage(own.directory, CONTENTS);
    await pullInto(store, image, { names: [BASE] });
    assert.equal((await store.images()).length, 1);
    await Deno.mkdir(`${place}/overlay-images`, { recursive: true });
    await Deno.writeTextFile(`${place}/overlay-images/images.json`, "{");
    assert.equal((await store.images()).length, 1);
    const record = { id: "a".repeat(64), names: ["localhost/share:1"], created: "2023-11-14T22:13:20Z" };
    await Deno.writeTextFile(`${place}/overlay-images/images.json`, JSON.stringify([record]));
    assert.equal((await store.findImage("localhost/share:1"))?.readOnlyStore, place);
  });
});

Deno.test("with an image store new images go there, earlier ones stay usable, and podman reads both", async () => {
  await withRoots(async (roots) => {
    const imageStore = `${roots.directory}/images`;
    const former = await makeImage(roots.directory, CONTENTS);
    {
      await using store = await openStore(roots);
      await pullInto(store, former, { names: [BASE] });
    }
    const image = await makeImage(roots.directory, [{ "etc/one": "new" }], { busybox: true });
    {
      await using store = await openStore(roots, { imageStore });
      const before = await namesIn(`${roots.graphRoot}/overlay`);
      const id = await pullInto(store, image, { names: [CHILD] });
      assert.deepEqual(await namesIn(`${roots.graphRoot}/overlay`), before, "no layer below the graph root");
      assert.equal((await namesIn(`${imageStore}/overlay`)).length, 2, "the layer and the short names");
      assert.deepEqual((await store.images()).flatMap((found) => found.names).sort(), [BASE, CHILD]);
      for (const imageId of [id, (await store.findImage(BASE))?.id]) {
        const container = randomHex(32);
        await store.createContainer({ id: container, names: ["c"], imageId: imageId ?? "", metadata: "" });
        const root = await store.mountContainer(container);
        assert.match(await Deno.readTextFile(`${root}/etc/one`), /^(1|new)$/);
        await store.deleteContainer(container);
      }
      const { path, containers } = await store.imageFilesystem();
      assert.equal(path, `${imageStore}/overlay-images`);
      assert.equal(containers?.path, `${roots.graphRoot}/overlay-containers`);
      const command = [...withOption(roots, imageStore), ...RUN, CHILD, "/bin/cat", "/etc/one"];
      assert.equal(await tool(command), "new", "podman runs it");
      await podmanDone(roots);
    }
    await using store = await openStore(roots, { imageStore });
    assert.deepEqual({ ...store.swept }, { stages: 0, orphanDirectories: 0, layers: 0, links: 0 });
    for (const { id } of await store.images()) await store.deleteImage(id);
    await store.settle();
    assert.deepEqual(await namesIn(`${imageStore}/overlay`), ["l"]);
    assert.deepEqual(await namesIn(`${imageStore}/overlay/l`), []);
    assert.deepEqual(await namesIn(`${roots.graphRoot}/overlay`), ["l"]);
  });
});

async function namesIn(directory: string): Promise<string[]> {
  const names = (await Array.fromAsync(Deno.readDir(directory))).map((entry) => entry.name);
  return names.filter((name) => !name.startsWith(".")).sort();
}
