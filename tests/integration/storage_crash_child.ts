/**
 * Does one thing to a store and kills itself before its n-th change of the file system: graph root, run root, image
 * directory, what to do, n. Ends with 0 when the work was done before that.
 */
import { openLibraries } from "../../src/linux/warm_up.ts";
import { makeImage, openStore, pullInto } from "../unit/storage/store_fixture.ts";
import { checkStore } from "../../src/storage/check.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { killBefore } from "./kill_before.ts";
import { CONTAINER, CONTENTS, imageStoreOf, NAME, SPLIT } from "./storage_crash_fixture.ts";

const [graphRoot = "", runRoot = "", directory = "", what = "", count = ""] = Deno.args;
openLibraries();
const image = await makeImage(directory, CONTENTS);
await using store = await openStore({ directory, graphRoot, runRoot }, imageStoreOf(directory, what));
const start = (): Promise<void> => Promise.resolve(killBefore(Number(count)));

const work = what.replace(SPLIT, "");
if (work === "repair") {
  const report = await checkStore({ graphRoot, runRoot, logger: silentLogger });
  await start();
  await store.repair(report, { removeContainers: true });
} else if (work === "commit") {
  await pullInto(store, image, { names: [NAME], beforeCommit: start });
} else {
  const found = await store.findImage(NAME);
  if (found === undefined) throw new Error("the image is not there");
  await start();
  if (work === "create") {
    await store.createContainer({ id: CONTAINER, names: ["c"], imageId: found.id, metadata: "", volatile: false });
    await store.mountContainer(CONTAINER);
  } else if (work === "create volatile") {
    await store.createContainer({ id: CONTAINER, names: ["c"], imageId: found.id, metadata: "" });
    await store.mountContainer(CONTAINER);
  } else if (work === "delete container") await store.deleteContainer(CONTAINER);
  else if (work === "delete image") await store.deleteImage(found.id);
  else throw new Error(`cannot do ${what}`);
}
await store.settle();
Deno.exit(0);
