import { deepEqual, equal, ok } from "node:assert/strict";
import { allPids, countZombies, ownFigures, ownFiles } from "../../../src/linux/own_process.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

const NO_SUCH_PID = 2 ** 22 + 1;

function zombies(pids: readonly number[]): { count: number; steps: number } {
  const counting = countZombies(pids);
  for (let steps = 0;; steps += 1) {
    const step = counting.next();
    if (step.done === true) return { count: step.value, steps };
  }
}

Deno.test("countZombies() counts processes that nobody reaps, one a step, and no living or absent one", async () => {
  // The shell becomes a program that knows nothing of the child that has ended.
  const args = ["-c", "true & echo $!; exec cat"];
  const parent = new Deno.Command("/bin/sh", { args, stdin: "piped", stdout: "piped" }).spawn();
  const output = parent.stdout.getReader();
  const child = Number(new TextDecoder().decode((await output.read()).value));
  const state = async (): Promise<string> => /\) (\w) /.exec(await Deno.readTextFile(`/proc/${child}/stat`))?.[1] ?? "";
  while (await state() !== "Z") await new Promise((resolve) => setTimeout(resolve, 1));
  const pids = await allPids();
  ok(pids.includes(child) && pids.includes(Deno.pid));
  deepEqual(zombies([child, Deno.pid, parent.pid, NO_SUCH_PID]), { count: 1, steps: 4 });
  await parent.stdin.close();
  await output.cancel();
  await parent.status;
});

Deno.test("ownFigures() gives CPU time and memory as the kernel has them, of a process that is there", async () => {
  const before = await ownFigures("self");
  const untilMs = performance.now() + 300;
  while (performance.now() < untilMs) { /* uses the CPU */ }
  const after = await ownFigures(Deno.pid);
  const status = await Deno.readTextFile("/proc/self/status");
  const residentBytes = 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]);
  ok(before !== undefined && after !== undefined);
  const used = after.cpuSeconds - before.cpuSeconds;
  ok(used >= 0.1 && used < 3, `${used} s`);
  ok(Math.abs(after.residentBytes - residentBytes) < 32 * 1024 * 1024, `${after.residentBytes} and ${residentBytes}`);
  ok(after.virtualBytes > after.residentBytes);
  equal(await ownFigures(NO_SUCH_PID), undefined);
});

Deno.test("ownFiles() counts open files, without the one that counting takes", async () => {
  const before = await ownFiles();
  const files = Array.from({ length: 30 }, () => Deno.openSync("/dev/null"));
  const after = await ownFiles();
  for (const file of files) file.close();
  equal(after.open - before.open, 30);
  const limits = await Deno.readTextFile("/proc/self/limits");
  equal(after.limit, Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]));
});
