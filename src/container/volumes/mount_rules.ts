import type { Config } from "../../config/schema.ts";

/** How this node mounts things into containers. */
export interface MountRules {
  /** Where the node's root is, for a daemon in a container; empty: at `/`. */
  readonly bindMountPrefix: string;
  /** Sources that are refused when they are missing. */
  readonly absentSourcesToReject: readonly string[];
  /** The store's root without symbolic links. */
  readonly storageRoot: string;
  /** Root file systems are read-only. */
  readonly readOnly: boolean;
  /** What is done with the volumes that an image declares. */
  readonly imageVolumes: "mkdir" | "bind" | "ignore";
  /** Files with mounts for every container; the first one that exists counts. */
  readonly defaultMountsFiles: readonly string[];
}

/** containers-mounts.conf(5): the administrator's file replaces the distribution's. */
const DEFAULT_MOUNTS_FILES = ["/etc/containers/mounts.conf", "/usr/share/containers/mounts.conf"];

export function mountRules({ crio, runtime, image }: Config): MountRules {
  const { defaultMountsFile, bindMountPrefix } = runtime;
  return {
    bindMountPrefix: bindMountPrefix.replace(/\/+$/, ""),
    absentSourcesToReject: runtime.absentMountSourcesToReject,
    storageRoot: crio.root,
    readOnly: runtime.readOnly,
    imageVolumes: image.imageVolumes as MountRules["imageVolumes"],
    defaultMountsFiles: defaultMountsFile === "" ? DEFAULT_MOUNTS_FILES : [defaultMountsFile],
  };
}
