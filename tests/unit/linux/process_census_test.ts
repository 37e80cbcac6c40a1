import { deepEqual, equal, ok as assert } from "node:assert/strict";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import {
  allPids,
  countOpenFiles,
  countZombies,
  openFilesLimit,
  type ProcessCensus,
} from "../../../src/linux/process_census.ts";

openLibraries();

const NO_SUCH_PID = 2 ** 22 + 1;

function count(pids: readonly number[]): { census: ProcessCensus; steps: number } {
  const counting = countOpenFiles(pids);
  for (let steps = 1;; steps += 1) {
    const step = counting.next();
    if (step.done === true) return { census: step.value, steps };
  }
}

Deno.test("countOpenFiles() counts descriptors and sockets of a process, in steps", () => {
  const before = count([Deno.pid]).census;
  const listeners = Array.from({ length: 100 }, () => Deno.listen({ port: 0 }));
  const files = Array.from({ length: 30 }, () => Deno.openSync("/dev/null"));
  const { census, steps } = count([Deno.pid]);
  for (const open of [...listeners, ...files]) open.close();
  deepEqual(census, {
    processes: 1,
    fileDescriptors: before.fileDescriptors + 130,
    sockets: before.sockets + 100,
  });
  assert(steps > 5, `${steps}`);
});

Deno.test("countOpenFiles() leaves out processes that have ended", () => {
  deepEqual(count([NO_SUCH_PID]).census, { processes: 0, fileDescriptors: 0, sockets: 0 });
  deepEqual(count([]).census, { processes: 0, fileDescriptors: 0, sockets: 0 });
  equal(count([NO_SUCH_PID, Deno.pid]).census.processes, 1);
});

Deno.test("openFilesLimit() is the soft limit of a process", async () => {
  const args = ["-c", "ulimit -Sn 77; echo; read line"];
  const child = new Deno.Command("/bin/sh", { args, stdin: "piped", stdout: "piped" }).spawn();
  const output = child.stdout.getReader();
  await output.read();
  equal(openFilesLimit(child.pid), 77);
  await child.stdin.close();
  await child.status;
  await output.cancel();
  equal(openFilesLimit(NO_SUCH_PID), undefined);
});

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
  assert(pids.includes(child) && pids.includes(Deno.pid));
  deepEqual(zombies([child, Deno.pid, parent.pid, NO_SUCH_PID]), { count: 1, steps: 4 });
  await parent.stdin.close();
  await output.cancel();
  await parent.status;
});
