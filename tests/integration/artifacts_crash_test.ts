/** The daemon dies before each change that it makes to the store of artifacts: the store is whole all the same. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { silentLogger } from "../../src/base/logger.ts";
import { ArtifactLayout } from "../../src/image/artifacts/layout.ts";
import { commandResult, runCommand } from "../../src/linux/command.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { sha256 } from "../fakes/registry/content.ts";
import { commitOf, type CrashedArtifact } from "./artifacts_crash_fixture.ts";

openLibraries();

const CHILD = new URL("./artifacts_crash_child.ts", import.meta.url).pathname;
/** More changes than any of these makes. */
const MAX_CHANGES = 60;
const [OLD, NEW] = ["registry.example/old:1", "registry.example/new:1"];

async function commit(directory: string, which: CrashedArtifact): Promise<void> {
  using layout = new ArtifactLayout(directory, { access: "writable", log: silentLogger });
  await using stage = await layout.stage();
  await layout.commit(await commitOf(which, { layout, stage: stage.directory }));
}

async function withLayout(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "artifacts-crash-" });
  try {
    await commit(directory, "old");
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** What every reader must find: names, each with all of its blobs, right to the last byte, for skopeo too. */
async function namesIn(directory: string): Promise<string[]> {
  using layout = new ArtifactLayout(directory, { access: "writable", log: silentLogger });
  await layout.sweep();
  const names: string[] = [];
  for (const { manifest, digest, names: own } of await layout.list()) {
    for (const blob of [digest, manifest.config.digest, ...manifest.layers.map((layer) => layer.digest)]) {
      equal(sha256(await Deno.readFile(layout.blob(blob))), blob);
    }
    equal((await layout.signatures(digest)).length, 1);
    for (const name of own) {
      await runCommand(["/usr/bin/skopeo", "inspect", "--raw", `oci:${directory}:${name}`]);
      names.push(name);
    }
  }
  return names.sort();
}

for (
  const [what, before, after] of [["new", [OLD], [NEW, OLD]], ["moved", [OLD], [OLD]], ["remove", [OLD], []]] as const
) {
  Deno.test(`a crash at each change of "${what}" leaves what was there, or what was to be`, async () => {
    let crashes = 0;
    for (let count = 1; count < MAX_CHANGES; count++) {
      let done = false;
      await withLayout(async (directory) => {
        const argv = [Deno.execPath(), "run", "-A", "--no-check", CHILD, directory, what, String(count)];
        const { exitCode, signal, stderr } = await commandResult(argv, { env: Deno.env.toObject() });
        done = exitCode === 0;
        ok(done || signal === 9, new TextDecoder().decode(stderr));
        const names = await namesIn(directory);
        if (done) return deepEqual(names, after);
        crashes++;
        ok([before, after].some((list) => String(list) === String(names)), `${count}: ${names}`);
        // The next pull goes on as if nothing had been.
        await commit(directory, "new");
        ok((await namesIn(directory)).includes(NEW));
      });
      if (done) break;
    }
    ok(crashes >= 4 && crashes < MAX_CHANGES - 1, `${crashes} crashes`);
  });
}
