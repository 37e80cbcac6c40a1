const CHANGES = [
  "rename",
  "mkdir",
  "symlink",
  "writeTextFile",
  "remove",
  "chmod",
  "chown",
  "copyFile",
  "open",
] as const;

/** This process kills itself before its n-th change of the file system from now on. */
export function killBefore(count: number): void {
  let left = count;
  for (const change of CHANGES) {
    const original = Deno[change] as (...args: unknown[]) => unknown;
    const counted = (...args: unknown[]): unknown => {
      left -= 1;
      if (left <= 0) Deno.kill(Deno.pid, "SIGKILL");
      return original(...args);
    };
    Object.defineProperty(Deno, change, { value: counted });
  }
}
