import { sleep } from "../base/clock.ts";
import { allPids } from "../linux/process_census.ts";
import { isAlive, signalProcess } from "../linux/process.ts";
import { sendSignal } from "../linux/spawn.ts";
import type { Processes } from "./deps.ts";
import type { ProcessIdentity } from "./types.ts";

const SIGKILL = 9;
const ROUNDS = 10;
const PAUSE_MS = 5;

/** The processes of this node. */
export class NodeProcesses implements Processes {
  isAlive(process: ProcessIdentity): boolean {
    return isAlive(process);
  }

  signal(process: ProcessIdentity, signal: number): boolean {
    return signalProcess(process, signal);
  }

  async killNaming(id: string): Promise<void> {
    // One that is killed may have started another since it was seen.
    for (let round = 0; round < ROUNDS && await killOnce(id) > 0; round++) await sleep(PAUSE_MS);
  }
}

async function killOnce(id: string): Promise<number> {
  let killed = 0;
  for (const pid of await allPids()) {
    if (pid === Deno.pid) continue;
    const named = await hasWord(`/proc/${pid}/cmdline`, id) ||
      await hasWord(`/proc/${pid}/environ`, `CNI_CONTAINERID=${id}`);
    if (named && sendSignal(pid, SIGKILL)) killed += 1;
  }
  return killed;
}

/** Whether a NUL-separated list of `/proc` has this word; kernel threads and what is gone have none. */
async function hasWord(path: string, word: string): Promise<boolean> {
  const text = await Deno.readTextFile(path).catch(() => "");
  return text.includes(word) && text.split("\0").includes(word);
}
