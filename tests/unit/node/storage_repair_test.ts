import { match, rejects } from "node:assert/strict";
import { type Logger, silentLogger } from "../../../src/base/logger.ts";
import { repairAfterCrash } from "../../../src/node/storage_repair.ts";
import type { Store } from "../../../src/storage/store.ts";

Deno.test("repairAfterCrash() keeps no daemon from its start: a check that fails is told", async () => {
  const graphRoot = await Deno.makeTempDir();
  try {
    for (const name of ["layers", "images", "containers"]) await Deno.mkdir(`${graphRoot}/overlay-${name}`);
    let said = "";
    const log: Logger = { ...silentLogger, error: (message) => void (said = message) };
    // No directory can be made there.
    const options = { graphRoot, runRoot: "/dev/null/run", logger: silentLogger };
    const stop = new AbortController();
    const context = { log, signal: stop.signal };
    await repairAfterCrash({} as Store, options, context);
    match(said, /^The store could not be checked after .*Not a directory/);
    stop.abort(new DOMException("stopped", "AbortError"));
    await rejects(repairAfterCrash({} as Store, options, context), /stopped/);
  } finally {
    await Deno.remove(graphRoot, { recursive: true });
  }
});
