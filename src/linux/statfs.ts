import { checked, cString, lazyLibc } from "./_libc.ts";

const libc = lazyLibc({ statfs: { parameters: ["buffer", "buffer"], result: "i32" } });

/** struct statfs of 64-bit Linux (asm-generic/statfs.h): 15 words of 8 bytes. */
const STATFS_WORDS = 15;

/** What a file system holds. */
export interface FilesystemStats {
  /** Magic number of linux/magic.h. */
  readonly type: number;
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** Free for unprivileged users. */
  readonly availableBytes: number;
  readonly totalInodes: number;
  readonly freeInodes: number;
}

/**
 * Sizes of the file system that holds `path`. Not for network file systems: the call waits for their server.
 *
 * @throws ErrnoError when the path does not exist
 */
export function filesystemStats(path: string): FilesystemStats {
  const words = new BigInt64Array(STATFS_WORDS);
  // FFI statfs(2): both buffers live over the call; local file systems answer from memory.
  checked(libc().statfs(cString(path), words), "statfs", path);
  const at = (index: number): number => Number(words[index] ?? 0n);
  const blockBytes = at(1);
  return {
    type: at(0),
    totalBytes: at(2) * blockBytes,
    freeBytes: at(3) * blockBytes,
    availableBytes: at(4) * blockBytes,
    totalInodes: at(5),
    freeInodes: at(6),
  };
}
