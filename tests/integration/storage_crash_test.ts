/** A process is killed before each change that it makes to a store; podman and the next open must cope every time. */
import assert from "node:assert/strict";
import { commandResult, runCommand } from "../../src/linux/command.ts";
import type { Store } from "../../src/storage/store.ts";
import { assertSound, makeImage, openStore, pullInto, type Roots, withRoots } from "../unit/storage/store_fixture.ts";
import { checkStore } from "../../src/storage/check.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { CONTAINER, CONTENTS, imageStoreOf, NAME, SPLIT } from "./storage_crash_fixture.ts";

const CHILD = new URL("./storage_crash_child.ts", import.meta.url).pathname;
const KILLED = 137;
/** No work has more changes than this. */
const MOST_CHANGES = 200;

async function dies(roots: Roots, what: string, count: number): Promise<boolean> {
  const argv = [Deno.execPath(), "run", "-A", "--quiet", CHILD, roots.graphRoot, roots.runRoot, roots.directory, what];
  const env = Deno.env.toObject();
  const result = await commandResult([...argv, String(count)], { env, signal: AbortSignal.timeout(60_000) });
  if (result.exitCode === 0) return false;
  assert.equal(result.exitCode, KILLED, new TextDecoder().decode(result.stderr));
  return true;
}

async function podmanReads(roots: Roots): Promise<void> {
  const podman = ["podman", "--root", roots.graphRoot, "--runroot", roots.runRoot, "--storage-driver", "overlay"];
  const argv = ["/usr/bin/env", ...podman, "--tmpdir", `${roots.directory}/libpod`];
  for (const command of [["images", "-a"], ["ps", "-a", "--external"]]) {
    await runCommand([...argv, ...command], { signal: AbortSignal.timeout(60_000) });
  }
}

/** Kills at each `stride`-th change, and hands the reopened store to `check`, which puts the start back in place. */
async function everyStep(
  what: string,
  options: { stride: number; prepare: (store: Store, roots: Roots) => Promise<void> },
  check: (store: Store) => Promise<void>,
): Promise<void> {
  await withRoots(async (roots) => {
    const places = imageStoreOf(roots.directory, what);
    for (let count = 1;; count += options.stride) {
      assert.ok(count < MOST_CHANGES);
      {
        await using store = await openStore(roots, places);
        await options.prepare(store, roots);
      }
      const died = await dies(roots, what, count);
      await podmanReads(roots);
      assert.deepEqual(
        (await problems(roots, places)).filter((line) => !unfinished(what).test(line)),
        [],
        "nothing is damaged",
      );
      {
        await using store = await openStore(roots, places);
        await check(store);
      }
      assert.deepEqual(await problems(roots, places), []);
      if (places.imageStore === undefined) await assertSound(roots);
      if (!died) break;
    }
  });
}

/** What `crio check` says of work that was not finished, and of nothing else. A container's record goes last. */
function unfinished(what: string): RegExp {
  const half = what === "delete container" ? "|container: layer-missing" : "";
  return new RegExp(`^(leftover: |layer: (no-container|unfinished)${half})`);
}

async function problems(roots: Roots, places: { imageStore?: string }): Promise<string[]> {
  const { graphRoot, runRoot } = roots;
  const report = await checkStore({ graphRoot, runRoot, logger: silentLogger, ...places });
  return report.problems.map(({ subject, kind, id, detail }) => `${subject}: ${kind} ${id} ${detail}`);
}

async function pullOnce(store: Store, roots: Roots): Promise<void> {
  if (await store.findImage(NAME) === undefined) {
    await pullInto(store, await makeImage(roots.directory, CONTENTS), { names: [NAME] });
  }
}

/** The image is whole or absent. */
async function imageIsWhole(store: Store): Promise<void> {
  const image = await store.findImage(NAME);
  if (image === undefined) {
    assert.deepEqual(await store.images(), []);
    return;
  }
  const config = JSON.parse(new TextDecoder().decode(await store.imageConfig(image.id)));
  assert.equal((await store.presentLayers(config.rootfs.diff_ids)).length, CONTENTS.length);
  const root = await store.mountImage(image.id);
  assert.equal(await Deno.readTextFile(`${root}/etc/two`), "2");
  await store.unmountImage(image.id);
}

for (const [what, stride] of [["commit", 1], [`commit${SPLIT}`, 3]] as const) {
  Deno.test(`a kill at any moment of a ${what} leaves the image whole or absent`, async () => {
    await everyStep(what, { stride, prepare: () => Promise.resolve() }, async (store) => {
      await imageIsWhole(store);
      const image = await store.findImage(NAME);
      if (image !== undefined) await store.deleteImage(image.id);
    });
  });
}

Deno.test("a kill at any moment of a repair leaves something that can be repaired again", async () => {
  await withRoots(async (roots) => {
    for (let count = 1, died = true; died; count += 2) {
      {
        await using store = await openStore(roots);
        await pullOnce(store, roots);
        const found = await store.findImage(NAME);
        await store.createContainer({
          id: CONTAINER,
          names: ["c"],
          imageId: found?.id ?? "",
          metadata: "",
          volatile: false,
        });
        await Deno.remove(`${roots.graphRoot}/overlay/${found?.topLayer}/diff`, { recursive: true });
      }
      died = await dies(roots, "repair", count);
      await podmanReads(roots);
      {
        const { graphRoot, runRoot } = roots;
        await using store = await openStore(roots);
        await store.repair(await checkStore({ graphRoot, runRoot, logger: silentLogger }), { removeContainers: true });
      }
      assert.deepEqual(await problems(roots, {}), []);
      await assertSound(roots);
    }
  });
});

for (const what of ["create", "create volatile", `create volatile${SPLIT}`]) {
  Deno.test(`a kill at any moment of "${what}" leaves the container usable or absent`, async () => {
    await everyStep(what, { stride: 2, prepare: pullOnce }, async (store) => {
      const [container] = await store.containers();
      if (container !== undefined) {
        const root = await store.mountContainer(CONTAINER);
        assert.equal(await Deno.readTextFile(`${root}/etc/two`), "2");
        await store.deleteContainer(CONTAINER);
      }
      await imageIsWhole(store);
    });
  });
}

Deno.test("a kill at any moment of a container's deletion leaves something that can be deleted again", async () => {
  const prepare = async (store: Store, roots: Roots): Promise<void> => {
    await pullOnce(store, roots);
    const imageId = (await store.findImage(NAME))?.id ?? "";
    await store.createContainer({ id: CONTAINER, names: ["c"], imageId, metadata: "", volatile: false });
    await store.mountContainer(CONTAINER);
  };
  await everyStep("delete container", { stride: 1, prepare }, async (store) => {
    await store.deleteContainer(CONTAINER);
    await imageIsWhole(store);
  });
});

for (const [what, stride] of [["delete image", 1], [`delete image${SPLIT}`, 2]] as const) {
  Deno.test(`a kill at any moment of "${what}" leaves the image whole or absent`, async () => {
    await everyStep(what, { stride, prepare: pullOnce }, imageIsWhole);
  });
}
