import type { OciMount } from "./types.ts";

export interface DefaultMountOptions {
  readonly privileged: boolean;
  /** How the runtime makes `/sys` read-only. */
  readonly readonlySysfs: "mount" | "path";
  /** Source of `/dev/shm`. */
  readonly shmPath: string;
  /** The node's POSIX message queues, where the container shares the node's IPC namespace. */
  readonly hostIpc: boolean;
  /** Whether it may write to its own part of cgroup v2 without being privileged. */
  readonly writableCgroups?: boolean;
}

const SYSFS_PATH = "/sys";

/** What has to be among a container's read-only paths so that its `/sys` is read-only: see {@link defaultMounts}. */
export function readonlySysfsPaths(options: Pick<DefaultMountOptions, "privileged" | "readonlySysfs">): string[] {
  return options.privileged || options.readonlySysfs === "mount" ? [] : [SYSFS_PATH];
}

/** What every container has mounted below its root, outermost first. */
export function defaultMounts(options: DefaultMountOptions): OciMount[] {
  const access = options.privileged ? "rw" : "ro";
  const sysfs = options.readonlySysfs === "mount" ? access : "rw";
  return [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    options.hostIpc
      ? {
        destination: "/dev/mqueue",
        type: "bind",
        source: "/dev/mqueue",
        options: ["rbind", "nosuid", "noexec", "nodev"],
      }
      : { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
    // runc passes `ro` to the file system: where the first sysfs of a network namespace is mounted so, the whole
    // superblock is read-only, for a privileged container of the same pod as well. `/sys` is a read-only path then.
    // crun makes the mount alone read-only, but a read-only path of it makes the cgroups below writable.
    { destination: SYSFS_PATH, type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", sysfs] },
    {
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options: ["nosuid", "noexec", "nodev", "relatime", options.writableCgroups === true ? "rw" : access],
    },
    { destination: "/dev/shm", type: "bind", source: options.shmPath, options: ["rw", "rbind"] },
  ];
}

/**
 * Default mounts that are left out because a volume covers them: with a `/dev` of the request's own, nothing is mounted
 * below it, or the node's directories would be changed.
 */
export function uncovered(defaults: readonly OciMount[], volumes: readonly OciMount[]): readonly OciMount[] {
  if (!volumes.some(({ destination }) => destination === "/dev")) return defaults;
  return defaults.filter(({ destination }) => !destination.startsWith("/dev/"));
}

/** How mounts travel between the node and a container. */
export type Propagation = "private" | "hostToContainer" | "bidirectional";

export interface BindRequest {
  readonly readonly: boolean;
  readonly propagation: Propagation;
  readonly recursiveReadOnly: boolean;
}

/** Options of a bind mount of a volume. */
export function bindOptions(request: BindRequest): string[] {
  const propagation = { private: "rprivate", hostToContainer: "rslave", bidirectional: "rshared" }[request.propagation];
  const access = request.readonly ? (request.recursiveReadOnly ? "rro" : "ro") : "rw";
  return ["rbind", propagation, access];
}

/**
 * The default mounts with the pod's and the user's over them: a later one takes the place of an earlier one with the
 * same destination, and parents come before children whatever the request's order.
 */
export function mergeMounts(...layers: ReadonlyArray<readonly OciMount[]>): OciMount[] {
  const byDestination = new Map<string, OciMount>();
  for (const layer of layers) {
    for (const mount of layer) {
      const destination = cleanPath(mount.destination);
      byDestination.delete(destination);
      byDestination.set(destination, { ...mount, destination });
    }
  }
  return [...byDestination.values()]
    .map((mount, order) => ({ mount, order, depth: mount.destination.split("/").filter((part) => part !== "").length }))
    .sort((a, b) => a.depth - b.depth || a.order - b.order)
    .map(({ mount }) => mount);
}

/** An absolute path without `.`, `..`, doubled or trailing slashes, by text alone. */
export function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") parts.pop();
    else parts.push(part);
  }
  return `/${parts.join("/")}`;
}
