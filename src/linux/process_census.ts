import { cString, lazyLibc } from "./_libc.ts";
import { readProcess } from "./process.ts";

const libc = lazyLibc({ readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" } });

/** What processes hold open. */
export interface ProcessCensus {
  /** Those that live, zombies among them. */
  readonly processes: number;
  readonly fileDescriptors: number;
  readonly sockets: number;
}

/** Links of one step: some hundred microseconds. */
const LINKS_OF_A_STEP = 16;
/** How links to sockets begin: `socket:[123]`. */
const SOCKET = new TextEncoder().encode("socket:");

/**
 * Counts the open files of processes by their `/proc/<pid>/fd`, a piece at a time: between two steps the caller lets
 * others have the thread. A process that ends meanwhile is left out.
 */
export function* countOpenFiles(pids: Iterable<number>): Generator<void, ProcessCensus> {
  let [processes, fileDescriptors, sockets] = [0, 0, 0];
  const link = new Uint8Array(SOCKET.length);
  for (const pid of pids) {
    const names = openFiles(pid);
    yield;
    if (names === undefined) continue;
    processes += 1;
    fileDescriptors += names.length;
    for (const [at, name] of names.entries()) {
      if (isSocket(`/proc/${pid}/fd/${name}`, link)) sockets += 1;
      if (at % LINKS_OF_A_STEP === LINKS_OF_A_STEP - 1) yield;
    }
  }
  return { processes, fileDescriptors, sockets };
}

/** Every process of this PID namespace. */
export async function allPids(): Promise<number[]> {
  const pids: number[] = [];
  for await (const { name } of Deno.readDir("/proc")) if (/^\d+$/.test(name)) pids.push(Number(name));
  return pids;
}

/**
 * Counts processes that have ended and that nobody has reaped, one process a step. A living program is known by its
 * `exe` link, which a zombie has not; only for the others (kernel threads too) is the dearer `stat` read.
 */
export function* countZombies(pids: Iterable<number>): Generator<void, number> {
  const target = new Uint8Array(1);
  let zombies = 0;
  for (const pid of pids) {
    // FFI readlink(2): both buffers live over the call; /proc answers from memory.
    const length = libc().readlink(cString(`/proc/${pid}/exe`), target, BigInt(target.length));
    if (length <= 0 && readProcess(pid)?.state === "Z") zombies += 1;
    yield;
  }
  return zombies;
}

/**
 * The soft limit of open files of a process, by `/proc/<pid>/limits`; undefined when it is gone or has no limit.
 */
export function openFilesLimit(pid: number): number | undefined {
  try {
    const digits = /^Max open files\s+(\d+)\s/m.exec(Deno.readTextFileSync(`/proc/${pid}/limits`))?.[1];
    return digits === undefined ? undefined : Number(digits);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function openFiles(pid: number): string[] | undefined {
  try {
    return [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => name);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** A link that cannot be read is none to a socket: the file was closed, or its process is gone. */
function isSocket(path: string, link: Uint8Array<ArrayBuffer>): boolean {
  // FFI readlink(2): both buffers live over the call; /proc answers from memory. A fifth of what Deno.readLinkSync costs.
  const length = libc().readlink(cString(path), link, BigInt(link.length));
  return Number(length) >= SOCKET.length && SOCKET.every((byte, at) => link[at] === byte);
}

/** ENOENT or ESRCH: the process, or the file, is no more. EACCES: it is, and its files are not ours to see. */
function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied ||
    (error instanceof Error && /os error (3|13)\)/.test(error.message));
}
