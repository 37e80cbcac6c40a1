import { checked, cString, lazyLibc } from "./_libc.ts";
import { OwnedFd } from "./pipe.ts";

const libc = lazyLibc({
  posix_openpt: { parameters: ["i32"], result: "i32" },
  unlockpt: { parameters: ["i32"], result: "i32" },
  ptsname_r: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  tcgetattr: { parameters: ["i32", "buffer"], result: "i32" },
  cfmakeraw: { parameters: ["buffer"], result: "void" },
  tcsetattr: { parameters: ["i32", "i32", "buffer"], result: "i32" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  syscall: { parameters: ["i64", "i64", "i64", "i64"], result: "i64" },
});

const O_RDWR = 2;
const O_NOCTTY = 0o400;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
/** sizeof(struct termios) of glibc is 60; bits/termios-struct.h. */
const TERMIOS_BYTES = 64;
const TCSANOW = 0;
/** asm-generic/ioctls.h, the same on x86_64 and aarch64. */
const TIOCSWINSZ = 0x5414n;
const NAME_BYTES = 128;
/** asm-generic/unistd.h; both have the same number on every architecture. glibc has names for them from 2.36 on. */
const SYS_PIDFD_OPEN = 434n;
const SYS_PIDFD_GETFD = 438n;

/** A pseudo-terminal: our side, and the path of the side that a program gets. */
export interface Terminal {
  readonly master: OwnedFd;
  readonly path: string;
  /** Holds the program's side open, so that ours does not end before the program has opened it. */
  readonly slave: OwnedFd;
}

/**
 * Makes a pseudo-terminal in raw mode: it passes bytes on as they are. For runtimes, which make another terminal inside
 * the container and relay.
 *
 * @throws ErrnoError such as ENOSPC (no more terminals)
 */
export function openTerminal(): Terminal {
  using undo = new DisposableStack();
  const c = libc();
  // FFI posix_openpt(3), unlockpt(3), ptsname_r(3), open(2) of a terminal that exists: none waits.
  const fd = checked(c.posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC), "posix_openpt");
  const master = undo.use(new OwnedFd(fd));
  checked(c.unlockpt(fd), "unlockpt");
  const name = new Uint8Array(NAME_BYTES);
  checked(c.ptsname_r(fd, name, BigInt(NAME_BYTES)) === 0 ? 0 : -1, "ptsname");
  const path = new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
  const slave = undo.use(new OwnedFd(checked(c.open(cString(path), O_RDWR | O_NOCTTY | O_CLOEXEC), "open", path)));
  // FFI tcgetattr(3), cfmakeraw(3), tcsetattr(3): fill and read `termios` during the call.
  const termios = new Uint8Array(TERMIOS_BYTES);
  checked(c.tcgetattr(slave.fd, termios), "tcgetattr", path);
  c.cfmakeraw(termios);
  checked(c.tcsetattr(slave.fd, TCSANOW, termios), "tcsetattr", path);
  undo.move();
  return { master, path, slave };
}

/**
 * Sets the size of a terminal, in characters; the kernel tells its program by SIGWINCH.
 *
 * @param fd either side
 * @throws ErrnoError
 */
export function setTerminalSize(fd: number, size: { readonly width: number; readonly height: number }): void {
  // struct winsize of asm-generic/termios.h: rows, columns, and two fields in pixels. FFI ioctl(2): sets four numbers.
  checked(libc().ioctl(fd, TIOCSWINSZ, new Uint16Array([size.height, size.width, 0, 0])), "ioctl TIOCSWINSZ");
}

/**
 * Sets the size of each terminal that a process of ours is the master of, as a runtime is of the one inside the
 * container. Not every runtime passes a new size on by itself. Nothing happens when the process is gone or has none.
 */
export function resizeTerminalsOf(pid: number, size: { readonly width: number; readonly height: number }): void {
  for (const number of masterFds(pid)) {
    // FFI pidfd_open(2), pidfd_getfd(2): look a process and one of its descriptors up; neither waits. -1: it is gone.
    const process = Number(libc().syscall(SYS_PIDFD_OPEN, BigInt(pid), 0n, 0n));
    if (process === -1) return;
    using _process = new OwnedFd(process);
    const copy = Number(libc().syscall(SYS_PIDFD_GETFD, BigInt(process), BigInt(number), 0n));
    if (copy === -1) continue;
    using master = new OwnedFd(copy);
    libc().ioctl(master.fd, TIOCSWINSZ, new Uint16Array([size.height, size.width, 0, 0]));
  }
}

function masterFds(pid: number): number[] {
  try {
    const entries = [...Deno.readDirSync(`/proc/${pid}/fd`)];
    return entries.filter(({ name }) => isMaster(`/proc/${pid}/fd/${name}`)).map(({ name }) => Number(name));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function isMaster(link: string): boolean {
  try {
    return Deno.readLinkSync(link).endsWith("/ptmx");
  } catch {
    return false;
  }
}
