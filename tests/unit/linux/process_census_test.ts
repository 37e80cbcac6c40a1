import { deepEqual, equal, ok as assert } from "node:assert/strict";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { countOpenFiles, openFilesLimit, type ProcessCensus } from "../../../src/linux/process_census.ts";

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
