import { isAlive, signalProcess } from "../linux/process.ts";
import { sendSignal } from "../linux/spawn.ts";
import type { Processes } from "./deps.ts";
import type { ProcessIdentity } from "./types.ts";

const SIGKILL = 9;

/** The processes of this node. */
export class NodeProcesses implements Processes {
  isAlive(process: ProcessIdentity): boolean {
    return isAlive(process);
  }

  signal(process: ProcessIdentity, signal: number): boolean {
    return signalProcess(process, signal);
  }

  async killNaming(id: string): Promise<void> {
    for await (const entry of Deno.readDir("/proc")) {
      const pid = Number(entry.name);
      if (!Number.isInteger(pid) || pid === Deno.pid) continue;
      const commandLine = await Deno.readTextFile(`/proc/${pid}/cmdline`).catch(() => "");
      if (commandLine.split("\0").includes(id)) sendSignal(pid, SIGKILL);
    }
  }
}
