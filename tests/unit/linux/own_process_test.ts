import { equal, ok } from "node:assert/strict";
import { ownFigures, ownFiles } from "../../../src/linux/own_process.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

const NO_SUCH_PID = 2 ** 22 + 1;

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
