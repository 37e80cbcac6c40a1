import { errno, openAll } from "./_libc.ts";

/**
 * Opens libc for every file of this folder that is loaded. Everything opens by itself on first use: a daemon calls
 * this once it listens, so that no request pays for it; a test file calls it at its top, because the leak check of
 * `deno test` counts a library that opens inside a test.
 */
export function openLibraries(): void {
  openAll();
  errno();
}
