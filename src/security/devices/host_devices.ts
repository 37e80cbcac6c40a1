import { InvalidArgumentError } from "../../base/errors.ts";

/** A device of this node with what a container may do with it. */
export interface HostDevice {
  readonly device: {
    /** In the container. */
    readonly path: string;
    /** `c` or `b`. */
    readonly type: string;
    readonly major: number;
    readonly minor: number;
    readonly fileMode: number;
    readonly uid: number;
    readonly gid: number;
  };
  /** Some of `r`, `w`, `m`. */
  readonly permissions: string;
}

/** A device that somebody asks for. */
export interface DeviceWish {
  readonly hostPath: string;
  readonly containerPath: string;
  /** Some of `r`, `w`, `m`. */
  readonly permissions: string;
}

/** Parts of /dev that a container gets as mounts of its own, not as the node's. */
const OWN_DIRECTORIES: ReadonlySet<string> = new Set(["pts", "shm", "fd", "mqueue"]);
const OWN_DEVICES: ReadonlySet<string> = new Set(["console", "ptmx"]);
const MAX_DEPTH = 8;

/** All devices of this node, below `/dev`. */
export async function allHostDevices(directory = "/dev"): Promise<HostDevice[]> {
  return await devicesBelow(directory, { target: "/dev", permissions: "rwm", depth: 0, isDev: true });
}

/**
 * The device at a path of this node, links followed; all devices below it when it is a directory.
 *
 * @throws InvalidArgumentError when it is not there or has no device
 */
export async function hostDevices({ hostPath, containerPath, permissions }: DeviceWish): Promise<HostDevice[]> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(hostPath);
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound ? "does not exist" : "cannot be looked at";
    throw new InvalidArgumentError(`device ${hostPath} ${why} on this node`, { cause });
  }
  if (info.isDirectory) {
    const directory = await Deno.realPath(hostPath);
    const found = await devicesBelow(directory, { target: containerPath, permissions, depth: 0, isDev: false });
    if (found.length > 0) return found;
    throw new InvalidArgumentError(`device directory ${hostPath} has no device`);
  }
  const device = deviceOf(info, containerPath);
  if (device === undefined) throw new InvalidArgumentError(`device ${hostPath} is not a device file`);
  return [{ device, permissions }];
}

async function devicesBelow(
  directory: string,
  options: { target: string; permissions: string; depth: number; isDev: boolean },
): Promise<HostDevice[]> {
  const found: HostDevice[] = [];
  const isTop = options.isDev && options.depth === 0;
  for await (const entry of Deno.readDir(directory)) {
    const path = `${directory}/${entry.name}`;
    const target = `${options.target}/${entry.name}`;
    if (entry.isDirectory) {
      if (options.depth >= MAX_DEPTH || (isTop && OWN_DIRECTORIES.has(entry.name))) continue;
      found.push(...await devicesBelow(path, { ...options, target, depth: options.depth + 1 }));
      continue;
    }
    if (entry.isFile || entry.isSymlink || (isTop && OWN_DEVICES.has(entry.name))) continue;
    const info = await Deno.lstat(path).catch(() => undefined); // gone since the directory was read
    const device = info === undefined ? undefined : deviceOf(info, target);
    if (device !== undefined) found.push({ device, permissions: options.permissions });
  }
  return found;
}

function deviceOf(info: Deno.FileInfo, path: string): HostDevice["device"] | undefined {
  const type = info.isCharDevice === true ? "c" : info.isBlockDevice === true ? "b" : undefined;
  if (type === undefined || info.rdev === null) return undefined;
  const number = BigInt(info.rdev);
  return {
    path,
    type,
    // makedev(3): twelve low bits of the major behind the eight low ones of the minor, the rest above
    major: Number(((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xffff_f000n)),
    minor: Number((number & 0xffn) | ((number >> 12n) & 0xffff_ff00n)),
    fileMode: (info.mode ?? 0) & 0o7777,
    uid: info.uid ?? 0,
    gid: info.gid ?? 0,
  };
}
