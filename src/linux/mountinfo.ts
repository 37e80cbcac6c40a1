/** One line of /proc/PID/mountinfo, proc_pid_mountinfo(5). */
export interface MountEntry {
  readonly id: number;
  readonly parentId: number;
  /** `major:minor` of st_dev. */
  readonly device: string;
  /** The directory of the file system that is the mount's root. */
  readonly root: string;
  readonly mountPoint: string;
  readonly options: readonly string[];
  /** Peer group, when the mount is shared. */
  readonly shared: number | undefined;
  /** Peer group that it receives from, when it is a slave. */
  readonly master: number | undefined;
  readonly unbindable: boolean;
  readonly filesystem: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}

/** The mounts of this process, in mount order. One read of a file in memory, growing with the number of mounts. */
export async function readMounts(path: string = "/proc/self/mountinfo"): Promise<MountEntry[]> {
  return parseMountInfo(await Deno.readTextFile(path));
}

/** Parses the whole file; lines of another form are left out. Names are unescaped. */
export function parseMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split("\n")) {
    const entry = parseLine(line);
    if (entry !== undefined) entries.push(entry);
  }
  return entries;
}

/** The mount that holds `path` (absolute and clean): the last one on the longest prefix. */
export function mountOf(mounts: readonly MountEntry[], path: string): MountEntry | undefined {
  let best: MountEntry | undefined;
  for (const mount of mounts) {
    if (!isBelow(path, mount.mountPoint)) continue;
    if (best === undefined || mount.mountPoint.length >= best.mountPoint.length) best = mount;
  }
  return best;
}

/** Whether `path` is `directory` or inside it. */
export function isBelow(path: string, directory: string): boolean {
  if (directory === "/") return path.startsWith("/");
  return path === directory || path.startsWith(directory + "/");
}

function parseLine(line: string): MountEntry | undefined {
  const fields = line.split(" ");
  const [id, parentId, device, root, mountPoint, options] = fields;
  const dash = fields.indexOf("-", 6);
  const filesystem = fields[dash + 1];
  const superOptions = fields[dash + 3];
  if (dash === -1 || root === undefined || mountPoint === undefined || filesystem === undefined) return undefined;
  if (superOptions === undefined || !/^\d+$/.test(id ?? "") || !/^\d+$/.test(parentId ?? "")) return undefined;
  const tags = fields.slice(6, dash);
  return {
    id: Number(id),
    parentId: Number(parentId),
    device: device ?? "",
    root: unescape(root),
    mountPoint: unescape(mountPoint),
    options: (options ?? "").split(","),
    shared: tagged(tags, "shared:"),
    master: tagged(tags, "master:"),
    unbindable: tags.includes("unbindable"),
    filesystem,
    source: unescape(fields[dash + 2] ?? ""),
    superOptions: superOptions.split(","),
  };
}

function tagged(tags: readonly string[], prefix: string): number | undefined {
  const value = tags.find((tag) => tag.startsWith(prefix))?.slice(prefix.length);
  return value !== undefined && /^\d+$/.test(value) ? Number(value) : undefined;
}

/** Space, tab, line feed, backslash and `#` come as three octal digits. */
function unescape(text: string): string {
  if (!text.includes("\\")) return text;
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
