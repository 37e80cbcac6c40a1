import { sendSignal } from "./spawn.ts";

/** What `/proc/<pid>/stat` says of a process, proc(5). */
export interface ProcessStat {
  readonly pid: number;
  /** Name of the program, cut to 15 bytes; may hold spaces and parentheses. */
  readonly command: string;
  /** `R`, `S`, `D`, `T`, `Z` (ended, not reaped), `X` … */
  readonly state: string;
  readonly parentPid: number;
  readonly sessionId: number;
  /** Clock ticks since boot, decimal; with the pid it names a process for ever. */
  readonly startTime: string;
}

/** A process that cannot be mistaken for a later one with the same pid. */
export interface ProcessKey {
  readonly pid: number;
  readonly startTime: string;
}

const SIGKILL = 9;
const SIGSTOP = 19;
/** Rounds in which a tree that forks while it is being stopped is looked at again. */
const TREE_ROUNDS = 8;
const MAX_TREE = 65_536;

/** Parses one line of `/proc/<pid>/stat`; undefined when it is not one. The name is taken up to the last `)`. */
export function parseProcessStat(text: string): ProcessStat | undefined {
  const open = text.indexOf("(");
  const close = text.lastIndexOf(")");
  if (open < 1 || close < open) return undefined;
  const pid = Number(text.slice(0, open).trim());
  const rest = text.slice(close + 1).trim().split(" ");
  const [state, parent, , session] = rest;
  const startTime = rest[19];
  if (!Number.isInteger(pid) || pid <= 0 || state === undefined || startTime === undefined) return undefined;
  if (!/^\d+$/.test(startTime)) return undefined;
  return {
    pid,
    command: text.slice(open + 1, close),
    state,
    parentPid: Number(parent),
    sessionId: Number(session),
    startTime,
  };
}

/** Reads a process's stat line (about 20 us, from memory); undefined when there is no such process. */
export function readProcess(pid: number): ProcessStat | undefined {
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  const text = readProc(`/proc/${pid}/stat`);
  return text === undefined ? undefined : parseProcessStat(text);
}

/** Pid and start time of a process that lives now; undefined when there is none, or only its zombie. */
export function identify(pid: number): ProcessKey | undefined {
  const stat = readProcess(pid);
  return stat === undefined || hasEnded(stat) ? undefined : { pid, startTime: stat.startTime };
}

/** Whether exactly this process still runs. A zombie counts as dead: PID 1 may take its time to reap it. */
export function isAlive(process: ProcessKey): boolean {
  const stat = readProcess(process.pid);
  return stat !== undefined && stat.startTime === process.startTime && !hasEnded(stat);
}

/**
 * Sends a signal to exactly this process.
 *
 * @returns false when it has ended
 */
export function signalProcess(process: ProcessKey, signal: number): boolean {
  return isAlive(process) && sendSignal(process.pid, signal);
}

/** Pids of all living descendants of a process, nearest first; of none where the kernel has no `children` files. */
export function descendants(pid: number): number[] {
  const found: number[] = [];
  for (let next: number | undefined = pid, i = 0; next !== undefined && found.length < MAX_TREE; next = found[i++]) {
    found.push(...children(next));
  }
  return found;
}

/**
 * Kills a process with everything that it started and that is still below it. All are stopped first, so that
 * none can fork away while the others are killed.
 *
 * @returns false when the process had ended
 */
export function killTree(process: ProcessKey): boolean {
  if (!signalProcess(process, SIGSTOP)) return false;
  const tree = new Set<number>();
  for (let round = 0; round < TREE_ROUNDS; round++) {
    const fresh = descendants(process.pid).filter((pid) => !tree.has(pid));
    if (fresh.length === 0) break;
    for (const pid of fresh) {
      tree.add(pid);
      sendSignal(pid, SIGSTOP);
    }
  }
  for (const pid of tree) sendSignal(pid, SIGKILL);
  return signalProcess(process, SIGKILL);
}

function hasEnded(stat: ProcessStat): boolean {
  return stat.state === "Z" || stat.state === "X";
}

function children(pid: number): number[] {
  const found: number[] = [];
  try {
    for (const task of Deno.readDirSync(`/proc/${pid}/task`)) {
      const text = readProc(`/proc/${pid}/task/${task.name}/children`) ?? "";
      for (const word of text.split(" ")) if (word !== "") found.push(Number(word));
    }
  } catch (error) {
    if (!isGone(error)) throw error;
  }
  return found;
}

function readProc(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** The process ended before (ENOENT) or while (ESRCH) its file was read. */
function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || (error instanceof Error && error.message.includes("os error 3)"));
}
