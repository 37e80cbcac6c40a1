import { FailedPreconditionError, InvalidArgumentError } from "./base/errors.ts";
import type { Logger } from "./base/logger.ts";
import type { Config } from "./config/schema.ts";
import { parseStorageOptions, type StorageOptions } from "./config/storage_options.ts";
import type { Host } from "./linux/host.ts";
import { Store } from "./storage/store.ts";
import type { StoreOptions } from "./storage/types.ts";

/** Where the configuration has the store, and how it is used. @throws InvalidArgumentError */
export function storeOptions(config: Config, deps: { readonly log: Logger; readonly host: Host }): StoreOptions {
  const { root: graphRoot, runRoot, imageStore, storageOptions } = config.crio;
  const parsed = parseStorageOptions(storageOptions);
  if (typeof parsed === "string") throw new InvalidArgumentError(`storage_option: ${parsed}`);
  refuseQuota(parsed, graphRoot);
  for (const note of parsed.notes) deps.log.warn(note);
  return {
    graphRoot,
    runRoot,
    ...(imageStore === "" || imageStore === graphRoot ? {} : { imageStore }),
    additionalStores: parsed.additionalStores,
    mountOptions: parsed.mountOptions,
    volatile: parsed.volatile,
    mapsIds: deps.host.idMappedOverlay,
    logger: deps.log,
  };
}

/** Opens the store of the configuration. @throws what {@link storeOptions} and {@link Store.open} throw */
export function openStore(config: Config, deps: { readonly log: Logger; readonly host: Host }): Promise<Store> {
  return Store.open(storeOptions(config, deps));
}

function refuseQuota({ sizeBytes, inodes }: StorageOptions, graphRoot: string): void {
  if (sizeBytes === undefined && inodes === undefined) return;
  const name = sizeBytes === undefined ? "inodes" : "size";
  throw new FailedPreconditionError(
    `storage option overlay.${name}: layers of ${graphRoot} cannot be given quotas by this program: take the option ` +
      "out of storage.conf and crio.conf, and limit pods by their ephemeral-storage instead",
  );
}
