import assert from "node:assert/strict";
import {
  descendants,
  identify,
  isAlive,
  killTree,
  parseProcessStat,
  readProcess,
  signalProcess,
} from "../../../src/linux/process.ts";
import { spawnProcess } from "../../../src/linux/spawn.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

const REST = "S 1 5 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 10 18446744073709551615";

Deno.test("parseProcessStat() takes the name up to the last parenthesis", () => {
  for (const command of ["sh", "a b", "(x)", ") S 2 (", "a) R 9 9", ""]) {
    assert.deepEqual(parseProcessStat(`42 (${command}) ${REST}\n`), {
      pid: 42,
      command,
      state: "S",
      parentPid: 1,
      sessionId: 7,
      startTime: "987654",
    });
  }
});

Deno.test("parseProcessStat() says no to anything else", () => {
  for (const text of ["", "42", "42 (sh", "42 sh S 1", "(sh) S 1 2", "42 (sh) S 1 2 3", "x (sh) " + REST]) {
    assert.equal(parseProcessStat(text), undefined, text);
  }
});

Deno.test("isAlive() tells this process from another with its pid", () => {
  const self = identify(Deno.pid);
  assert.ok(self !== undefined && isAlive(self));
  assert.ok(!isAlive({ pid: Deno.pid, startTime: "1" }));
  assert.ok(!signalProcess({ pid: Deno.pid, startTime: "1" }, 9));
  assert.equal(readProcess(0), undefined);
  assert.equal(identify(2 ** 22 + 1), undefined);
});

Deno.test("a zombie counts as dead", async () => {
  const out = `${await Deno.makeTempDir({ prefix: "zombie-" })}/pid`;
  // The child ends when the shell has become a program that reaps nobody.
  const child = '(name=; until [ "$name" = sleep ]; do read name < /proc/$$/comm; done)';
  const parent = spawnProcess(["/bin/sh", "-c", `${child} & echo $! > ${out}; exec /bin/sleep 1000`], { env: {} });
  const text = async (): Promise<string> => (await Deno.readTextFile(out).catch(() => "")).trim();
  while (await text() === "") await new Promise((done) => setTimeout(done, 5));
  const pid = Number(await text());
  while (readProcess(pid)?.state !== "Z") await new Promise((done) => setTimeout(done, 5));
  assert.equal(identify(pid), undefined);
  parent.kill(9);
  await parent.exited;
  await Deno.remove(out.slice(0, -"/pid".length), { recursive: true });
});

Deno.test("killTree() ends a process with all that it started, in other sessions too", async () => {
  const script = "setsid sh -c 'sleep 1000 & sleep 1000' & sh -c 'sleep 1000; true' & sleep 1000; true";
  const root = spawnProcess(["/bin/sh", "-c", script], { env: { PATH: "/usr/bin:/bin" } });
  while (descendants(root.pid).length < 6) await new Promise((done) => setTimeout(done, 5));
  const keys = descendants(root.pid).map((pid) => identify(pid));
  const key = identify(root.pid);
  assert.ok(key !== undefined && killTree(key));
  await root.exited;
  for (const one of keys) while (one !== undefined && isAlive(one)) await new Promise((done) => setTimeout(done, 5));
  assert.ok(!killTree(key));
});
