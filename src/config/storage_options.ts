import { nearest } from "./_nearest.ts";
import { parseSizeBytes } from "./option.ts";

/** What the options of the overlay driver (`storage_option`, storage.conf) ask for. */
export interface StorageOptions {
  /** For each overlay mount. */
  readonly mountOptions: readonly string[];
  /** Absolute paths of read-only image stores, in the order in which they are asked. */
  readonly additionalStores: readonly string[];
  /** False: containers are mounted, and their records kept, so that they outlast a power cut. */
  readonly volatile: boolean;
  /** Most bytes of a container's writable layer; undefined: no limit. */
  readonly sizeBytes: number | undefined;
  /** Most inodes of a container's writable layer; undefined: no limit. */
  readonly inodes: number | undefined;
  /** What is set and does not have the effect that it has elsewhere, for the log. */
  readonly notes: readonly string[];
}

/** Options of the family that stand in the way here, or change nothing: what to say of each. */
const WITHOUT_EFFECT: Readonly<Record<string, string>> = {
  mount_program: "overlays are mounted by the kernel, no other program is started for it",
  skip_mount_home: "`overlay` is always a private mount here, which keeps containers' mounts visible",
  ignore_chown_errors: "this daemon may change owners, so an owner that cannot be set is an error",
  use_composefs: "layers are directories here, as podman reads them",
  additionallayerstore: "layers that are not in a store are pulled",
  transient_store: "records of containers are not synced to disk in any case",
  override_kernel_check: "nothing has been overridden by it for years",
  pull_options: "it tunes partial pulls, and layers are pulled whole here",
};
const WITH_EFFECT = [
  "mountopt",
  "imagestore",
  "additionalimagestore",
  "size",
  "inodes",
  "force_mask",
  "disable_volatile",
];
/** They say what an overlay is made of. */
const OWN_MOUNT_OPTIONS = /^(?:lowerdir|upperdir|workdir)(?:=|$)/;

/**
 * Reads options of the form `overlay.name=value`; `overlay2.` and no prefix mean the same. Later ones win, image stores
 * add up.
 *
 * @returns the options, or what is wrong with the first that cannot be taken
 */
export function parseStorageOptions(options: readonly string[]): StorageOptions | string {
  const given = new Map<string, string>();
  const stores: string[] = [];
  for (const option of options) {
    const [, written = "", value = ""] = /^([^=]*)=?(.*)$/s.exec(option) ?? [];
    const name = written.toLowerCase().replace(/^(?:overlay2?)?\.|^overlay2?\./, "");
    if (name === "imagestore" || name === "additionalimagestore") {
      stores.push(...value.split(",").filter((path) => path !== "").map(cleanPath));
    } else if (WITH_EFFECT.includes(name) || WITHOUT_EFFECT[name] !== undefined) given.set(name, value);
    else return unknown(option, name);
  }
  const problem = problemOf(given, stores);
  if (problem !== undefined) return problem;
  const notes = [...given].flatMap(([name, value]) => {
    const note = value === "" || value === "false" ? undefined : WITHOUT_EFFECT[name];
    return note === undefined ? [] : [`${name}=${value} of the storage options has no effect: ${note}`];
  });
  return {
    mountOptions: (given.get("mountopt") ?? "").split(",").filter((item) => item !== ""),
    additionalStores: [...new Set(stores)],
    volatile: given.get("disable_volatile") !== "true",
    sizeBytes: amount(given.get("size")),
    inodes: amount(given.get("inodes")),
    notes,
  };
}

/** What is wrong with the first of these options that cannot be taken. */
export function storageOptionProblem(options: readonly string[]): string | undefined {
  const parsed = parseStorageOptions(options);
  return typeof parsed === "string" ? parsed : undefined;
}

/** Only overlay: says why and what to do. */
export function checkDriver(driver: string): string | undefined {
  if (["", "overlay", "overlay2"].includes(driver)) return undefined;
  return "is a storage driver that this program does not have: only overlay is supported. Set `driver` in storage.conf, or " +
    '`storage_driver` in crio.conf, to "overlay" and pull the images anew; a store of another driver may stay beside it';
}

function unknown(option: string, name: string): string {
  const hint = nearest(name, [...WITH_EFFECT, ...Object.keys(WITHOUT_EFFECT)]);
  const meant = hint === undefined ? "" : `; is ${JSON.stringify(`overlay.${hint}`)} meant?`;
  return `${JSON.stringify(option)} is no option of the overlay driver${meant}`;
}

function problemOf(given: ReadonlyMap<string, string>, stores: readonly string[]): string | undefined {
  const relative = stores.find((path) => !path.startsWith("/"));
  if (relative !== undefined) return `image store ${JSON.stringify(relative)} is not an absolute path`;
  const mask = given.get("force_mask") ?? "";
  if (mask !== "" && !/^0+$/.test(mask)) {
    return "force_mask needs a mount program that shows files with other modes than they are stored with, and the kernel " +
      "mounts overlays here: remove force_mask";
  }
  const own = (given.get("mountopt") ?? "").split(",").find((item) => OWN_MOUNT_OPTIONS.test(item.trim()));
  if (own !== undefined) {
    return `mountopt has ${JSON.stringify(own)}: the layers of a mount are not for an option to say`;
  }
  const bad = ["size", "inodes"].find((name) => parseSizeBytes(given.get(name) ?? "") === undefined);
  return bad === undefined ? undefined : `${bad}=${given.get(bad)} is not a number with an optional unit, such as 10G`;
}

function amount(value: string | undefined): number | undefined {
  const parsed = parseSizeBytes(value ?? "");
  return parsed === 0 ? undefined : parsed;
}

function cleanPath(path: string): string {
  return path.replace(/\/+/g, "/").replace(/(?<=.)\/$/, "");
}
