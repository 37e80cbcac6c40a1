import assert from "node:assert/strict";
import { NodeProcesses } from "../../../src/container/node_processes.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

Deno.test("NodeProcesses.killNaming() kills what names the id in its arguments, and network plugins for it", async () => {
  const id = crypto.randomUUID().replaceAll("-", "").repeat(2);
  const spawn = (args: string[], env: Record<string, string> = {}): Deno.ChildProcess =>
    new Deno.Command("/bin/busybox", { args, env, clearEnv: true, stdin: "null" }).spawn();
  const named = spawn(["tail", "-f", "/dev/null", id]);
  const plugin = spawn(["sleep", "1000"], { CNI_CONTAINERID: id });
  const others = [spawn(["sleep", "1000"], { SOMETHING: id }), spawn(["sh", "-c", `exec sleep 1000; : ${id}`])];
  await new NodeProcesses().killNaming(id);
  assert.equal((await named.status).signal, "SIGKILL");
  assert.equal((await plugin.status).signal, "SIGKILL");
  for (const other of others) {
    other.kill("SIGTERM");
    assert.equal((await other.status).signal, "SIGTERM");
  }
});
