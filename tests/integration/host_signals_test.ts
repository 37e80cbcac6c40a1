import assert from "node:assert/strict";
import { inspectHost } from "../../src/linux/host.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";

openLibraries();

/** Deno installs its own handler half a second after the start; what it does must be over by then. */
const LATE_MS = 1500;
const signals = new URL("../../src/linux/signals.ts", import.meta.url).href;

/** A Deno that runs `setUp`, tells its ignored signals when asked by a line, and ends with its input. */
function startDeno(setUp: string): Deno.ChildProcess {
  const program = `
    ${setUp}
    console.log("up");
    const mask = () => /SigIgn:\\s*(\\w+)/.exec(Deno.readTextFileSync("/proc/self/status"))[1];
    for await (const _ of Deno.stdin.readable) console.log(mask());
  `;
  return new Deno.Command(Deno.execPath(), {
    args: ["eval", program],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Inodes of listening sockets that belong to a process: other programs may use the port. */
async function listens(pid: number, port: number): Promise<boolean> {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const inodes = (await Deno.readTextFile(`/proc/${pid}/net/tcp`)).split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((words) => words[1]?.endsWith(`:${hex}`) === true && words[3] === "0A")
    .map((words) => `socket:[${words[9]}]`);
  for await (const entry of Deno.readDir(`/proc/${pid}/fd`)) {
    const target = await Deno.readLink(`/proc/${pid}/fd/${entry.name}`).catch(() => "");
    if (inodes.includes(target)) return true;
  }
  return false;
}

Deno.test("shutInspectorSignal() keeps port 9229 closed, early and late", async () => {
  const child = startDeno(`import { shutInspectorSignal } from "${signals}"; shutInspectorSignal();`);
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const input = child.stdin.getWriter();
  const stderr = new Response(child.stderr).text();
  try {
    assert.equal((await lines.read()).value, "up\n");
    for (let sent = 0; sent < 20; sent++) child.kill("SIGUSR1");
    await new Promise((done) => setTimeout(done, LATE_MS));
    for (let sent = 0; sent < 20; sent++) child.kill("SIGUSR1");
    await input.write(new TextEncoder().encode("\n"));
    const mask = BigInt(`0x${(await lines.read()).value?.trim()}`);
    assert.equal(mask >> 9n & 1n, 1n, "SIGUSR1 is ignored by the kernel");
    assert.ok(!await listens(child.pid, 9229));
  } finally {
    await input.close();
    await lines.cancel();
  }
  assert.ok((await child.status).success, "it lives through the signals");
  assert.doesNotMatch(await stderr, /Debugger listening/);
});

Deno.test("without shutInspectorSignal() this Deno opens its inspector, so the test above can fail", async () => {
  const child = startDeno("");
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const stderr = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  try {
    assert.equal((await lines.read()).value, "up\n");
    await new Promise((done) => setTimeout(done, LATE_MS));
    child.kill("SIGUSR1");
    // Another program may hold the port: the attempt counts.
    assert.match((await stderr.read()).value ?? "", /Debugger|inspector|address/i);
  } finally {
    await child.stdin.close();
    await Promise.all([lines.cancel(), stderr.cancel()]);
    child.kill("SIGKILL");
  }
  await child.status;
});

Deno.test("inspectHost() agrees with the kernel", async () => {
  const host = await inspectHost();
  assert.equal(host.kernel.release, Deno.osRelease());
  assert.ok(host.capabilities.effective.includes("CAP_SYS_ADMIN"));
  const mounts = await Deno.readTextFile("/proc/self/mounts");
  assert.equal(host.cgroup.unified !== undefined, / cgroup2 /.test(mounts));
  for (const mount of Object.values(host.cgroup.v1)) assert.ok((await Deno.stat(`${mount}/cgroup.procs`)).isFile);
});
