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
}

/** The newest specification whose fields are written here. */
const NEWEST = "1.3.0";
/** Known to every runtime in use: Debian 12's crun and runc. */
const OLDEST = "1.0.2";
/** First crun with the mount option `rro`; it has `features` since 1.8.4 only. */
const CRUN_RRO = { major: 1, minor: 4 };

/**
 * What a handler can do, from what its program says and what the kernel has.
 *
 * @param features of the program; undefined when it has no such command, then its version decides
 */
export function handlerFeatures(
  { version, features, host }: {
    readonly version: RuntimeVersion;
    readonly features: RuntimeFeatures | undefined;
    readonly host: Pick<Host, "recursiveReadOnly">;
  },
): HandlerFeatures {
  const isCrun = version.program === "crun";
  const runtimeRro = features?.recursiveReadOnly ?? (isCrun && isAtLeast(version, CRUN_RRO));
  return {
    ociVersion: newestCommon(features?.ociVersionMax ?? OLDEST),
    recursiveReadOnly: runtimeRro && host.recursiveReadOnly,
    readonlySysfs: isCrun ? "mount" : "path",
  };
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
