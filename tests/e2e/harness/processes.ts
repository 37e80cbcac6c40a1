/** One process as /proc shows it. */
export interface ProcessInfo {
  readonly pid: number;
  readonly parentPid: number;
  /** The argument vector; empty for a kernel thread or a zombie. */
  readonly argv: readonly string[];
  /** One letter: R, S, D, Z … */
  readonly state: string;
  /** utime + stime + those of reaped children, in milliseconds. */
  readonly cpuMs: number;
}

/** USER_HZ of every Linux that this runs on. */
const MS_PER_TICK = 10;

/** All processes that can be read now; those that end meanwhile are left out. */
export function listProcesses(): ProcessInfo[] {
  const found: ProcessInfo[] = [];
  for (const entry of Deno.readDirSync("/proc")) {
    const process = /^\d+$/.test(entry.name) ? readProcess(Number(entry.name)) : undefined;
    if (process !== undefined) found.push(process);
  }
  return found;
}

/** One process, or undefined when it is gone. */
export function readProcess(pid: number): ProcessInfo | undefined {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    // proc(5): the name stands in parentheses and may hold anything; fields are counted from behind it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const argv = Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0").slice(0, -1);
    const ticks = fields.slice(11, 15).reduce((total, field) => total + Number(field), 0);
    return { pid, parentPid: Number(fields[1]), argv, state: fields[0] ?? "", cpuMs: ticks * MS_PER_TICK };
  } catch {
    return undefined;
  }
}

/**
 * The processes of one runtime: the daemon, its descendants, and every other process one of whose arguments names
 * `directory` (monitors and shims are no children of the daemon). What runs inside containers is not among them.
 */
export function runtimeProcesses(daemonPid: number, directory: string): ProcessInfo[] {
  const all = listProcesses();
  const tree = new Set([daemonPid]);
  for (let grown = true; grown;) {
    grown = false;
    for (const { pid, parentPid } of all) {
      if (tree.has(parentPid) && !tree.has(pid)) {
        tree.add(pid);
        grown = true;
      }
    }
  }
  const inside = `${directory}/`;
  return all.filter(({ pid, argv }) =>
    pid !== Deno.pid && (tree.has(pid) || argv.some((argument) => argument.includes(inside)))
  );
}

/** Proportional set size of a process in bytes; 0 when it is gone. */
export function pssBytes(pid: number): number {
  try {
    const rollup = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
    return Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
