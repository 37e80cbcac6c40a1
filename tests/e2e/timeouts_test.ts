import assert from "node:assert/strict";
import { cniPluginDir } from "./harness/crio.ts";
import { codeOf } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { listProcesses } from "./harness/processes.ts";
import { PodUnderTest, statusOf, until } from "./harness/tries.ts";

const DEADLINE_EXCEEDED = 4;
const SHORT = { timeoutMs: 700 };

/** A network plugin and a runtime that wait for as long as a file is there. */
class Gate implements AsyncDisposable {
  private constructor(readonly directory: string) {}

  static async make(): Promise<Gate> {
    const gate = new Gate(await Deno.makeTempDir({ dir: "/var/tmp", prefix: "crio-gate-" }));
    const wait = `while [ -e ${gate.directory}/shut ]; do sleep 0.05; done`;
    await Deno.mkdir(`${gate.directory}/cni`);
    await gate.#script("cni/bridge", `[ "$CNI_COMMAND" != ADD ] || ${wait}\nexec ${cniPluginDir()}/bridge "$@"`);
    await gate.#script("crun", `case " $* " in *" create "*) ${wait} ;; esac\nexec crun "$@"`);
    return gate;
  }

  async shut(): Promise<void> {
    await Deno.writeTextFile(`${this.directory}/shut`, "");
  }

  async open(): Promise<void> {
    await Deno.remove(`${this.directory}/shut`);
  }

  /** Scripts that wait at it. */
  waiting(): number[] {
    const scripts = ["cni/bridge", "crun"].map((name) => `${this.directory}/${name}`);
    return listProcesses().filter(({ argv }) => scripts.includes(argv[1] ?? "")).map(({ pid }) => pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }

  async #script(name: string, body: string): Promise<void> {
    await Deno.writeTextFile(`${this.directory}/${name}`, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  }
}

async function failureOf(call: Promise<unknown>): Promise<Error> {
  const error = await call.then(() => undefined, (thrown: Error) => thrown);
  assert.ok(error !== undefined, "the call succeeded");
  return error;
}

Deno.test("what takes longer than its caller waits for goes on, says so, and is joined by a retry", async (t) => {
  await using gate = await Gate.make();
  const runtime = `[crio.runtime.runtimes.slow]\nruntime_path = "${gate.directory}/crun"\nruntime_root = "/run/crun"\n`;
  await using lab = await Lab.start({ pluginDirectory: `${gate.directory}/cni`, extraConfig: runtime });
  await lab.pull();
  const { daemon } = lab;

  await t.step("a network plugin that is slow", async () => {
    await gate.shut();
    const pod = PodUnderTest.configure(lab, "network");
    const error = await failureOf(daemon.client.call("runPodSandbox", { config: pod }, SHORT));
    assert.equal(codeOf(error), DEADLINE_EXCEEDED);
    assert.match(error.message, /sandbox network creation; it goes on/);
    assert.deepEqual((await daemon.client.call("listPodSandbox", {})).items, []);
    const retry = daemon.client.call("runPodSandbox", { config: pod });
    await gate.open();
    const { podSandboxId } = await retry;
    assert.equal((await daemon.client.call("runPodSandbox", { config: pod })).podSandboxId, podSandboxId);
    assert.equal((await daemon.client.call("listPodSandbox", {})).items.length, 1);
    await daemon.client.call("removePodSandbox", { podSandboxId });
  });

  await t.step("a runtime that is slow to create", async () => {
    const pod = await PodUnderTest.run(lab, "creation", { runtimeHandler: "slow" });
    await gate.shut();
    const request = pod.request({});
    const error = await failureOf(daemon.client.call("createContainer", request, SHORT));
    assert.equal(codeOf(error), DEADLINE_EXCEEDED);
    assert.match(error.message, /container runtime creation; it goes on/);
    const retry = daemon.client.call("createContainer", request);
    await gate.open();
    const { containerId } = await retry;
    await daemon.client.call("startContainer", { containerId });
    await pod.remove();
  });

  await t.step("a pod that is stopped while a runtime hangs", async () => {
    const pod = await PodUnderTest.run(lab, "stop", { runtimeHandler: "slow" });
    await gate.shut();
    const create = failureOf(daemon.client.call("createContainer", pod.request({})));
    await until("the runtime", () => Promise.resolve(gate.waiting().length > 0 || undefined));
    await pod.remove();
    assert.match((await create).message, /is being stopped/);
    assert.deepEqual(gate.waiting(), []);
    await gate.open();
    assert.deepEqual(await lab.leaks(), []);
  });

  await t.step("a daemon that is killed while a plugin and a runtime hang", async () => {
    const pod = await PodUnderTest.run(lab, "there", { runtimeHandler: "slow" });
    await gate.shut();
    const calls = [
      failureOf(daemon.client.call("createContainer", pod.request({}))),
      failureOf(daemon.client.call("runPodSandbox", { config: PodUnderTest.configure(lab, "half") })),
    ];
    await until("both", () => Promise.resolve(gate.waiting().length > 1 || undefined));
    await daemon.stop("SIGKILL");
    await Promise.all(calls);
    await daemon.start();
    await until("their end", () => Promise.resolve(gate.waiting().length === 0 || undefined));
    await gate.open();
    const { items } = await daemon.client.call("listPodSandbox", {});
    assert.deepEqual(items.map(({ id }) => id), [pod.id]);
    await pod.remove();
    // The half-made pod is taken down in the background.
    await until("nothing left", async () => (await lab.leaks()).length === 0 || undefined);
  });

  await t.step("a log is opened anew while its container is being stopped", async () => {
    const pod = await PodUnderTest.run(lab, "log");
    const script = "trap 'echo no' TERM; while true; do echo line; sleep 0.05; done";
    const containerId = await pod.start({ command: ["/bin/sh", "-c", script] });
    const { logPath } = await statusOf(lab, containerId);
    const error = await failureOf(daemon.client.call("stopContainer", { containerId, timeout: 60n }, SHORT));
    assert.match(error.message, /waiting for its end; it goes on/);
    await Deno.rename(logPath, `${logPath}.1`);
    await daemon.client.call("reopenContainerLog", { containerId }, { timeoutMs: 5000 });
    await until("a line", async () => (await Deno.stat(logPath)).size > 0 || undefined);
    // A later stop brings the kill forward.
    await daemon.client.call("stopContainer", { containerId, timeout: 0n }, { timeoutMs: 5000 });
    assert.equal((await statusOf(lab, containerId)).exitCode, 137);
    await pod.remove();
    assert.deepEqual(await lab.leaks(), []);
  });
});
