/** One store, four programs: what skopeo, podman, buildah and we write, the others list, mount, run and remove. */
import assert from "node:assert/strict";
import { randomHex } from "../../src/base/ids.ts";
import { commandResult } from "../../src/linux/command.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { verifyLayer } from "../../src/image/unpack/verify_layer.ts";
import { checkStore } from "../../src/storage/check.ts";
import type { ContentVerdict, LayerFiles } from "../../src/storage/check_types.ts";
import type { Store } from "../../src/storage/store.ts";
import {
  assertSound,
  makeImage,
  mountsBelow,
  openStore,
  pullInto,
  type Roots,
  withRoots,
} from "../unit/storage/store_fixture.ts";
import { buildah, LIMITS, podman, podmanArgs, podmanDone, skopeoInto, storageName, tool } from "./storage_tools.ts";

const NAME = "localhost/interop:1";
const CONTENTS = [{ "etc/one": "1" }, { "etc/two": "2", "usr/share/x": "x" }];

Deno.test("skopeo writes: we list it with podman's figures, mount, run on top of it, and delete it", async () => {
  await withRoots(async (roots) => {
    const image = await makeImage(roots.directory, CONTENTS);
    await skopeoInto(roots, image, NAME);
    {
      await using store = await openStore(roots);
      const found = await store.findImage(NAME);
      assert.equal(found?.id, image.id);
      const [listed] = JSON.parse(await podman(roots, "images", "--format", "json"));
      assert.equal(listed.Size, found?.sizeBytes);
      assert.deepEqual(listed.RepoDigests, found?.repoDigests);
      assert.deepEqual(await store.imageConfig(found.id), image.config);
      const id = randomHex(32);
      await store.createContainer({ id, names: ["a"], imageId: found.id, metadata: "{}", volatile: false });
      const root = await store.mountContainer(id);
      assert.equal(await Deno.readTextFile(`${root}/etc/two`), "2");
      const stuck = await commandResult(["/usr/bin/env", ...podmanArgs(roots), "rmi", NAME]);
      assert.notEqual(stuck.exitCode, 0, "podman sees that a container of ours uses the image");
      assert.match(await podman(roots, "ps", "-a", "--external"), new RegExp(id.slice(0, 12)));
      assert.equal(await Deno.readTextFile(`${root}/etc/one`), "1", "podman has not hidden our mount");
      await store.deleteContainer(id);
      await store.deleteImage(found.id);
      assert.equal(await podman(roots, "images", "-q"), "");
    }
    await assertSound(roots);
  });
});

Deno.test("our records equal skopeo's, and skopeo copies the same blobs out of both stores", async () => {
  await withRoots(async (theirs) => {
    await withRoots(async (ours) => {
      const image = await makeImage(theirs.directory, CONTENTS);
      await skopeoInto(theirs, image, NAME);
      const index = async (roots: Roots, path: string): Promise<Record<string, unknown>[]> =>
        JSON.parse(await Deno.readTextFile(`${roots.graphRoot}/${path}`));
      const layers = await index(theirs, "overlay-layers/layers.json");
      {
        await using store = await openStore(ours);
        // Splitting tars is not the store's business: take what skopeo made of the same layers.
        const beforeCommit = async (stage: { tarSplitPath(index: number): string }): Promise<void> => {
          for (const [i, layer] of layers.entries()) {
            const made = `${theirs.graphRoot}/overlay-layers/${layer["id"]}.tar-split.gz`;
            await Deno.copyFile(made, stage.tarSplitPath(i));
          }
        };
        await pullInto(store, image, { names: [NAME], beforeCommit });
      }
      await assertSound(ours);
      const undated = (records: Record<string, unknown>[]): unknown => records.map(({ created: _, ...rest }) => rest);
      assert.deepEqual(undated(await index(ours, "overlay-layers/layers.json")), undated(layers));
      assert.deepEqual(
        await index(ours, "overlay-images/images.json"),
        await index(theirs, "overlay-images/images.json"),
      );
      const data = `overlay-images/${image.id}`;
      await tool(["diff", "-r", `${ours.graphRoot}/${data}`, `${theirs.graphRoot}/${data}`]);
      for (const roots of [ours, theirs]) {
        const out = `${roots.directory}/out`;
        await tool(["skopeo", "--insecure-policy", "copy", "-q", storageName(roots, NAME), `dir:${out}`]);
      }
      await tool(["diff", "-r", `${ours.directory}/out`, `${theirs.directory}/out`]);
      for (const { id } of layers) {
        const stat = ["stat", "-c", "%n %a %u %g %F", "--"];
        const shape = async (roots: Roots): Promise<string> => {
          const directory = `${roots.graphRoot}/overlay/${id}`;
          const names = (await Array.fromAsync(Deno.readDir(directory))).map((entry) => `${directory}/${entry.name}`);
          const listed = await tool([...stat, directory, ...names.sort()]);
          return listed.replaceAll(roots.graphRoot, "");
        };
        assert.equal(await shape(ours), await shape(theirs));
      }
    });
  });
});

Deno.test("we write: podman and buildah list, mount, run and remove it", async () => {
  await withRoots(async (roots) => {
    const image = await makeImage(roots.directory, CONTENTS, { busybox: true });
    await using store = await openStore(roots);
    await pullInto(store, image, { names: [NAME] });
    assert.match(await podman(roots, "images", "-a", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"), /interop:1/);
    assert.match(await buildah(roots, "images", "--format", "{{.Name}}:{{.Tag}}"), /interop:1/);
    const mounted = await podman(roots, "image", "mount", NAME);
    assert.equal(await Deno.readTextFile(`${mounted}/etc/two`), "2");
    const id = (await store.findImage(NAME))?.id;
    assert.ok(id !== undefined);
    await assert.rejects(store.deleteImage(id), /mounted/, "we see podman's mount");
    await podman(roots, "image", "umount", NAME);
    const run = ["run", "--rm", ...LIMITS, "--network", "none", NAME, "/bin/sh", "-c", "cat /etc/one; echo -ran"];
    assert.equal(await podman(roots, ...run), "1-ran");
    const working = await buildah(roots, "from", "--pull-never", NAME);
    const listed = await store.containers();
    assert.deepEqual(listed.map((container) => container.names), [[working]]);
    await assert.rejects(store.deleteImage(id), /used by 1 container/, "we see buildah's container");
    await buildah(roots, "rm", working);
    await podman(roots, "rmi", NAME);
    assert.deepEqual(await store.images(), []);
    await podmanDone(roots);
  });
});

Deno.test("buildah builds on an image and podman runs it with mapped ids: we mount and remove it, every file is what was built", async () => {
  await withRoots(async (roots) => {
    await using store = await openStore(roots);
    await skopeoInto(roots, await makeImage(roots.directory, CONTENTS, { busybox: true }), NAME);
    await Deno.writeTextFile(`${roots.directory}/added`, "added");
    const working = await buildah(roots, "from", "--pull-never", NAME);
    await buildah(roots, "copy", "--chown", "7:8", working, `${roots.directory}/added`, "/srv/added");
    await buildah(roots, "commit", "-q", working, "localhost/built:1");
    await buildah(roots, "rm", working);
    const maps = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"];
    const change = ["/bin/sh", "-c", "echo more > /more; echo -done"];
    const run = ["run", "--name", "maker", ...LIMITS, ...maps, "--network", "none", "localhost/built:1", ...change];
    assert.equal(await podman(roots, ...run), "-done");
    const image = await store.findImage("localhost/built:1");
    assert.ok(image !== undefined);
    const root = await store.mountImage(image.id);
    assert.equal(await Deno.readTextFile(`${root}/srv/added`), "added");
    await store.unmountImage(image.id);
    const { graphRoot, runRoot } = roots;
    const content = (layer: LayerFiles): Promise<ContentVerdict> => verifyLayer(layer);
    const report = await checkStore({ graphRoot, runRoot, logger: silentLogger }, { content });
    assert.deepEqual([report.problems, report.unverifiable], [[], []]);
    assert.ok(report.verified >= 3);
    // podman's own cleanup, which its monitor starts, may be unmounting at that moment.
    await podman(roots, "rm", "maker").catch(() => podman(roots, "rm", "-f", "maker"));
    for (const { id } of await store.images()) await store.deleteImage(id);
    assert.equal(await podman(roots, "images", "-q"), "");
    await podmanDone(roots);
  });
});

Deno.test("skopeo and we write at the same time: nothing is lost", async () => {
  await withRoots(async (roots) => {
    {
      await using store = await openStore(roots);
      const theirs = await Promise.all([1, 2, 3].map((i) => makeImage(roots.directory, [{ a: "1" }, { b: `${i}` }])));
      const ours = await Promise.all([4, 5, 6].map((i) => makeImage(roots.directory, [{ a: "1" }, { b: `${i}` }])));
      const images = [...theirs, ...ours];
      await Promise.all([
        ...theirs.map((image, i) => skopeoInto(roots, image, `localhost/theirs:${i}`)),
        ...ours.map((image, i) => pullInto(store, image, { names: [`localhost/ours:${i}`] })),
        churn(store),
      ]);
      const ids = (await store.images()).map((image) => image.id).sort();
      assert.deepEqual(ids, images.map((image) => image.id).sort());
      assert.equal((await podman(roots, "images", "-q")).split("\n").length, images.length);
      for (const image of images) await podman(roots, "image", "inspect", image.id);
      await podmanDone(roots);
    }
    await assertSound(roots);
  });
});

/** Containers come and go meanwhile. */
async function churn(store: Store): Promise<void> {
  for (let i = 0; i < 10; i++) {
    const id = randomHex(32);
    await store.createContainer({ id, names: [`churn${i}`], metadata: "", volatile: i % 2 === 0 });
    await store.mountContainer(id);
    await store.deleteContainer(id);
  }
}

Deno.test("a tool that ends while nothing is mounted does not leave later mounts to be hidden", async () => {
  await withRoots(async (roots) => {
    await using store = await openStore(roots);
    await podman(roots, "images");
    assert.deepEqual(await mountsBelow(roots.graphRoot), [], "podman took the bind mount away");
    await using stage = await store.stage();
    const file = `${await stage.layerDirectory(0)}/file`;
    await Deno.writeTextFile(file, "");
    const id = randomHex(32);
    await store.createContainer({ id, names: ["a"], metadata: "{}", volatile: false });
    const root = await store.mountContainer(id);
    await Deno.writeTextFile(`${root}/seen`, "");
    await podman(roots, "ps", "-a");
    await Deno.stat(`${root}/seen`);
    await Deno.stat(file);
    await store.deleteContainer(id);
  });
});
