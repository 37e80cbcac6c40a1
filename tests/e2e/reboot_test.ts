import assert from "node:assert/strict";
import { ContainerState, PodSandboxState } from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { powerCut } from "./harness/reboot.ts";
import { NamespaceMode, NamespaceOption } from "../../src/cri/gen/api.ts";
import { execText, pidOf, PodUnderTest, statusOf } from "./harness/tries.ts";

Deno.test("without internal_wipe, after a reboot pods are not ready, containers have ended, and all can be removed and made anew", async () => {
  await using lab = await Lab.start({ dropIn: () => "[crio]\ninternal_wipe = false\n" });
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
  await powerCut(lab, [await pidOf(lab, one), await pidOf(lab, two), infra]);
  await lab.daemon.start();

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
