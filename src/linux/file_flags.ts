/** Inode flags, as chattr(1) sets them. */
import { AT_FDCWD, close, must, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_RDONLY, openat } from "./at.ts";
import { checked, cString, lazyLibc } from "./_libc.ts";

const libc = lazyLibc({
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
});

/** linux/fs.h; both say `long`, the kernel reads and writes an int. */
const FS_IOC_GETFLAGS = 0x8008_6601n;
const FS_IOC_SETFLAGS = 0x4008_6602n;
/** The T of chattr(1). */
const FS_TOPDIR_FL = 0x0002_0000;

/**
 * Tells ext4 that the directories to be made in this one have nothing to do with each other: each then gets a group of
 * blocks and inodes of its own, the emptiest. Trees that are written at the same time do not wait for each other, and a
 * new tree does not look for free inodes where one was just deleted.
 *
 * @param path an existing directory
 * @throws ErrnoError, such as ENOTTY or EOPNOTSUPP on a file system that has no such flag
 */
export function spreadSubdirectories(path: string): void {
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const fd = must(openat(AT_FDCWD, cString(path), flags, 0), "open", path);
  try {
    const value = new Uint32Array(2);
    // FFI ioctl_iflags(2): reads or writes the buffer during the call only; a local file system, the inode is in memory.
    checked(libc().ioctl(fd, FS_IOC_GETFLAGS, value), "ioctl FS_IOC_GETFLAGS", path);
    value[0] = (value[0] ?? 0) | FS_TOPDIR_FL;
    checked(libc().ioctl(fd, FS_IOC_SETFLAGS, value), "ioctl FS_IOC_SETFLAGS", path);
  } finally {
    close(fd);
  }
}
