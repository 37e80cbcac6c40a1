import assert from "node:assert/strict";
import { commandResult } from "../../src/linux/command.ts";
import { identify, isAlive, readProcess, signalProcess } from "../../src/linux/process.ts";
import { adoptOrphans, spawnProcess } from "../../src/linux/spawn.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";

openLibraries();

const SHELL = ["/bin/sh", "-c"];
const env = { PATH: "/usr/bin:/bin" };

Deno.test("adoptOrphans() makes us the parent of what a child leaves behind, and reaps it at once", async () => {
  using _adoption = adoptOrphans();
  const { stdout } = await commandResult([...SHELL, "sleep 1000 >/dev/null & echo $!"], { env });
  const orphan = identify(Number(new TextDecoder().decode(stdout)));
  assert.ok(orphan !== undefined);
  assert.equal(readProcess(orphan.pid)?.parentPid, Deno.pid);
  signalProcess(orphan, 9);
  const startMs = performance.now();
  while (readProcess(orphan.pid) !== undefined) await new Promise((done) => setTimeout(done, 1));
  assert.ok(performance.now() - startMs < 500, "no zombie waits for PID 1");
  assert.ok(!isAlive(orphan));
});

Deno.test("adoptOrphans() leaves the exit codes of our own children alone", async () => {
  using _adoption = adoptOrphans();
  const codes = Array.from({ length: 20 }, (_, i) => i);
  const children = codes.map((i) => spawnProcess([...SHELL, `true & true & exit ${i}`], { env }));
  const ended = await Promise.all(children.map(({ exited }) => exited));
  assert.deepEqual(ended.map(({ exitCode }) => exitCode), codes);
});
