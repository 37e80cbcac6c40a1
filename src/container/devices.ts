import { InvalidArgumentError } from "../base/errors.ts";
import type { GrantedDevice } from "../oci/spec/devices.ts";
import type { ContainerSpec } from "./types.ts";

/** Parts of /dev that a privileged container gets as mounts of its own, not as the node's. */
const OWN_DIRECTORIES: ReadonlySet<string> = new Set(["pts", "shm", "fd", "mqueue"]);
const OWN_DEVICES: ReadonlySet<string> = new Set(["console", "ptmx"]);
const MAX_DEPTH = 8;

/**
 * The devices of a container: those that it asks for; a privileged one gets all of the node's as well. A path that is
 * a directory grants every device below it.
 *
 * @throws InvalidArgumentError when a requested path is not there or has no device
 */
export async function grantedDevices(spec: ContainerSpec): Promise<GrantedDevice[]> {
  const byPath = new Map<string, GrantedDevice>();
  if (spec.security.privileged) {
    for (const found of await devicesBelow("/dev", { target: "/dev", permissions: "rwm", depth: 0 })) {
      byPath.set(found.device.path, found);
    }
  }
  for (const { hostPath, containerPath, permissions } of spec.devices) {
    for (const found of await requested(hostPath, { target: containerPath, permissions })) {
      byPath.set(found.device.path, found);
    }
  }
  return [...byPath.values()];
}

async function requested(
  hostPath: string,
  { target, permissions }: { target: string; permissions: string },
): Promise<GrantedDevice[]> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(hostPath);
  } catch (cause) {
    throw new InvalidArgumentError(`device ${hostPath} cannot be looked at on this node`, { cause });
  }
  if (info.isDirectory) {
    const found = await devicesBelow(await Deno.realPath(hostPath), { target, permissions, depth: 0 });
    if (found.length > 0) return found;
    throw new InvalidArgumentError(`device directory ${hostPath} has no device`);
  }
  const device = deviceOf(info, target);
  if (device === undefined) throw new InvalidArgumentError(`device ${hostPath} is not a device file`);
  return [{ device, permissions }];
}

async function devicesBelow(
  directory: string,
  options: { target: string; permissions: string; depth: number },
): Promise<GrantedDevice[]> {
  const found: GrantedDevice[] = [];
  for await (const entry of Deno.readDir(directory)) {
    const path = `${directory}/${entry.name}`;
    const target = `${options.target}/${entry.name}`;
    if (entry.isDirectory) {
      if (options.depth >= MAX_DEPTH || (options.depth === 0 && OWN_DIRECTORIES.has(entry.name))) continue;
      found.push(...await devicesBelow(path, { ...options, target, depth: options.depth + 1 }));
      continue;
    }
    if (entry.isFile || entry.isSymlink || (options.depth === 0 && OWN_DEVICES.has(entry.name))) continue;
    const info = await Deno.lstat(path).catch(() => undefined);
    const device = info === undefined ? undefined : deviceOf(info, target);
    if (device !== undefined) found.push({ device, permissions: options.permissions });
  }
  return found;
}

function deviceOf(info: Deno.FileInfo, path: string): GrantedDevice["device"] | undefined {
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
