import type { Host } from "../../linux/host.ts";
import type { RuntimeFeatures, RuntimeVersion } from "./version.ts";

/** What containers of one runtime handler can have on this host. */
export interface HandlerFeatures {
  /** The newest runtime specification that it takes, as `config.json` names it. */
  readonly ociVersion: string;
  /** Mounts that are read-only with everything below them (`rro`). */
  readonly recursiveReadOnly: boolean;
  /**
   * How `/sys` becomes read-only: `mount` is the option of the mount itself, `path` an entry of `readonlyPaths` over a
   * writable mount. Each is wrong with the other kind of runtime, see `oci/README.md`.
   */
  readonly readonlySysfs: "mount" | "path";
  /** Pods with a user namespace of their own. */
  readonly userNamespaces: boolean;
  /** Whether it wants id maps in the configuration beside the path of a user namespace, as runc before 1.2 does. */
  readonly wantsIdMappings: boolean;
}

/** The newest specification whose fields are written here. */
const NEWEST = "1.3.0";
/** Known to every runtime in use: Debian 12's crun and runc. */
const OLDEST = "1.0.2";
/** First crun with the mount option `rro`; it has `features` since 1.8.4 only. */
const CRUN_RRO = { major: 1, minor: 4 };

/** Tried: older ones cannot mount what the root of a user namespace cannot reach. */
const CRUN_USER = { major: 1, minor: 8 };
const RUNC_USER = { major: 1, minor: 1 };
const RUNC_READS_MAPS = { major: 1, minor: 2 };

/**
 * What a handler can do, from what its program says and what the kernel has.
 *
 * @param features of the program; undefined when it has no such command, then its version decides
 */
export function handlerFeatures(
  { version, features, host }: {
    readonly version: RuntimeVersion;
    readonly features: RuntimeFeatures | undefined;
    readonly host: Pick<Host, "recursiveReadOnly" | "userNamespaces" | "idMappedMounts">;
  },
): HandlerFeatures {
  const isCrun = version.program === "crun";
  const runtimeRro = features?.recursiveReadOnly ?? (isCrun && isAtLeast(version, CRUN_RRO));
  return {
    ociVersion: newestCommon(features?.ociVersionMax ?? OLDEST),
    recursiveReadOnly: runtimeRro && host.recursiveReadOnly,
    readonlySysfs: isCrun ? "mount" : "path",
    userNamespaces: host.userNamespaces && host.idMappedMounts && joinsUserNamespaces({ version, features }),
    wantsIdMappings: version.program === "runc" && !isAtLeast(version, RUNC_READS_MAPS),
  };
}

function joinsUserNamespaces(
  { version, features }: { readonly version: RuntimeVersion; readonly features: RuntimeFeatures | undefined },
): boolean {
  if (version.program === "crun") return isAtLeast(version, CRUN_USER);
  if (version.program === "runc") return isAtLeast(version, RUNC_USER);
  return features?.idMappedMounts ?? false;
}

/** The older one of a runtime's newest version and ours; `-dev` of a version is before it, and takes its files. */
function newestCommon(theirs: string): string {
  const numbers = /^(\d+)\.(\d+)\.(\d+)/.exec(theirs);
  if (numbers === null) return OLDEST;
  const plain = numbers[0];
  return compare(plain, NEWEST) < 0 ? plain : NEWEST;
}

function compare(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split(".").map(Number));
  for (let i = 0; i < 3; i++) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function isAtLeast(version: RuntimeVersion, { major, minor }: { major: number; minor: number }): boolean {
  return version.major > major || (version.major === major && version.minor >= minor);
}
