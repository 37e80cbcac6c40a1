import { PLACE_BY_PATH } from "./schema.ts";
import { asTable, ConfigError, fromToml, parseToml, type Table } from "./toml.ts";
import type { ConfigValues } from "./values.ts";

/** The variables that root's tools of this family look at. */
export type StorageEnvironment = Readonly<Record<string, string | undefined>>;

const SYSTEM_PATHS = ["/etc/containers/storage.conf", "/usr/share/containers/storage.conf"];
const ROOTS = [["driver", "storage_driver"], ["graphroot", "root"], ["runroot", "runroot"], [
  "imagestore",
  "imagestore",
]];
/** Options of the driver that may stand in `[storage.options]` and, with precedence, in `[storage.options.overlay]`. */
const DRIVER_OPTIONS = [
  "mountopt",
  "mount_program",
  "size",
  "inodes",
  "ignore_chown_errors",
  "force_mask",
  "skip_mount_home",
  "use_composefs",
];

/**
 * Where storage.conf may be, as containers/storage looks for it: what CONTAINERS_STORAGE_CONF names and nothing else;
 * otherwise the first of these that exists.
 */
export function storageConfPaths(env: StorageEnvironment): readonly string[] {
  const named = env["CONTAINERS_STORAGE_CONF"];
  if (named !== undefined) return [named];
  const home = env["XDG_CONFIG_HOME"] ?? "";
  return home === "" ? SYSTEM_PATHS : [`${home}/containers/storage.conf`, ...SYSTEM_PATHS];
}

/**
 * Puts storage.conf under everything else: the first file of `paths` that exists counts, and STORAGE_DRIVER and
 * STORAGE_OPTS over it.
 *
 * @throws ConfigError naming the file and the key that is wrong
 */
export function addStorageConf(
  values: ConfigValues,
  file: { readonly path: string; readonly text: string } | undefined,
  env: StorageEnvironment,
): void {
  const options = env["STORAGE_OPTS"];
  if (file !== undefined) addFile(values, file, { withOptions: options === undefined });
  if (options !== undefined) {
    setChecked(values, "storage_option", options.split(",").filter((item) => item !== ""), "variable STORAGE_OPTS");
  }
  const driver = env["STORAGE_DRIVER"] ?? "";
  if (driver !== "") setChecked(values, "storage_driver", driver, "variable STORAGE_DRIVER");
}

function addFile(
  values: ConfigValues,
  { path, text }: { readonly path: string; readonly text: string },
  { withOptions }: { readonly withOptions: boolean },
): void {
  const storage = asTable(parseToml(text, path)["storage"]) ?? {};
  const table = asTable(storage["options"]) ?? {};
  const inner = table["imagestore"];
  for (const [key = "", target = ""] of ROOTS) {
    const value = storage[key] ?? (key === "imagestore" ? inner : undefined);
    if (value !== undefined && value !== "") setChecked(values, target, value, path);
  }
  const options = [
    ...driverOptions(table, path),
    ...(storage["transient_store"] === true ? ["overlay.transient_store=true"] : []),
  ];
  if (withOptions && options.length > 0) setChecked(values, "storage_option", options, path);
}

function setChecked(values: ConfigValues, key: string, value: unknown, source: string): void {
  const path = `crio.${key}`;
  const place = PLACE_BY_PATH.get(path);
  if (place === undefined) throw new TypeError(`no option ${path}`);
  values.set(path, fromToml(place.option, value, { source, path: key }), source);
}

/** The options of storage.conf in the form `overlay.name=value`. */
function driverOptions(table: Table, source: string): readonly string[] {
  const overlay = asTable(table["overlay"]) ?? {};
  const stores = table["additionalimagestores"] ?? [];
  if (!Array.isArray(stores) || stores.some((store) => typeof store !== "string")) {
    throw new ConfigError(source, "storage.options.additionalimagestores", "must be an array of strings");
  }
  const layerStores = table["additionallayerstores"];
  const entries = Object.entries({ ...scalars(table), ...scalars(overlay) });
  return [
    ...stores.map((store: string) => `overlay.imagestore=${store}`),
    ...entries.map(([name, value]) => `overlay.${name}=${value}`),
    ...(Array.isArray(layerStores) && layerStores.length > 0 ? [`overlay.additionallayerstore=${layerStores}`] : []),
    ...(table["disable-volatile"] === true ? ["overlay.disable_volatile=true"] : []),
    ...(isSet(table["pull_options"]) ? ["overlay.pull_options=true"] : []),
  ];
}

/** Whether partial pulls, or conversions, are asked for. */
function isSet(value: unknown): boolean {
  return Object.values(asTable(value) ?? {}).some((item) => item === "true" || item === true);
}

function scalars(table: Table): Record<string, string> {
  const entries = DRIVER_OPTIONS.flatMap((name) => {
    const value = table[name];
    const plain = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
    return plain && value !== "" ? [[name, String(value)] as const] : [];
  });
  return Object.fromEntries(entries);
}
