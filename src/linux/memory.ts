import { lazyLibc } from "./_libc.ts";

const libc = lazyLibc({ malloc_trim: { parameters: ["usize"], result: "i32" } });

/**
 * Gives free heap pages of glibc's allocator back to the kernel. Takes up to 14 ms after a burst that left 90 MB free,
 * so: after bursts only, and when nothing is running.
 *
 * @returns whether any memory was released
 */
export function trimMemory(): boolean {
  // FFI malloc_trim(3): works on this process's own heap only; the one measured exception to "never over a few 100 us".
  return libc().malloc_trim(0n) === 1;
}
