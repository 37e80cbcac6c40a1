import assert from "node:assert/strict";
import { Crictl, type Following } from "./harness/crictl.ts";
import { Lab } from "./harness/lab.ts";
import { podConfig } from "./harness/pods.ts";
import { PodUnderTest, until } from "./harness/tries.ts";

const ignore = !await Crictl.isAvailable();
/** What the daemon gives requests that still run when it stops; a stream of events must not use it up. */
const GRACE_MS = 5000;
const TEMPLATE = "{{.containerId}} {{.containerEventType}} {{.podSandboxStatus.state}} {{len .containersStatuses}}";

Deno.test({ name: "crictl events follows pods and containers from afar", ignore }, async (t) => {
  await using lab = await Lab.start({ environment: { ENABLE_POD_EVENTS: "true" } });
  const crictl = await Crictl.for(lab.daemon.spec.socketPath);
  await lab.pull();
  const watch = (): Following => crictl.follow("events", "--output", "go-template", "--template", TEMPLATE);
  await using first = watch();
  await using second = watch();
  await hears(lab, [first, second]);
  const pod = await PodUnderTest.run(lab, "watched");
  const containerId = await pod.start({ command: ["/bin/true"] });

  await t.step("events come in order, once each, with the pod's state and its containers", async () => {
    await first.until((lines) => lines.some((line) => line.startsWith(`${containerId} CONTAINER_STOPPED`)));
    await pod.remove();
    await first.until((lines) => lines.some((line) => line.startsWith(`${pod.id} CONTAINER_DELETED`)));
    const lines = first.lines.filter((line) => line.startsWith(pod.id) || line.startsWith(containerId));
    assert.deepEqual(lines, [
      `${pod.id} CONTAINER_CREATED_EVENT SANDBOX_READY 0`,
      `${pod.id} CONTAINER_STARTED_EVENT SANDBOX_READY 0`,
      `${containerId} CONTAINER_CREATED_EVENT SANDBOX_READY 1`,
      `${containerId} CONTAINER_STARTED_EVENT SANDBOX_READY 1`,
      `${containerId} CONTAINER_STOPPED_EVENT SANDBOX_READY 1`,
      `${pod.id} CONTAINER_STOPPED_EVENT SANDBOX_NOTREADY 1`,
      `${containerId} CONTAINER_DELETED_EVENT SANDBOX_NOTREADY 0`,
      `${pod.id} CONTAINER_DELETED_EVENT SANDBOX_NOTREADY 0`,
    ]);
  });

  await t.step("a second client gets the same", async () => {
    await second.until((lines) => lines.some((line) => line.startsWith(`${pod.id} CONTAINER_DELETED`)));
    assert.deepEqual(second.lines.slice(-8), first.lines.slice(-8));
  });

  await t.step("a client that hangs keeps no pod waiting", async () => {
    first.signal("SIGSTOP");
    const pods = await Promise.all(["a", "b", "c", "d"].map((name) => PodUnderTest.run(lab, name)));
    await Promise.all(pods.map((one) => one.remove()));
    await second.until((lines) => pods.every(({ id }) => lines.some((line) => line.startsWith(`${id} CONTAINER_DEL`))));
    first.signal("SIGCONT");
  });

  await t.step("clients do not keep the daemon from stopping, and hear of the end", async () => {
    const beganMs = performance.now();
    await lab.daemon.stop();
    const tookMs = performance.now() - beganMs;
    assert.ok(tookMs < GRACE_MS, `the daemon took ${tookMs} ms to stop`);
    await Promise.all([first.code, second.code]);
    await lab.daemon.start();
  });
  assert.deepEqual(await lab.leaks(), []);
});

/** Makes pods until all clients have heard of one: only so do they show that they are connected. */
async function hears(lab: Lab, clients: readonly Following[]): Promise<void> {
  await until("the clients to be connected", async () => {
    const config = podConfig({ ...lab.pod("probe"), hostNetwork: true });
    const { podSandboxId } = await lab.daemon.client.call("runPodSandbox", { config });
    await lab.daemon.client.call("removePodSandbox", { podSandboxId });
    return clients.every(({ lines }) => lines.length > 0) ? true : undefined;
  });
}
