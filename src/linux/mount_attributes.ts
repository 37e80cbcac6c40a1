import { errno, lazyLibc } from "./_libc.ts";

const libc = lazyLibc({
  syscall: { parameters: ["i64", "i32", "buffer", "u32", "buffer", "usize"], result: "i64" },
});

/** mount_setattr(2): the same number on every architecture, since Linux 5.12. */
const SYS_MOUNT_SETATTR = 442n;
const EINVAL = 22;

/**
 * Whether this process can call mount_setattr(2), which id-mapped and recursively read-only mounts need: an older kernel
 * does not know it, and a seccomp filter around us may refuse it.
 */
export function canSetMountAttributes(): boolean {
  // FFI mount_setattr(2) with a structure of no bytes: refused by its size before anything is looked at.
  if (libc().syscall(SYS_MOUNT_SETATTR, -1, new Uint8Array(1), 0, new Uint8Array(1), 0n) !== -1n) return true;
  return errno() === EINVAL;
}
