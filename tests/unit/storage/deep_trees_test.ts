import assert from "node:assert/strict";
import { randomHex } from "../../../src/base/ids.ts";
import { AT_FDCWD, close, mkdirat, must, O_CLOEXEC, O_DIRECTORY, O_PATH, openat } from "../../../src/linux/at.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { withStore } from "./store_fixture.ts";

openLibraries();

/** Deeper than the stack of a thread that goes down by recursion. */
const DEPTH = 15_000;

/** As `mkdir d && cd d` does it in a container, which no length of a path limits. */
function makeDeep(directory: string, depth: number): void {
  const flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  const name = new TextEncoder().encode("d\0");
  let fd = must(openat(AT_FDCWD, new TextEncoder().encode(`${directory}\0`), flags, 0), "open");
  for (let i = 0; i < depth; i++) {
    must(mkdirat(fd, name, 0o755), "mkdirat");
    const next = must(openat(fd, name, flags, 0), "openat");
    close(fd);
    fd = next;
  }
  close(fd);
}

Deno.test("deleteContainer() deletes directories that are nested deeper than any stack", async () => {
  await withStore(async (store, roots) => {
    const id = randomHex(32);
    const { layerId } = await store.createContainer({ id, names: [], metadata: "" });
    makeDeep(await store.mountContainer(id), DEPTH);
    await store.unmountContainer(id);
    await store.deleteContainer(id);
    await store[Symbol.asyncDispose]();
    await assert.rejects(Deno.lstat(`${roots.graphRoot}/overlay/${layerId}`), Deno.errors.NotFound);
    const left = await Array.fromAsync(Deno.readDir(`${roots.graphRoot}/overlay`));
    assert.deepEqual(left.map(({ name }) => name).filter((name) => name !== "l"), []);
  });
});
