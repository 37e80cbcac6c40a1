/** Mount points below a directory, deepest last. */
export async function mountsBelow(directory: string): Promise<string[]> {
  const lines = (await Deno.readTextFile("/proc/self/mountinfo")).split("\n");
  return lines.map((line) => line.split(" ")[4] ?? "").filter((mount) => mount.startsWith(`${directory}/`));
}

/** Removes a directory that daemons used, with whatever is still mounted below it. */
export async function removeTree(directory: string): Promise<void> {
  for (const path of (await mountsBelow(directory)).reverse()) {
    await new Deno.Command("umount", { args: ["-l", path], stderr: "null" }).output();
  }
  await new Deno.Command("rm", { args: ["-rf", "--one-file-system", directory] }).output();
}

/** Kills what still runs; a pid that is gone is fine. */
export function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      Deno.kill(pid, "SIGKILL");
    } catch {
      // It has ended already.
    }
  }
}
