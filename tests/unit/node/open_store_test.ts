import { deepStrictEqual, throws } from "node:assert/strict";
import type { Logger } from "../../../src/base/logger.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { buildConfig } from "../../../src/config/build.ts";
import { storeOptions } from "../../../src/node/open_store.ts";
import type { StoreOptions } from "../../../src/storage/types.ts";
import { loadText } from "../config/_fixtures.ts";

async function optionsOf(text: string, log: Logger = silentLogger): Promise<StoreOptions> {
  return storeOptions(buildConfig(await loadText(`[crio]\nroot = "/g"\nrunroot = "/r"\n${text}`)), { log });
}

Deno.test("storeOptions() hands the configuration to the store, and what has no effect to the log", async () => {
  const said: string[] = [];
  const log: Logger = { ...silentLogger, warn: (message) => void said.push(message) };
  const options = await optionsOf(
    'imagestore = "/i"\nstorage_option = ["overlay.mountopt=nodev", "overlay.imagestore=/a,/g,/i", ' +
      '"overlay.disable_volatile=true", "overlay.mount_program=/bin/fuse-overlayfs"]\n',
    log,
  );
  const { graphRoot, runRoot, imageStore, additionalStores, mountOptions, volatile } = options;
  deepStrictEqual([graphRoot, runRoot, imageStore], ["/g", "/r", "/i"]);
  deepStrictEqual([additionalStores, mountOptions, volatile], [["/a"], ["nodev"], false]);
  deepStrictEqual(said.map((line) => line.split(" ", 1)), [["mount_program=/bin/fuse-overlayfs"]]);
});

Deno.test("storeOptions() refuses quotas, with the remedy", async () => {
  for (const name of ["size", "inodes"]) {
    const config = buildConfig(await loadText(`[crio]\nstorage_option = ["overlay.${name}=10"]\n`));
    throws(
      () => storeOptions(config, { log: silentLogger }),
      new RegExp(`storage option overlay\\.${name}: layers of /var/lib/containers/storage cannot be given quotas`),
    );
  }
});
