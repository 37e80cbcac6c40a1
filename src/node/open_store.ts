import { FailedPreconditionError, InvalidArgumentError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Config } from "../config/schema.ts";
import { parseStorageOptions, type StorageOptions } from "../config/storage_options.ts";
import type { Host } from "../linux/host.ts";
import { Store } from "../storage/store.ts";
import type { StoreOptions } from "../storage/types.ts";

/** Where the configuration has the store, and how it is used. @throws InvalidArgumentError */
export function storeOptions(config: Config, deps: { readonly log: Logger; readonly host?: Host }): StoreOptions {
  const { root: graphRoot, runRoot, imageStore, storageOptions } = config.crio;
  const parsed = parseStorageOptions(storageOptions);
  if (typeof parsed === "string") throw new InvalidArgumentError(`storage_option: ${parsed}`);
  refuseQuota(parsed, graphRoot);
  for (const note of parsed.notes) deps.log.warn(note);
  return {
    graphRoot,
    runRoot,
    ...(imageStore === "" || imageStore === graphRoot ? {} : { imageStore }),
    additionalStores: parsed.additionalStores.filter((root) => root !== graphRoot && root !== imageStore),
    mountOptions: parsed.mountOptions,
    volatile: parsed.volatile,
    ...(deps.host === undefined ? {} : { mapsIds: deps.host.idMappedOverlay }),
    logger: deps.log,
  };
}

/** Opens the store for the daemon; after a stop that was not clean it is checked and repaired. */
export async function openStore(
  config: Config,
  deps: { readonly log: Logger; readonly host: Host; readonly wasUnclean: boolean; readonly signal: AbortSignal },
): Promise<Store> {
  const options = storeOptions(config, deps);
  const store = await Store.open(options);
  if (deps.wasUnclean && config.crio.internalRepair) {
    const { repairAfterCrash } = await import("./storage_repair.ts");
    await repairAfterCrash(store, options, deps);
  }
  return store;
}

function refuseQuota({ sizeBytes, inodes }: StorageOptions, graphRoot: string): void {
  if (sizeBytes === undefined && inodes === undefined) return;
  const name = sizeBytes === undefined ? "inodes" : "size";
  throw new FailedPreconditionError(
    `storage option overlay.${name}: layers of ${graphRoot} cannot be given quotas by this program: take the option ` +
      "out of storage.conf and crio.conf, and limit pods by their ephemeral-storage instead",
  );
}
