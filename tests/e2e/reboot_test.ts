import assert from "node:assert/strict";
import { ContainerState, PodSandboxState } from "../../src/cri/gen/api.ts";
import { killAll, mountsBelow } from "./harness/cleanup.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { NamespaceMode, NamespaceOption } from "../../src/cri/gen/api.ts";
import { execText, pidOf, PodUnderTest, statusOf } from "./harness/tries.ts";

/** What a reboot does to a node: processes, mounts and everything below /run are gone. */
async function reboot(lab: Lab, pids: readonly number[]): Promise<void> {
  const { daemon, directory } = lab;
  const monitors = daemon.processes().map(({ pid }) => pid).filter((pid) => pid !== daemon.pid);
  await daemon.stop("SIGKILL");
  killAll([...monitors, ...pids]);
  for (const path of (await mountsBelow(directory)).toReversed()) {
    await new Deno.Command("umount", { args: ["-l", path], stderr: "null" }).output();
  }
  for (const volatile of ["runroot", "exits", "attach", "ns", "crun", "runc"]) {
    await Deno.remove(`${directory}/${volatile}`, { recursive: true }).catch(() => {});
  }
  await new Deno.Command("ip", { args: ["link", "delete", "crioe2e0"], stderr: "null" }).output();
  await daemon.start();
}

Deno.test("after a reboot pods are not ready, containers have ended, and all can be removed and made anew", async () => {
  await using lab = await Lab.start();
  await lab.pull();
  const [plain, shared] = [
    await PodUnderTest.run(lab, "plain"),
    await PodUnderTest.run(lab, "shared", {
      change: (config) => {
        if (config.linux?.securityContext === undefined) return;
        config.linux.securityContext.namespaceOptions = message(NamespaceOption, { pid: NamespaceMode.POD });
      },
    }),
  ];
  const [one, two] = [await plain.start({}), await shared.start({})];
  const { info } = await lab.daemon.client.call("podSandboxStatus", { podSandboxId: shared.id, verbose: true });
  const infra = (JSON.parse(info.get("info") ?? "{}") as { pid: number }).pid;
  await reboot(lab, [await pidOf(lab, one), await pidOf(lab, two), infra]);

  const { client } = lab.daemon;
  const { items } = await client.call("listPodSandbox", {});
  assert.deepEqual(items.map(({ id, state }) => [id, state]), [
    [plain.id, PodSandboxState.SANDBOX_NOTREADY],
    [shared.id, PodSandboxState.SANDBOX_NOTREADY],
  ]);
  for (const id of [one, two]) assert.equal((await statusOf(lab, id)).state, ContainerState.CONTAINER_EXITED);
  await client.call("containerStatus", { containerId: one, verbose: true });
  const next = await PodUnderTest.run(lab, "next");
  assert.equal(await execText(lab, await next.start({}), "echo", "here"), "here");
  for (const pod of [plain, shared, next]) await pod.remove();
  assert.deepEqual(await lab.leaks(), []);
});
