import { deepStrictEqual, ok } from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { CleanShutdown } from "../../../src/node/clean_shutdown.ts";

openLibraries();

const exists = (path: string): Promise<boolean> => Deno.lstat(path).then(() => true, () => false);

/** One daemon's life: what it finds at start, and whether it ends as it should. */
async function life(
  directory: string,
  how: { readonly clean: boolean; readonly bootId?: string; readonly path?: string; readonly images?: string },
): Promise<readonly boolean[]> {
  const { clean, bootId = "1", path = `${directory}/deep/clean.shutdown`, images = directory } = how;
  const roots = [directory, images];
  await using mark = await CleanShutdown.begin({ path, roots, log: silentLogger, bootId });
  ok(path === "" || !await exists(path), "a crash from now on shows");
  if (clean) mark.finish();
  return [mark.wasUnclean, mark.wasPowerCut];
}

Deno.test("CleanShutdown tells first starts, clean stops, crashes and power cuts apart", async () => {
  const directory = await Deno.makeTempDir({ prefix: "clean-" });
  try {
    deepStrictEqual(await life(directory, { clean: false }), [false, false], "the first start ever");
    deepStrictEqual(await life(directory, { clean: true }), [true, false], "after a crash");
    deepStrictEqual(await life(directory, { clean: false, bootId: "2" }), [false, false], "after a clean stop");
    deepStrictEqual(await life(directory, { clean: true, bootId: "3" }), [true, true], "after a power cut");
    deepStrictEqual(await life(directory, { clean: true, images: `${directory}/gone` }), [false, false]);
    deepStrictEqual(await life(directory, { clean: true }), [true, false], "images could not be synced");
    await Deno.remove(`${directory}/deep/clean.shutdown`);
    await Deno.writeTextFile(`${directory}/deep/clean.shutdown.supported`, "");
    deepStrictEqual(await life(directory, { clean: true }), [true, false], "after a crash of CRI-O");
    deepStrictEqual(await life(directory, { clean: false, path: "" }), [false, false], "without a mark");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
