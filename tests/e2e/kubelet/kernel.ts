/** What the kernel says of a process, as the node sees it. */

/** `/proc/<pid>/status`, by name. */
export async function procStatus(pid: number): Promise<Map<string, string>> {
  const lines = (await Deno.readTextFile(`/proc/${pid}/status`)).split("\n");
  return new Map(lines.map((line) => [line.split(":", 1)[0] ?? "", line.slice(line.indexOf(":") + 1).trim()]));
}

/** The identity of a namespace: `net:[4026531840]`. */
export function namespaceOf(pid: number | "self", kind: string): Promise<string> {
  return Deno.readLink(`/proc/${pid}/ns/${kind}`);
}

export function isAlive(pid: number): Promise<boolean> {
  return Deno.stat(`/proc/${pid}`).then(() => true, () => false);
}

/** A mount as the process has it: its file system's type and all of its options. */
export interface ProcessMount {
  readonly type: string;
  readonly options: readonly string[];
  /** Such as `shared:7` and `master:2`. */
  readonly propagation: readonly string[];
}

/** The topmost mount at `path` inside the process's root. */
export async function mountAt(pid: number, path: string): Promise<ProcessMount | undefined> {
  const lines = (await Deno.readTextFile(`/proc/${pid}/mountinfo`)).trim().split("\n");
  const line = lines.findLast((line) => line.split(" ")[4] === path);
  if (line === undefined) return undefined;
  const [before = "", after = ""] = line.split(" - ");
  const fields = before.split(" ");
  const [type = "", , superOptions = ""] = after.split(" ");
  const options = [...(fields[5] ?? "").split(","), ...superOptions.split(",")];
  return { type, options, propagation: fields.slice(6) };
}

/** Where a process is in a controller's hierarchy: a directory below /sys/fs/cgroup. */
export async function cgroupOf(pid: number, controller: string): Promise<string> {
  const lines = (await Deno.readTextFile(`/proc/${pid}/cgroup`)).trim().split("\n").map((line) => line.split(":"));
  const own = lines.find(([, controllers = ""]) => controllers.split(",").includes(controller));
  if (own !== undefined) return `/sys/fs/cgroup/${controller}${own[2]}`;
  const unified = lines.find(([id]) => id === "0");
  return `/sys/fs/cgroup${unified?.[2] ?? ""}`;
}

/** Whether the controllers are on one v2 hierarchy here. */
export function isUnified(): Promise<boolean> {
  return Deno.stat("/sys/fs/cgroup/cgroup.controllers").then(() => true, () => false);
}

/** Limits of a cgroup, whatever the version: bytes, microseconds in 100 ms, or "max". */
export async function limitsOf(pid: number, up = 0): Promise<{ memory: string; cpu: string }> {
  const above = "/..".repeat(up);
  const read = async (controller: string, file: string): Promise<string> =>
    (await Deno.readTextFile(`${await cgroupOf(pid, controller)}${above}/${file}`)).trim();
  if (await isUnified()) {
    return { memory: await read("memory", "memory.max"), cpu: (await read("cpu", "cpu.max")).split(" ")[0] ?? "" };
  }
  const quota = await read("cpu", "cpu.cfs_quota_us");
  return { memory: await read("memory", "memory.limit_in_bytes"), cpu: quota === "-1" ? "max" : quota };
}

/** The share of processor time when it is scarce: cpu.shares of v1, or cpu.weight. */
export async function cpuShares(pid: number): Promise<number> {
  const file = await isUnified() ? "cpu.weight" : "cpu.shares";
  return Number(await Deno.readTextFile(`${await cgroupOf(pid, "cpu")}/${file}`));
}

/** Command lines of all processes in the container's PID namespace. */
export async function commandsIn(pid: number): Promise<string[]> {
  const namespace = await namespaceOf(pid, "pid");
  const commands: string[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (await namespaceOf(Number(name), "pid") !== namespace) continue;
      const words = (await Deno.readTextFile(`/proc/${name}/cmdline`)).split("\0").slice(0, -1);
      if (words.length > 0) commands.push(words.join(" "));
    } catch {
      // It has ended meanwhile.
    }
  }
  return commands;
}
