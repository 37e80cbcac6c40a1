/**
 * Does one thing to a store of artifacts and kills itself before its n-th change of the file system: directory, what to do, n.
 * Ends with 0 when the work was done before that.
 */
import { silentLogger } from "../../src/base/logger.ts";
import { ArtifactLayout } from "../../src/image/artifacts/layout.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { commitOf, type CrashedArtifact } from "./artifacts_crash_fixture.ts";
import { killBefore } from "./kill_before.ts";

const [directory = "", what = "", count = ""] = Deno.args;
openLibraries();
using layout = new ArtifactLayout(directory, { access: "writable", log: silentLogger });
await using stage = await layout.stage();
if (what === "remove") {
  killBefore(Number(count));
  await layout.remove(({ name }) => name.endsWith("/old:1"));
} else {
  const commit = await commitOf(what as CrashedArtifact, { layout, stage: stage.directory });
  killBefore(Number(count));
  await layout.commit(commit);
}
// What follows is not what is tested.
Deno.exit(0);
