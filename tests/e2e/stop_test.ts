import assert from "node:assert/strict";
import { codeOf } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { listProcesses } from "./harness/processes.ts";
import { execText, PodUnderTest, statusOf, until } from "./harness/tries.ts";

const DEADLINE_EXCEEDED = 4;
const FAILED_PRECONDITION = 9;
const STUBBORN = ["/bin/sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"];

async function failureOf(call: Promise<unknown>): Promise<Error> {
  const error = await call.then(() => undefined, (thrown: Error) => thrown);
  assert.ok(error !== undefined, "the call succeeded");
  return error;
}

Deno.test("a container that is being stopped takes commands until it is killed", async (t) => {
  await using lab = await Lab.start();
  await lab.pull();
  const { client } = lab.daemon;
  const pod = await PodUnderTest.run(lab, "stops");
  const stop = (containerId: string, timeout: bigint, timeoutMs: number): Promise<unknown> =>
    client.call("stopContainer", { containerId, timeout }, { timeoutMs });

  await t.step("a command runs in the grace period, and a later request only shortens it", async () => {
    const id = await pod.start({ command: STUBBORN });
    const first = stop(id, 600n, 60_000);
    assert.match(
      (await failureOf(stop(id, 600n, 1500))).message,
      /waiting for its end; it goes on, and a retry joins it/,
    );
    assert.equal(await execText(lab, id, "echo", "here"), "here");
    const beganMs = performance.now();
    await Promise.all([first, stop(id, 1n, 60_000), stop(id, 500n, 60_000)]);
    assert.ok(performance.now() - beganMs < 30_000, "the shortest time counts");
    assert.equal((await statusOf(lab, id)).exitCode, 137);
  });

  await t.step("a command that does not listen ends with its container", async () => {
    const id = await pod.start({ command: STUBBORN });
    const command = ["/bin/sh", "-c", "trap '' TERM INT; while true; do sleep 0.0777; done"];
    const running = client.call("execSync", { containerId: id, cmd: command, timeout: 0n }).then(() => {}, () => {});
    const isThere = (): boolean => listProcesses().some(({ argv }) => argv.includes("0.0777"));
    await until("the command", () => Promise.resolve(isThere() || undefined));
    await stop(id, 0n, 60_000);
    await running;
    await until("its end", () => Promise.resolve(!isThere() || undefined));
  });

  await t.step("once killed it takes none, and whoever waits hears what for", async () => {
    const id = await pod.start({ command: STUBBORN });
    const monitor = listProcesses().find(({ argv }) => /conmon$/.test(argv[0] ?? "") && argv.includes(id));
    assert.ok(monitor !== undefined);
    // The end is not told while its monitor stands still.
    Deno.kill(monitor.pid, "SIGSTOP");
    try {
      const late = await failureOf(stop(id, 0n, 1500));
      assert.equal(codeOf(late), DEADLINE_EXCEEDED);
      assert.match(late.message, /out of time after \d+ ms while waiting for its end after SIGKILL; it goes on/);
      const exec = client.call("execSync", { containerId: id, cmd: ["true"], timeout: 5n });
      const refused = await failureOf(exec);
      assert.equal(codeOf(refused), FAILED_PRECONDITION);
      assert.match(refused.message, /is being killed/);
    } finally {
      Deno.kill(monitor.pid, "SIGCONT");
    }
    await stop(id, 0n, 60_000);
    assert.equal((await statusOf(lab, id)).exitCode, 137);
  });

  await pod.remove();
  assert.deepEqual(await lab.leaks(), []);
});
