import type { CgroupLayout } from "../linux/host.ts";

/** All directories, one for each hierarchy that is mounted, in which a cgroup exists. */
export function directoriesOf(layout: CgroupLayout, path: string): string[] {
  const mounts = new Set(layout.mode === "v2" ? [] : Object.values(layout.v1));
  if (layout.unified !== undefined) mounts.add(layout.unified);
  return [...mounts].map((mount) => below(mount, path));
}

/**
 * The directory of a cgroup in the hierarchy of one controller, as the runtimes see it; undefined when none has it.
 * On a hybrid host the runtimes use v1 only, so a controller that v2 holds there is absent.
 */
export function controllerDirectory(layout: CgroupLayout, controller: string, options: {
  readonly path: string;
}): string | undefined {
  if (layout.mode !== "v2") {
    const mount = layout.v1[controller];
    return mount === undefined ? undefined : below(mount, options.path);
  }
  const { unified } = layout;
  if (unified === undefined || !layout.unifiedControllers.includes(controller)) return undefined;
  return below(unified, options.path);
}

/** Whether the runtimes can set this controller's limits here. */
export function hasController(layout: CgroupLayout, controller: string): boolean {
  return controllerDirectory(layout, controller, { path: "/" }) !== undefined;
}

/** The directory whose `cgroup.procs` tells a cgroup's members. */
export function processDirectory(layout: CgroupLayout, path: string): string {
  for (const controller of ["freezer", "pids", "memory", "name=systemd"]) {
    const mount = layout.mode === "v2" ? undefined : layout.v1[controller];
    if (mount !== undefined) return below(mount, path);
  }
  return below(layout.unified ?? Object.values(layout.v1)[0] ?? "/sys/fs/cgroup", path);
}

/** Controllers that count what processes use; a monitor is put into these only. */
const ACCOUNTING = ["memory", "cpu", "cpuacct", "pids"];

/** The directories of a cgroup that serves only to count what its members use. */
export function accountingDirectories(layout: CgroupLayout, path: string): string[] {
  if (layout.mode === "v2") return layout.unified === undefined ? [] : [below(layout.unified, path)];
  const mounts = ACCOUNTING.map((controller) => layout.v1[controller]).filter((mount) => mount !== undefined);
  return [...new Set(mounts)].map((mount) => below(mount, path));
}

function below(mount: string, path: string): string {
  return path === "/" ? mount : mount + path;
}
