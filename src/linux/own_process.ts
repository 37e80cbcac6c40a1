/** What a process uses, for the daemon's metrics: read from `/proc`, nothing is kept. */
import { lazyLibc } from "./_libc.ts";
import { openFilesLimit } from "./process_census.ts";

const libc = lazyLibc({ sysconf: { parameters: ["i32"], result: "i64" } });

/** sysconf(3) of glibc, bits/confname.h. */
const SC_CLK_TCK = 2;
const SC_PAGESIZE = 30;
/** Fields of `/proc/<pid>/stat` behind the name, proc(5). */
const USER_TIME = 11;
const SYSTEM_TIME = 12;
const VIRTUAL_BYTES = 20;
const RESIDENT_PAGES = 21;

/** What a process uses. */
export interface OwnFigures {
  readonly cpuSeconds: number;
  readonly virtualBytes: number;
  readonly residentBytes: number;
}

/** Undefined when there is no such process. @param pid a number, or `self` */
export async function ownFigures(pid: number | "self"): Promise<OwnFigures | undefined> {
  const text = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => undefined);
  if (text === undefined) return undefined;
  const fields = text.slice(text.lastIndexOf(")") + 1).trim().split(" ").map(Number);
  const [user = 0, system = 0] = [fields[USER_TIME], fields[SYSTEM_TIME]];
  return {
    cpuSeconds: (user + system) / sysconf(SC_CLK_TCK),
    virtualBytes: fields[VIRTUAL_BYTES] ?? 0,
    residentBytes: (fields[RESIDENT_PAGES] ?? 0) * sysconf(SC_PAGESIZE),
  };
}

/** Open files of this process, and how many it may have: undefined where there is no limit. */
export async function ownFiles(): Promise<{ readonly open: number; readonly limit?: number }> {
  let open = 0;
  for await (const _ of Deno.readDir("/proc/self/fd")) open += 1;
  const limit = openFilesLimit(Deno.pid);
  // Minus the directory that was just read.
  return { open: open - 1, ...(limit === undefined ? {} : { limit }) };
}

function sysconf(name: number): number {
  // FFI sysconf(3): takes and gives numbers.
  return Number(libc().sysconf(name));
}
