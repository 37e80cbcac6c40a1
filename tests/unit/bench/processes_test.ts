import assert from "node:assert/strict";
import { pssBytes, readProcess, runtimeProcesses } from "../../e2e/harness/processes.ts";

Deno.test("runtimeProcesses() finds the tree of a daemon and what names its directory, and nothing else", async () => {
  const directory = "/nonexistent/bench-peer";
  // The shell stands for the daemon, its child for a helper, the last one for a monitor that is no child of it.
  await using stack = new AsyncDisposableStack();
  const start = (script: string, ...args: string[]): Deno.ChildProcess => {
    const child = new Deno.Command("/bin/sh", { args: ["-c", script, ...args], stdin: "piped", stdout: "piped" })
      .spawn();
    stack.defer(async () => {
      await child.stdin.close();
      await child.stdout.cancel();
      await child.status;
    });
    return child;
  };
  const daemon = start("cat | cat; true");
  const monitor = start("read line; true", `${directory}/monitor`);
  const stranger = start("read line; true", `${directory}-other/monitor`);
  const expected = 4;
  let found = runtimeProcesses(daemon.pid, directory);
  while (found.length < expected) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    found = runtimeProcesses(daemon.pid, directory);
  }
  const pids = found.map(({ pid }) => pid);
  assert.ok(pids.includes(daemon.pid) && pids.includes(monitor.pid));
  assert.ok(!pids.includes(stranger.pid) && !pids.includes(Deno.pid));
});

Deno.test("readProcess() and pssBytes() know this process, and nothing of one that is not there", () => {
  const self = readProcess(Deno.pid);
  assert.ok((self?.cpuMs ?? 0) > 0);
  assert.ok(pssBytes(Deno.pid) > 1_000_000);
  const NO_SUCH_PID = 0x7fffffff;
  assert.equal(readProcess(NO_SUCH_PID), undefined);
  assert.equal(pssBytes(NO_SUCH_PID), 0);
});
