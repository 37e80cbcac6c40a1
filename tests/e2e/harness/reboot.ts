import { killAll, mountsBelow } from "./cleanup.ts";
import type { Lab } from "./lab.ts";

/** What a reboot does to a node: processes, mounts and everything below /run are gone. The daemon is not started again. */
export async function powerCut(lab: Lab, pids: readonly number[]): Promise<void> {
  const { daemon, directory } = lab;
  const monitors = daemon.processes().map(({ pid }) => pid).filter((pid) => pid !== daemon.pid);
  await daemon.stop("SIGKILL");
  killAll([...monitors, ...pids]);
  for (const path of (await mountsBelow(directory)).toReversed()) {
    await new Deno.Command("umount", { args: ["-l", path], stderr: "null" }).output();
  }
  for (const volatile of ["runroot", "exits", "attach", "ns", "crun", "runc", "version", "crio-wipe-done"]) {
    await Deno.remove(`${directory}/${volatile}`, { recursive: true }).catch(() => {});
  }
  await new Deno.Command("ip", { args: ["link", "delete", "crioe2e0"], stderr: "null" }).output();
}
