import assert from "node:assert/strict";
import { randomHex } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { mount, unmount } from "../../../src/linux/mount.ts";
import { openUserNamespace } from "../../../src/linux/user_namespace.ts";
import { getXattr, setXattr } from "../../../src/linux/xattr.ts";
import { Store } from "../../../src/storage/store.ts";
import { makeImage, mountsBelow, pullInto, type Roots, withRoots } from "./store_fixture.ts";

const RANGE = [{ containerId: 0, hostId: 400_000, length: 65_536 }];
const MAPS = { uidMaps: RANGE, gidMaps: RANGE };
/** cap_net_bind_service=ep as a version 2 attribute, linux/capability.h. */
const CAPABILITY = Uint8Array.fromHex("0100000200040000000000000000000000000000");

function open({ graphRoot, runRoot }: Roots, options: { mapsIds?: boolean } = {}): Promise<Store> {
  return Store.open({ graphRoot, runRoot, logger: silentLogger, ...options });
}

async function owner(path: string): Promise<Array<number | null>> {
  const { uid, gid } = await Deno.lstat(path);
  return [uid, gid];
}

for (const mapsIds of [true, false]) {
  const how = mapsIds ? "by mapped mounts" : "by changing owners";
  Deno.test(`a container's files belong to the ids of its user namespace, ${how}`, async () => {
    await withRoots(async (roots) => {
      await using store = await open(roots, { mapsIds });
      const image = await makeImage(roots.directory, [{ "etc/a": "1" }, { "etc/b": "2" }]);
      const imageId = await pullInto(store, image);
      const below = `${roots.graphRoot}/overlay/${(await store.images())[0]?.topLayer}/diff/etc/b`;
      await Deno.chown(below, 7, 8);
      await Deno.chmod(below, 0o4755);
      setXattr(below, "security.capability", CAPABILITY);
      const id = randomHex(32);
      const { layerId } = await store.createContainer({ id, names: ["a"], imageId, metadata: "", idMaps: MAPS });
      const root = await store.mountContainer(id);
      const owners = await Promise.all(["", "/etc", "/etc/a", "/etc/b"].map((path) => owner(root + path)));
      assert.deepEqual(owners, [[400_000, 400_000], [400_000, 400_000], [400_000, 400_000], [400_007, 400_008]]);
      assert.equal((await Deno.stat(`${root}/etc/b`)).mode, 0o104755);
      if (!mapsIds) assert.deepEqual(getXattr(`${root}/etc/b`, "security.capability"), CAPABILITY);
      await Deno.writeTextFile(`${root}/etc/new`, "");
      await Deno.chown(`${root}/etc/new`, 400_005, 400_005);
      assert.deepEqual(await owner(`${roots.graphRoot}/overlay/${layerId}/diff/etc/new`), [400_005, 400_005]);
      // What the image stores stays the node's.
      assert.deepEqual(await owner(below), [7, 8]);
      // Nothing but the overlay stays mounted, and a second mount shows the same.
      assert.deepEqual((await mountsBelow(`${roots.graphRoot}/overlay/${layerId}`)).length, 1);
      await store.unmountContainer(id);
      await store.mountContainer(id);
      assert.deepEqual(await owner(`${root}/etc/b`), [400_007, 400_008]);
      await store.deleteContainer(id);
    });
  });
}

Deno.test("a container's record and layer carry its maps in the words of containers/storage", async () => {
  await withRoots(async (roots) => {
    await using store = await open(roots);
    const id = randomHex(32);
    await store.createContainer({ id, names: ["a"], metadata: "", volatile: false, idMaps: MAPS });
    const maps = [{ container_id: 0, host_id: 400_000, size: 65_536 }];
    for (const file of ["overlay-containers/containers.json", "overlay-layers/layers.json"]) {
      const [record] = JSON.parse(await Deno.readTextFile(`${roots.graphRoot}/${file}`));
      assert.deepEqual([record.uidmap, record.gidmap], [maps, maps], file);
    }
    await store.deleteContainer(id);
  });
});

Deno.test("a file system that cannot show mapped ids has its owners changed", async () => {
  await withRoots(async (roots) => {
    await Deno.mkdir(`${roots.directory}/disk`);
    mount({ source: "ramfs", target: `${roots.directory}/disk`, filesystem: "ramfs" });
    try {
      await using store = await open({ ...roots, graphRoot: `${roots.directory}/disk/graph` });
      const imageId = await pullInto(store, await makeImage(roots.directory, [{ "etc/a": "1" }]));
      const id = randomHex(32);
      await store.createContainer({ id, names: ["a"], imageId, metadata: "", idMaps: MAPS });
      const root = await store.mountContainer(id);
      assert.deepEqual(await owner(`${root}/etc/a`), [400_000, 400_000]);
      await store.deleteContainer(id);
    } finally {
      for (const path of (await mountsBelow(`${roots.directory}/disk`)).reverse()) {
        await unmount(path, { detach: true });
      }
    }
  });
});

Deno.test("mountImageMapped() shows an image by a user namespace, read-only", async () => {
  await withRoots(async (roots) => {
    await using store = await open(roots);
    const imageId = await pullInto(store, await makeImage(roots.directory, [{ "etc/a": "1" }, { "etc/b": "2" }]));
    const target = `${roots.directory}/view`;
    await Deno.mkdir(target);
    await store.mountImage(imageId);
    await using namespace = await openUserNamespace(MAPS);
    assert.ok(await store.mountImageMapped(imageId, { target, userNamespace: namespace.path }));
    assert.deepEqual(await owner(`${target}/etc/a`), [400_000, 400_000]);
    assert.equal(await Deno.readTextFile(`${target}/etc/b`), "2");
    await assert.rejects(Deno.writeTextFile(`${target}/new`, ""), /read-only/i);
    await assert.rejects(store.deleteImage(imageId), /mounted/);
    await unmount(target);
    await store.unmountImage(imageId);
  });
});
