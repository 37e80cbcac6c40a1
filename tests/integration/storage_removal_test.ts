/** Removals of the same things at the same time, by us and by podman. */
import assert from "node:assert/strict";
import { randomHex } from "../../src/base/ids.ts";
import { messageOf } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { checkStore } from "../../src/storage/check.ts";
import { assertSound, imageOf, makeImage, openStore, pullInto, withRoots } from "../unit/storage/store_fixture.ts";
import { podman } from "./storage_tools.ts";

const EXPECTED = /not found|no such image|image not known|used by|in use|identifier is not an image|layer not known/i;

Deno.test("images with layers in common go at the same time, each once, by us and by podman; nothing is left", async () => {
  await withRoots(async (roots) => {
    {
      await using store = await openStore(roots);
      await using other = await openStore(roots);
      const base = await makeImage(roots.directory, [{ base: "0" }]);
      const tops = await makeImage(roots.directory, [{ a: "1" }, { b: "2" }, { c: "3" }, { d: "4" }, { e: "5" }, {
        f: "6",
      }]);
      const images = tops.layers.map((layer) => imageOf([...base.layers, layer]));
      for (const [i, image] of images.entries()) await pullInto(store, image, { names: [`localhost/image:${i}`] });
      const removals = images.flatMap((_, i) => {
        const name = `localhost/image:${i}`;
        const byUs = async (from: typeof store): Promise<void> => {
          const found = await from.findImage(name);
          if (found !== undefined) await from.deleteImage(found.id);
        };
        return [byUs(store), byUs(other), ...(i % 2 === 0 ? [podman(roots, "rmi", name)] : [])];
      });
      for (const outcome of await Promise.allSettled(removals)) {
        if (outcome.status === "rejected") assert.match(messageOf(outcome.reason), EXPECTED);
      }
      assert.deepEqual(await store.images(), []);
    }
    const { graphRoot, runRoot } = roots;
    const report = await checkStore({ graphRoot, runRoot, logger: silentLogger }, { unreferencedAgeMs: 0 });
    assert.deepEqual([report.problems, report.layers], [[], 0]);
    await assertSound(roots);
  });
});

Deno.test("an image that is removed while containers are made of it goes before them, or stays with them", async () => {
  await withRoots(async (roots) => {
    await using store = await openStore(roots);
    const image = await makeImage(roots.directory, [{ a: "1" }, { b: "2" }]);
    for (let round = 0; round < 15; round++) {
      const id = await pullInto(store, image, { names: ["localhost/race:1"] });
      const container = randomHex(32);
      const [made, removed] = await Promise.allSettled([
        store.createContainer({ id: container, names: [`race${round}`], imageId: id, metadata: "" }),
        store.deleteImage(id),
      ]);
      assert.equal(made.status === "fulfilled", removed.status === "rejected", "one of them wins");
      if (made.status === "fulfilled") {
        const root = await store.mountContainer(container);
        assert.equal(await Deno.readTextFile(`${root}/a`), "1");
        await store.deleteContainer(container);
      }
      const { graphRoot, runRoot } = roots;
      assert.deepEqual((await checkStore({ graphRoot, runRoot, logger: silentLogger })).problems, []);
    }
  });
});
