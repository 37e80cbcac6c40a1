/** A cgroup of this test run's own, in every hierarchy: parent of the pods that it makes. */
export class CgroupParent implements AsyncDisposable {
  private constructor(
    /** As a kubelet writes it: `/name`, and with systemd `/name.slice`. */
    readonly path: string,
    private readonly directories: readonly string[],
    private readonly slice?: string,
  ) {}

  /** Makes it; on v2 the controllers of the root are handed down. A slice is made by systemd with its first unit. */
  static async create(name: string, manager: "cgroupfs" | "systemd" = "cgroupfs"): Promise<CgroupParent> {
    if (manager === "systemd") {
      // A dash would make it two slices.
      const slice = `${name.replaceAll("-", "")}.slice`;
      const mounts = await cgroupMounts();
      return new CgroupParent(`/${slice}`, mounts.map(({ mountPoint }) => `${mountPoint}/${slice}`), slice);
    }
    const directories: string[] = [];
    for (const { mountPoint, type } of await cgroupMounts()) {
      const directory = `${mountPoint}/${name}`;
      // Hierarchies that were mounted read-only or hidden by something later have no pods either.
      if (!(await made(directory))) continue;
      directories.push(directory);
      if (mountPoint.endsWith("/cpuset") && type === "cgroup") await inheritCpuset(mountPoint, directory);
      if (type === "cgroup2") await handDownControllers(mountPoint, directory);
    }
    return new CgroupParent(`/${name}`, directories);
  }

  /** Directories of cgroups below this one that still exist, and with systemd units of containers that it still knows. */
  async leftovers(): Promise<string[]> {
    const found: string[] = this.slice === undefined ? [] : await containerUnits();
    for (const directory of this.directories) {
      for await (const child of children(directory)) found.push(child);
    }
    return found;
  }

  /** Removes it with everything below it; processes inside are killed. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.slice !== undefined) await systemctl("stop", this.slice);
    for (const directory of this.directories) await removeTree(directory);
  }
}

async function containerUnits(): Promise<string[]> {
  const text = await systemctl("list-units", "--all", "--plain", "--no-legend", "crio-*.scope");
  return text.split("\n").filter(Boolean).map((line) => `unit ${line}`);
}

async function systemctl(...args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command("systemctl", { args, stderr: "null" }).output();
  return new TextDecoder().decode(stdout);
}

async function cgroupMounts(): Promise<{ mountPoint: string; type: string }[]> {
  const lines = (await Deno.readTextFile("/proc/self/mountinfo")).trim().split("\n");
  return lines.map((line) => {
    const [before = "", after = ""] = line.split(" - ");
    return { mountPoint: before.split(" ")[4] ?? "", type: after.split(" ")[0] ?? "" };
  }).filter(({ type }) => type === "cgroup" || type === "cgroup2");
}

async function made(directory: string): Promise<boolean> {
  try {
    await Deno.mkdir(directory, { recursive: true });
    return true;
  } catch {
    return false;
  }
}

async function inheritCpuset(from: string, to: string): Promise<void> {
  for (const file of ["cpuset.cpus", "cpuset.mems"]) {
    const parent = await Deno.readTextFile(`${from}/${file}`).catch(() => undefined);
    const own = await Deno.readTextFile(`${to}/${file}`).catch(() => undefined);
    if (parent !== undefined && own?.trim() === "") await Deno.writeTextFile(`${to}/${file}`, parent);
  }
}

async function handDownControllers(root: string, directory: string): Promise<void> {
  const controllers = (await Deno.readTextFile(`${root}/cgroup.controllers`)).trim().split(/\s+/).filter(Boolean);
  for (const controller of controllers) {
    // One that the root does not hand down (processes in a non-root "root") is simply not there for the pods.
    await Deno.writeTextFile(`${root}/cgroup.subtree_control`, `+${controller}`).catch(() => {});
    await Deno.writeTextFile(`${directory}/cgroup.subtree_control`, `+${controller}`).catch(() => {});
  }
}

async function* children(directory: string): AsyncGenerator<string> {
  const names: string[] = [];
  try {
    for await (const entry of Deno.readDir(directory)) if (entry.isDirectory) names.push(entry.name);
  } catch {
    return;
  }
  for (const name of names) {
    yield* children(`${directory}/${name}`);
    yield `${directory}/${name}`;
  }
}

async function removeTree(directory: string): Promise<void> {
  for await (const child of children(directory)) await removeOne(child);
  await removeOne(directory);
}

/** A killed process leaves its cgroup a little later: rmdir says EBUSY until then. */
async function removeOne(directory: string): Promise<void> {
  const ATTEMPTS = 40;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const procs = await Deno.readTextFile(`${directory}/cgroup.procs`).catch(() => "");
    for (const pid of procs.split("\n").filter(Boolean).map(Number)) kill(pid);
    try {
      await Deno.remove(directory);
      return;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

function kill(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch {
    // It has ended already.
  }
}
