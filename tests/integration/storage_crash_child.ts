/**
 * Does one thing to a store and kills itself before its n-th change of the file system: graph root, run root, image
 * directory, what to do, n. Ends with 0 when the work was done before that.
 */
import { openLibraries } from "../../src/linux/warm_up.ts";
import { makeImage, openStore, pullInto } from "../unit/storage/store_fixture.ts";
import { CONTAINER, CONTENTS, NAME } from "./storage_crash_fixture.ts";

const CHANGES = [
  "rename",
  "mkdir",
  "symlink",
  "writeTextFile",
  "remove",
  "chmod",
  "chown",
  "copyFile",
  "open",
] as const;

function killBefore(count: number): void {
  let left = count;
  for (const change of CHANGES) {
    const original = Deno[change] as (...args: unknown[]) => unknown;
    const counted = (...args: unknown[]): unknown => {
      left -= 1;
      if (left <= 0) Deno.kill(Deno.pid, "SIGKILL");
      return original(...args);
    };
    Object.defineProperty(Deno, change, { value: counted });
  }
}

const [graphRoot = "", runRoot = "", directory = "", what = "", count = ""] = Deno.args;
openLibraries();
const image = await makeImage(directory, CONTENTS);
await using store = await openStore({ directory, graphRoot, runRoot });
const start = (): Promise<void> => Promise.resolve(killBefore(Number(count)));

if (what === "commit") {
  await pullInto(store, image, { names: [NAME], beforeCommit: start });
} else {
  const found = await store.findImage(NAME);
  if (found === undefined) throw new Error("the image is not there");
  await start();
  if (what === "create") {
    await store.createContainer({ id: CONTAINER, names: ["c"], imageId: found.id, metadata: "", volatile: false });
    await store.mountContainer(CONTAINER);
  } else if (what === "create volatile") {
    await store.createContainer({ id: CONTAINER, names: ["c"], imageId: found.id, metadata: "" });
    await store.mountContainer(CONTAINER);
  } else if (what === "delete container") await store.deleteContainer(CONTAINER);
  else if (what === "delete image") await store.deleteImage(found.id);
  else throw new Error(`cannot do ${what}`);
}
await store.settle();
Deno.exit(0);
