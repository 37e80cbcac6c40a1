import { checked, cString, errno, lazyLibc } from "./_libc.ts";
import { atStage } from "../base/errors.ts";
import type { NamespaceKind, PinnedKind } from "./namespaces.ts";

const libc = lazyLibc({
  setns: { parameters: ["i32", "i32"], result: "i32" },
  open: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
  abort: { parameters: [], result: "void" },
});

export const O_RDONLY = 0;
export const O_WRONLY = 1;
const O_CLOEXEC = 0o2000000;

/** clone(2) flag, name under /proc/PID/ns, and directory of the pins, as CRI-O lays them out. */
export const KINDS: Readonly<Record<NamespaceKind, { flag: number; file: string; directory: string }>> = {
  network: { flag: 0x40000000, file: "net", directory: "netns" },
  ipc: { flag: 0x08000000, file: "ipc", directory: "ipcns" },
  uts: { flag: 0x04000000, file: "uts", directory: "utsns" },
  pid: { flag: 0x20000000, file: "pid", directory: "pidns" },
  user: { flag: 0x10000000, file: "user", directory: "userns" },
};

/** Runs `body`, which may change these namespaces of the thread, and puts the thread back in every case. */
export function inWindow<T>(kinds: readonly PinnedKind[], body: () => T): T {
  using files = new DisposableStack();
  const homes = kinds.map((kind) => {
    const { file, flag } = KINDS[kind];
    return { kind, flag, fd: files.adopt(openPath(`/proc/thread-self/ns/${file}`, O_RDONLY), closeFd) };
  });
  try {
    return body();
  } finally {
    for (const { kind, flag, fd } of homes) {
      // FFI setns(2): cannot block.
      if (libc().setns(fd, flag) === -1) die(`cannot return to the ${kind} namespace: errno ${errno()}`);
    }
  }
}

/** A daemon thread in a pod's namespace would give pods' rights and addresses to everything that it does later. */
function die(message: string): void {
  const bytes = new TextEncoder().encode(`fatal: ${message}; aborting, containers keep running\n`);
  libc().write(2, bytes, BigInt(bytes.length));
  libc().abort();
}

/** Puts the calling thread into the namespace that this file stands for; to be called within {@link inWindow} only. */
export function enterNamespace(path: string, kind: PinnedKind): void {
  const fd = openPath(path, O_RDONLY);
  try {
    // FFI setns(2): cannot block.
    checked(libc().setns(fd, KINDS[kind].flag), "setns", path);
  } finally {
    closeFd(fd);
  }
}

/** Names the step in which something failed. */
export function stage(name: string, step: () => void): void {
  try {
    step();
  } catch (error) {
    throw atStage(name, error);
  }
}

/** Opens a file of /proc or a pin of a namespace. */
export function openPath(path: string, flags: number): number {
  // FFI open(2): of /proc files and namespace pins, which need no device; the string outlives the call.
  return checked(libc().open(cString(path), flags | O_CLOEXEC, 0), "open", path);
}

export function closeFd(fd: number): void {
  libc().close(fd);
}
