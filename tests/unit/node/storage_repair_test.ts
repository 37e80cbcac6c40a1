import { equal, match, rejects } from "node:assert/strict";
import { type Logger, silentLogger } from "../../../src/base/logger.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { repairAfterCrash } from "../../../src/node/storage_repair.ts";
import type { Store } from "../../../src/storage/store.ts";

openLibraries();

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

Deno.test("repairAfterCrash() repairs nothing while an additional image store is away", async () => {
  const graphRoot = await Deno.makeTempDir();
  try {
    for (const name of ["layers", "images", "containers"]) await Deno.mkdir(`${graphRoot}/overlay-${name}`);
    await Deno.mkdir(`${graphRoot}/overlay/l`, { recursive: true });
    const id = "a".repeat(64);
    await Deno.mkdir(`${graphRoot}/overlay/${id}/diff`, { recursive: true });
    let said = "";
    const log: Logger = { ...silentLogger, error: (message) => void (said = message) };
    const options = { graphRoot, runRoot: `${graphRoot}/run`, logger: silentLogger };
    let repairs = 0;
    const store = { repair: () => (repairs++, Promise.resolve({ done: [], failed: [] })) } as unknown as Store;
    const context = { log, signal: new AbortController().signal };
    await repairAfterCrash(store, { ...options, additionalStores: [`${graphRoot}/away`] }, context);
    match(said, /^Nothing is repaired: there is no image store at .*\/away/);
    equal(repairs, 0);
    await repairAfterCrash(store, options, context);
    equal(repairs, 1, "with what the configuration names in place");
  } finally {
    await Deno.remove(graphRoot, { recursive: true });
  }
});
