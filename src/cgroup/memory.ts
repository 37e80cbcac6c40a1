import type { CgroupLayout } from "../linux/host.ts";
import { controllerDirectory } from "./hierarchies.ts";

/**
 * How many processes of a cgroup the kernel's out-of-memory killer has ended; undefined once the cgroup is gone.
 * v2: `memory.events`, v1: `memory.oom_control` (Linux 4.13), both documented in the kernel's admin-guide.
 */
export async function oomKills(layout: CgroupLayout, path: string): Promise<number | undefined> {
  const directory = controllerDirectory(layout, "memory", { path });
  if (directory === undefined) return undefined;
  const file = layout.mode === "v2" ? "memory.events" : "memory.oom_control";
  try {
    return parseOomKills(await Deno.readTextFile(`${directory}/${file}`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || isRemoved(error)) return undefined;
    throw error;
  }
}

/** Bytes of memory that a cgroup uses, page cache included; undefined when it is gone. */
export async function memoryUsageBytes(layout: CgroupLayout, path: string): Promise<number | undefined> {
  const directory = controllerDirectory(layout, "memory", { path });
  if (directory === undefined) return undefined;
  const file = layout.mode === "v2" ? "memory.current" : "memory.usage_in_bytes";
  try {
    return Number(await Deno.readTextFile(`${directory}/${file}`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || isRemoved(error)) return undefined;
    throw error;
  }
}

/** The `oom_kill` counter among `key value` lines; 0 where there is none. */
export function parseOomKills(text: string): number {
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}

/** ENODEV: the cgroup went away between open and read. */
function isRemoved(error: unknown): boolean {
  return error instanceof Error && error.message.includes("os error 19)");
}
