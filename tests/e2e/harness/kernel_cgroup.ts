import assert from "node:assert/strict";

/** A container's cgroup as the kernel shows it. */
export class KernelCgroup {
  private constructor(private readonly lines: readonly string[][]) {}

  static async of(pid: number): Promise<KernelCgroup> {
    const text = await Deno.readTextFile(`/proc/${pid}/cgroup`);
    return new KernelCgroup(text.trim().split("\n").map((line) => line.split(":")));
  }

  /** On v2 the hierarchy has no name. */
  get isUnified(): boolean {
    return !this.lines.some(([, controllers]) => controllers?.split(",").includes("memory"));
  }

  async read(controller: string, files: { v1: string; v2: string }): Promise<string> {
    const own = this.lines.find(([, controllers]) =>
      this.isUnified ? controllers === "" : controllers?.split(",").includes(controller)
    );
    const directory = this.isUnified ? "/sys/fs/cgroup" : `/sys/fs/cgroup/${controller}`;
    return (await Deno.readTextFile(`${directory}${own?.[2]}/${this.isUnified ? files.v2 : files.v1}`)).trim();
  }
}

/** The value of one of a file's `key value` lines. */
export function keyed(text: string, key: string): number {
  return Number(new RegExp(`^${key} (\\d+)$`, "m").exec(text)?.[1]);
}

/** @throws AssertionError unless both are that close */
export function near(actual: number, expected: number, tolerance: number): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not within ${tolerance} of ${expected}`);
}
