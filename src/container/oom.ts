import type { ContainerDeps } from "./deps.ts";
import type { ContainerExit } from "./exits.ts";

/**
 * An end as monitor and kernel tell it together. A monitor can miss an OOM kill that ends its container, so the kernel's
 * counter is asked as well for a container that failed, for as long as its cgroup is there (with systemd some milliseconds).
 */
export async function withKernelsOom(
  { records, cgroups }: Pick<ContainerDeps, "records" | "cgroups">,
  exit: ContainerExit,
): Promise<ContainerExit> {
  const record = records.get(exit.id);
  if (exit.oomKilled || exit.exitCode === 0 || record === undefined) return exit;
  // An end is recorded whatever the counter's file does.
  const kills = await cgroups.oomKills(record.cgroupParent, record.id).catch(() => undefined);
  return { ...exit, oomKilled: (kills ?? 0) > 0 };
}
