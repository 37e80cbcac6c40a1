import assert from "node:assert/strict";
import { openStore, withRoots } from "./store_fixture.ts";

async function stages(graphRoot: string): Promise<string[]> {
  const names = await Array.fromAsync(Deno.readDir(`${graphRoot}/tmp`), ({ name }) => name);
  return names.filter((name) => name.startsWith("crio-"));
}

Deno.test("Store.open() removes a stage whose maker died before it had a lock file", async () => {
  await withRoots(async (roots) => {
    await (await openStore(roots))[Symbol.asyncDispose]();
    await Deno.mkdir(`${roots.graphRoot}/tmp/crio-0123456789abcdef`);
    await using _store = await openStore(roots);
    assert.ok(!(await stages(roots.graphRoot)).includes("crio-0123456789abcdef"));
    assert.ok((await stages(roots.graphRoot)).length <= 1, "its own");
  });
});

Deno.test("stages that are made while others open the store, and sweep it, stay whole", async () => {
  await withRoots(async (roots) => {
    await using store = await openStore(roots);
    const SWEEPS = 10;
    let isOver = false;
    const sweeping = (async (): Promise<void> => {
      for (let i = 0; i < SWEEPS; i++) await (await openStore(roots))[Symbol.asyncDispose]();
    })().finally(() => isOver = true);
    const making = (async (): Promise<void> => {
      while (!isOver) {
        await using stage = await store.stage();
        const directory = await stage.layerDirectory(0);
        await Deno.writeTextFile(`${directory}/file`, "there");
        assert.equal(await Deno.readTextFile(`${directory}/file`), "there");
      }
    })();
    await Promise.all([sweeping, making]);
  });
});
