import { killAll, removeTree } from "./harness/cleanup.ts";
import { CgroupParent } from "./harness/cgroup_parent.ts";
import { CriClient } from "./harness/cri_client.ts";
import { removeAllPods } from "./harness/pods.ts";
import { readProcess, runtimeProcesses } from "./harness/processes.ts";
import { say } from "./demo_steps.ts";

const PARENT = "/var/tmp";
const PREFIX = "crio-demo-";

/** What has to be ended later. */
interface Notes {
  readonly registryPid?: number;
  readonly daemonPid?: number;
  readonly socketPath?: string;
  /** With a leading slash. */
  readonly cgroup?: string;
}

/** A directory for one run. Overlay cannot lie on overlay (inside containers): then it is a tmpfs. */
export async function makeDemoDirectory(): Promise<string> {
  const directory = await Deno.makeTempDir({ dir: PARENT, prefix: PREFIX });
  const { stdout } = await new Deno.Command("stat", { args: ["-f", "-c", "%T", directory] }).output();
  if (new TextDecoder().decode(stdout).trim() !== "overlayfs") return directory;
  const mounted = await new Deno.Command("mount", { args: ["-t", "tmpfs", "crio-demo", directory] }).output();
  if (!mounted.success) throw new Error(`${directory} lies on overlayfs, and a tmpfs cannot be mounted there`);
  return directory;
}

/** The memory of a demonstration that stays: a file in its directory. */
export class Kept {
  #notes: Notes = {};

  constructor(private readonly directory: string) {}

  async note(notes: Notes): Promise<void> {
    this.#notes = { ...this.#notes, ...notes };
    await Deno.writeTextFile(`${this.directory}/kept.json`, JSON.stringify(this.#notes));
  }

  explain(): void {
    say(`
crio stays, with its pod. Try:

  export CONTAINER_RUNTIME_ENDPOINT=unix://${this.#notes.socketPath ?? ""}
  scripts/crictl version
  scripts/crictl pods
  scripts/crictl ps
  scripts/crictl exec -s CONTAINER ls /
  scripts/crictl logs CONTAINER

its log: ${this.directory}/crio/daemon.log
to end it: scripts/demo --stop`);
  }
}

/** Ends and removes everything that runs with `--keep` left. */
export async function stopKept(bridge: string): Promise<void> {
  let found = 0;
  for await (const entry of Deno.readDir(PARENT)) {
    if (!entry.name.startsWith(PREFIX)) continue;
    found++;
    await stopOne(`${PARENT}/${entry.name}`);
  }
  await new Deno.Command("ip", { args: ["link", "delete", bridge], stderr: "null" }).output();
  say(found === 0 ? "nothing was left running" : "stopped and removed");
}

async function stopOne(directory: string): Promise<void> {
  const text = await Deno.readTextFile(`${directory}/kept.json`).catch(() => "{}");
  const notes: Notes = JSON.parse(text);
  if (notes.socketPath !== undefined) {
    using client = new CriClient(notes.socketPath);
    const TIMEOUT_MS = 30_000;
    await Promise.race([
      removeAllPods(client).catch((error) => say(`pods could not be removed: ${error.message}`)),
      new Promise((resolve) => setTimeout(resolve, TIMEOUT_MS)),
    ]);
  }
  await endDaemon(notes.daemonPid, directory);
  if (isOurs(notes.registryPid, "registry_main.ts")) killAll([notes.registryPid ?? 0]);
  if (notes.cgroup !== undefined) {
    await using _cgroup = await CgroupParent.create(notes.cgroup.slice(1));
  }
  await removeTree(directory);
  // A tmpfs on the directory itself.
  await new Deno.Command("umount", { args: [directory], stderr: "null" }).output();
  await new Deno.Command("rmdir", { args: [directory], stderr: "null" }).output();
}

async function endDaemon(pid: number | undefined, directory: string): Promise<void> {
  if (isOurs(pid, directory)) {
    Deno.kill(pid ?? 0, "SIGTERM");
    const untilMs = performance.now() + 10_000;
    while (isOurs(pid, directory) && performance.now() < untilMs) await new Promise((next) => setTimeout(next, 20));
  }
  const monitors = runtimeProcesses(-1, directory).filter(({ argv }) => /(^|\/)conmon$/.test(argv[0] ?? ""));
  killAll(monitors.map((process) => process.pid));
}

/** Whether the pid still belongs to what it was noted for. */
function isOurs(pid: number | undefined, part: string): boolean {
  const process = pid === undefined ? undefined : readProcess(pid);
  return process !== undefined && process.state !== "Z" && process.argv.some((argument) => argument.includes(part));
}
