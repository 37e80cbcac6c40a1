import { FailedPreconditionError } from "../base/errors.ts";
import { sleep } from "../base/clock.ts";
import type { CgroupLayout } from "../linux/host.ts";
import { sendSignal } from "../linux/spawn.ts";
import { accountingDirectories, directoriesOf, processDirectory } from "./hierarchies.ts";

const SIGKILL = 9;
/** How long members may take to go after SIGKILL before a removal gives up. */
const EMPTY_MS = 5000;
const FIRST_LOOK_MS = 1;
const LAST_LOOK_MS = 50;
/** Depth of nested cgroups that a removal follows; a container can nest its own. */
const MAX_DEPTH = 64;

export interface WaitOptions {
  readonly signal?: AbortSignal;
  /** Default 5000. */
  readonly timeoutMs?: number;
}

/**
 * Cgroups in all mounted hierarchies at once. Paths are absolute, below each mount point, as `podCgroup` and
 * `containerCgroup` give them.
 */
export class CgroupTree {
  constructor(readonly layout: CgroupLayout) {}

  /**
   * Makes a cgroup with its parents in each hierarchy. Idempotent.
   *
   * @returns whether any directory had to be made
   * @throws Error when a hierarchy is read-only or full
   */
  async create(path: string): Promise<boolean> {
    const made = await Promise.all(directoriesOf(this.layout, path).map(makeDirectory));
    return made.some(Boolean);
  }

  async exists(path: string): Promise<boolean> {
    return (await Promise.all(directoriesOf(this.layout, path).map(isDirectory))).some(Boolean);
  }

  /**
   * Moves a process into a cgroup, in the hierarchies where the cgroup exists. A v1 cpuset without CPUs takes nobody
   * and is left out.
   */
  async addProcess(path: string, pid: number): Promise<void> {
    const cpuset = this.layout.v1["cpuset"];
    const own = directoriesOf(this.layout, path).filter((dir) => cpuset === undefined || !dir.startsWith(`${cpuset}/`));
    await Promise.all(own.map((dir) => writeIfThere(`${dir}/cgroup.procs`, String(pid))));
  }

  /**
   * Puts a process into a cgroup that only counts what it uses: fewer hierarchies than `create`, which with cgroup v1
   * saves two thirds of some forty file operations for each container.
   */
  async account(path: string, pid: number): Promise<void> {
    await Promise.all(
      accountingDirectories(this.layout, path).map(async (directory) => {
        await makeLeaf(directory);
        await writeIfThere(`${directory}/cgroup.procs`, String(pid));
      }),
    );
  }

  /** As {@link account}, without a process. */
  async createAccount(path: string): Promise<void> {
    await Promise.all(accountingDirectories(this.layout, path).map(makeLeaf));
  }

  /** Removes what `account` and `createAccount` made. Absent is fine. @throws as {@link remove} */
  async removeAccount(path: string): Promise<void> {
    const directories = accountingDirectories(this.layout, path);
    const removed = await Promise.all(directories.map(removeLeaf));
    if (!removed.every(Boolean)) await this.remove(path);
  }

  /**
   * Removes a cgroup that its runtime has removed already, as a rule; then one look is enough.
   *
   * @throws as {@link remove}
   */
  async removeLeftover(path: string): Promise<void> {
    if (isThere(processDirectory(this.layout, path))) await this.remove(path);
  }

  /** Pids in a cgroup and in all below it; none when it does not exist. */
  processes(path: string): Promise<number[]> {
    return processesBelow(processDirectory(this.layout, path));
  }

  /**
   * Kills all processes of a cgroup and of those below it, frozen ones too, and waits until they are gone.
   *
   * @throws FailedPreconditionError when some stay (a process in an uninterruptible wait)
   */
  async kill(path: string, options: WaitOptions = {}): Promise<void> {
    const directory = processDirectory(this.layout, path);
    if (this.layout.mode === "v2" && await writeIfThere(`${directory}/cgroup.kill`, "1")) {
      await this.#waitEmpty(path, options);
      return;
    }
    for (const pid of await this.processes(path)) sendSignal(pid, SIGKILL);
    const freezer = this.layout.v1["freezer"];
    if (freezer !== undefined) await thawBelow(`${freezer}${path}`);
    await this.#waitEmpty(path, { ...options, killAgain: true });
  }

  /**
   * Removes a cgroup and those below it from each hierarchy, once their last members have gone. Absent is fine.
   *
   * @throws FailedPreconditionError when processes stay longer than the timeout; names them
   */
  async remove(path: string, options: WaitOptions = {}): Promise<void> {
    if (path === "/") throw new FailedPreconditionError("remove cgroup /: the root cgroup stays");
    const directories = directoriesOf(this.layout, path);
    const removed = await Promise.all(directories.map((dir) => removeDirectory(dir)));
    if (removed.every(Boolean)) return;
    await this.#waitEmpty(path, options);
    const again = await Promise.all(directories.map((dir) => removeWithRetry(dir, options)));
    if (!again.every(Boolean)) throw new FailedPreconditionError(`remove cgroup ${path}: it is still in use`);
  }

  async #waitEmpty(path: string, options: WaitOptions & { readonly killAgain?: boolean }): Promise<void> {
    const { signal, timeoutMs = EMPTY_MS, killAgain = false } = options;
    const deadline = performance.now() + timeoutMs;
    // cgroup v1 tells nobody when a cgroup becomes empty, and v2's event comes per directory: so look, ever slower.
    for (let pauseMs = FIRST_LOOK_MS;; pauseMs = Math.min(pauseMs * 2, LAST_LOOK_MS)) {
      const pids = await this.processes(path);
      if (pids.length === 0) return;
      if (killAgain) { for (const pid of pids) sendSignal(pid, SIGKILL); }
      if (performance.now() >= deadline) {
        throw new FailedPreconditionError(
          `cgroup ${path}: processes ${pids.slice(0, 10).join(", ")} have not ended after ${timeoutMs} ms`,
        );
      }
      await sleep(pauseMs, signal === undefined ? {} : { signal });
    }
  }
}

async function makeDirectory(directory: string): Promise<boolean> {
  if (await isDirectory(directory)) return false;
  await Deno.mkdir(directory, { recursive: true });
  return true;
}

/** Makes one directory; its parents only when they are missing. */
async function makeLeaf(directory: string): Promise<void> {
  try {
    await Deno.mkdir(directory);
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    await Deno.mkdir(directory, { recursive: true });
  }
}

/** In memory, some microseconds: not worth a trip to the thread pool. */
function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** @returns false when the file, or what it belongs to, is gone */
async function writeIfThere(path: string, text: string): Promise<boolean> {
  try {
    await Deno.writeTextFile(path, text, { create: false });
    return true;
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

/** A frozen v1 cgroup keeps its processes from dying, and each level has a switch of its own. */
async function thawBelow(directory: string, depth = 0): Promise<void> {
  await writeIfThere(`${directory}/freezer.state`, "THAWED");
  if (depth >= MAX_DEPTH) return;
  for (const child of await subdirectories(directory)) await thawBelow(child, depth + 1);
}

async function processesBelow(directory: string, depth = 0): Promise<number[]> {
  let text: string;
  try {
    text = await Deno.readTextFile(`${directory}/cgroup.procs`);
  } catch (error) {
    // EOPNOTSUPP: a threaded v2 cgroup, whose processes its parent lists.
    if (!isGone(error) && !isOsError(error, 95)) throw error;
    text = "";
  }
  const own = text.split("\n").filter((line) => line !== "").map(Number).filter((pid) => pid > 0);
  if (depth >= MAX_DEPTH) return own;
  const nested = await Promise.all((await subdirectories(directory)).map((dir) => processesBelow(dir, depth + 1)));
  return [own, ...nested].flat();
}

async function subdirectories(directory: string): Promise<string[]> {
  const found: string[] = [];
  try {
    for await (const entry of Deno.readDir(directory)) if (entry.isDirectory) found.push(`${directory}/${entry.name}`);
  } catch (error) {
    if (!isGone(error)) throw error;
  }
  return found;
}

/** @returns false when the directory is in use */
async function removeDirectory(directory: string, depth = 0): Promise<boolean> {
  if (await removeLeaf(directory)) return true;
  if (depth >= MAX_DEPTH) return false;
  for (const child of await subdirectories(directory)) await removeDirectory(child, depth + 1);
  return removeLeaf(directory);
}

async function removeLeaf(directory: string): Promise<boolean> {
  try {
    await Deno.remove(directory);
    return true;
  } catch (error) {
    if (isGone(error)) return true;
    if (error instanceof Deno.errors.Busy || isOsError(error, 16) || isOsError(error, 39)) return false;
    throw error;
  }
}

/** A process that has just left is still counted for an instant in some hierarchies. */
async function removeWithRetry(directory: string, { signal }: WaitOptions): Promise<boolean> {
  for (let pauseMs = FIRST_LOOK_MS; pauseMs <= 4 * LAST_LOOK_MS; pauseMs *= 2) {
    if (await removeDirectory(directory)) return true;
    await sleep(pauseMs, signal === undefined ? {} : { signal });
  }
  return removeDirectory(directory);
}

/** ENOENT, or ENODEV for a file of a cgroup that was just removed. */
function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || isOsError(error, 19);
}

function isOsError(error: unknown, errno: number): boolean {
  return error instanceof Error && error.message.includes(`os error ${errno})`);
}
