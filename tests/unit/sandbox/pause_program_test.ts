import assert from "node:assert/strict";
import { spawnProcess } from "../../../src/linux/spawn.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { pauseProgram } from "../../../src/sandbox/pause_program.ts";

openLibraries();
const LITTLE_ENDIAN: boolean = true;

Deno.test("pauseProgram() makes a program that ignores SIGCHLD and stays until it is killed", async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/pause`;
  await Deno.writeFile(path, pauseProgram(Deno.build.arch), { mode: 0o755 });
  const child = spawnProcess([path], { env: {} });
  const status = await Deno.readTextFile(`/proc/${child.pid}/status`);
  // SigIgn has bit 16 (SIGCHLD - 1) set once the program has made its first call.
  const ignored = async (): Promise<bigint> => {
    const text = await Deno.readTextFile(`/proc/${child.pid}/status`);
    return BigInt(`0x${/^SigIgn:\s*([0-9a-f]+)/m.exec(text)?.[1] ?? "0"}`);
  };
  while ((await ignored() & (1n << 16n)) === 0n) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.match(status, /^Name:\s+pause$/m);
  child.kill(9);
  assert.equal((await child.exited).signal, 9);
  await Deno.remove(directory, { recursive: true });
});

Deno.test("pauseProgram() knows both architectures and no other", () => {
  assert.equal(new DataView(pauseProgram("aarch64").buffer).getUint16(18, LITTLE_ENDIAN), 183);
  assert.throws(() => pauseProgram("riscv64"), TypeError);
});
