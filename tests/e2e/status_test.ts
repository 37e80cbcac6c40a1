/** `crio status` against a daemon with pods: what it says is compared with the CRI and the kernel. */
import assert from "node:assert/strict";
import { crioCommand } from "./harness/crio.ts";
import { Lab } from "./harness/lab.ts";
import { crioOf } from "./harness/store_tools.ts";
import { exited, pidOf, PodUnderTest } from "./harness/tries.ts";

const status = async (lab: Lab, ...args: string[]): Promise<string> => {
  const { code, out, err } = await crioOf(lab, "status", "--socket", `${lab.directory}/crio.sock`, ...args);
  assert.equal(code, 0, err);
  return out;
};

Deno.test("crio status pods, containers, images and top tell what runs and what it uses", async () => {
  await using lab = await Lab.start();
  await lab.pull();
  const [busy, idle] = [await PodUnderTest.run(lab, "busy"), await PodUnderTest.run(lab, "idle")];
  const spinner = await busy.start({ command: ["sh", "-c", "while :; do :; done"] });
  const done = await idle.start({ command: ["sh", "-c", "exit 3"] });
  await exited(lab, done);

  const { pods } = JSON.parse(await status(lab, "pods", "--json"));
  assert.deepEqual(pods.map(({ id }: { id: string }) => id), [busy.id, idle.id]);
  const [[running], [ended]] = pods.map(({ containers }: { containers: unknown[] }) => containers);
  assert.deepEqual([running.id, running.pid], [spinner, await pidOf(lab, spinner)]);
  assert.deepEqual([ended.id, ended.state, ended.exit_code], [done, "exited", 3]);
  const { status: cri } = await lab.daemon.client.call("podSandboxStatus", { podSandboxId: busy.id });
  assert.deepEqual(pods[0].ip_addresses, [cri?.network?.ip]);
  assert.match(await status(lab, "containers"), new RegExp(`${done.slice(0, 13)} .* exited \\(3\\) `));
  assert.match(await status(lab, "images"), new RegExp(`^${lab.image} .* in use`, "m"));
  assert.match(await status(lab, "goroutines"), /^sandboxes: 2$/m);

  const top = JSON.parse(await status(lab, "top", "--json", "--interval", "2s")).pods;
  assert.equal(top[0].id, busy.id, "the busiest pod comes first");
  const [most, least] = top.map(({ cpu_percent }: { cpu_percent?: number }) => cpu_percent ?? 0);
  assert.ok(most > 5 && most < 110 && least < most / 2, `${most} % and ${least} %`);
  assert.ok(top[0].memory_bytes > 0);
  for (const pod of [busy, idle]) await pod.remove();
});

Deno.test("crio status events tells the life of a pod in order", async () => {
  await using lab = await Lab.start();
  await lab.pull();
  const [program = "", ...first] = crioCommand();
  const args = [...first, "status", "-s", `${lab.directory}/crio.sock`, "events", "--json"];
  const child = new Deno.Command(program, { args, stdin: "null", stdout: "piped" }).spawn();
  const lines: { kind: string; type: string; id: string; exit_code?: number }[] = [];
  const reading = (async (): Promise<void> => {
    let rest = "";
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + piece).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts.map((line) => JSON.parse(line)));
    }
  })();
  // The stream is there once a first pod is told of.
  while (lines.length === 0) await (await PodUnderTest.run(lab, `first${Math.random()}`)).remove();
  const pod = await PodUnderTest.run(lab, "watched");
  const container = await pod.start({ command: ["sh", "-c", "exit 7"] });
  await exited(lab, container);
  await pod.remove();
  await lab.daemon.stop();
  await reading;
  assert.equal((await child.status).code, 0, "it ends with the daemon");
  await lab.daemon.start();
  const own = lines.filter(({ id }) => id === pod.id || id === container);
  assert.deepEqual(own.map(({ kind, type }) => `${kind} ${type}`), [
    "pod created",
    "container created",
    "container started",
    "container exited",
    "pod stopped",
    "container removed",
    "pod removed",
  ]);
  assert.equal(own[3]?.exit_code, 7);
});
