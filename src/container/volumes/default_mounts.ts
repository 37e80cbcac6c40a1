import type { rootOwner } from "../../base/id_maps.ts";
import type { Logger } from "../../base/logger.ts";
import { messageOf } from "../../base/errors.ts";
import { cleanPath } from "../../oci/spec/mounts.ts";
import type { OciMount } from "../../oci/spec/types.ts";

/** One line of a mounts.conf. */
interface DefaultMount {
  readonly source: string;
  readonly destination: string;
}

type Owner = ReturnType<typeof rootOwner>;

const ROOT: Owner = { uid: 0, gid: 0 };
const PERMISSION_BITS = 0o7777;

/**
 * The mounts that mounts.conf names for every container, such as subscriptions. Each container gets a copy, as podman and
 * CRI-O give it (containers-mounts.conf(5)): it may change what it sees, and the node's own stays as it is.
 *
 * @param files the first one that exists counts
 * @param directory for the copies
 */
export async function copyDefaultMounts(
  files: readonly string[],
  { directory, log, owner = ROOT }: {
    readonly directory: string;
    readonly log: Logger;
    /** Of the copies. */
    readonly owner?: Owner;
  },
): Promise<OciMount[]> {
  const text = await firstText(files);
  const mounts: OciMount[] = [];
  for (const [index, { source, destination }] of parseMountsConf(text).entries()) {
    const copy = `${directory}/${index}`;
    try {
      await copyTree(source, copy, owner);
    } catch (error) {
      log.warn(`a default mount is left out: ${source} cannot be copied: ${messageOf(error)}`, { destination });
      continue;
    }
    mounts.push({ destination, type: "bind", source: copy, options: ["bind", "rprivate"] });
  }
  return mounts;
}

/** Lines `source:destination`, or one path that is both; `#` begins a comment. Others are passed over. */
export function parseMountsConf(text: string): DefaultMount[] {
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const colon = line.indexOf(":");
      const source = colon === -1 ? line : line.slice(0, colon);
      return { source, destination: colon === -1 ? line : line.slice(colon + 1) };
    })
    .filter(({ source, destination }) => source.startsWith("/") && destination.startsWith("/"))
    .map(({ source, destination }) => ({ source: cleanPath(source), destination: cleanPath(destination) }));
}

async function firstText(files: readonly string[]): Promise<string> {
  for (const file of files) {
    try {
      return await Deno.readTextFile(file);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return "";
}

/** Directories and files with what symbolic links lead to; anything else is left out. */
async function copyTree(source: string, target: string, owner: Owner): Promise<void> {
  const { isDirectory, isFile, mode } = await Deno.stat(source);
  if (isFile) {
    await Deno.mkdir(target.slice(0, target.lastIndexOf("/")), { recursive: true, mode: 0o755 });
    await Deno.copyFile(source, target);
    await Deno.chown(target, owner.uid, owner.gid);
  }
  if (!isDirectory) return;
  await Deno.mkdir(target, { recursive: true });
  await Deno.chown(target, owner.uid, owner.gid);
  await Deno.chmod(target, (mode ?? 0o755) & PERMISSION_BITS);
  for await (const { name } of Deno.readDir(source)) await copyTree(`${source}/${name}`, `${target}/${name}`, owner);
}
