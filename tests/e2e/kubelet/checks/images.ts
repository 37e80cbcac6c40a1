import assert from "node:assert/strict";
import { ImageSpec } from "../../../../src/cri/gen/api.ts";
import { message } from "../../harness/cri_client.ts";
import { Crictl } from "../../harness/crictl.ts";
import { type Check, check } from "../checks.ts";
import { SLEEPER } from "../commands.ts";
import type { TestNode } from "../node.ts";
import type { TestPod } from "../test_pod.ts";
import { until } from "../until.ts";

/** Why a container waits, once the reason is one of these. */
async function waitingFor(pod: TestPod, reasons: RegExp): Promise<{ reason: string; message: string }> {
  return await pod.untilContainer("main", `waiting: ${reasons.source}`, ({ state }) => {
    const { reason = "", message = "" } = state.waiting ?? {};
    return reasons.test(reason) && { reason, message };
  });
}

function imagePod(node: TestNode, name: string, fields: { image: string; imagePullPolicy?: string }): Promise<TestPod> {
  return node.run(name, { containers: [{ name: "main", command: SLEEPER, ...fields }] });
}

export const IMAGES: readonly Check[] = [
  check("an image that is not there is pulled; crictl rmi takes it away again", async (node) => {
    const image = node.image.replace("busybox", "extra");
    const pod = await imagePod(node, "pulled", { image });
    await pod.ready();
    const crictl = await Crictl.for(node.lab.daemon.spec.socketPath);
    assert.ok((await crictl.run("images")).includes("/bench/extra "));
    const used = await crictl.try("rmi", image);
    assert.notEqual(used.code, 0);
    assert.match(used.stderr, /used by a container/);
    await pod.delete();
    // The kubelet keeps a dead container for a while.
    await until("the image to be free", async () => (await crictl.try("rmi", image)).code === 0 || undefined);
    assert.ok(!(await crictl.run("images")).includes("/bench/extra "));
  }),
  check("Always: the registry is asked although the image is there", async (node) => {
    const pod = await imagePod(node, "pull-always", { image: node.image, imagePullPolicy: "Always" });
    await pod.ready();
    assert.match(node.lab.daemon.logTail(5000), new RegExp(`PullImage.*${node.image}|${node.image}.*PullImage`));
    await pod.delete();
  }),
  check("Never: an image that is not there is not pulled", async (node) => {
    const image = node.image.replace("busybox", "nowhere");
    const pod = await imagePod(node, "pull-never", { image, imagePullPolicy: "Never" });
    assert.equal((await waitingFor(pod, /^ErrImageNeverPull$/)).reason, "ErrImageNeverPull");
    await pod.delete();
  }),
  check("an image that the registry does not have: ErrImagePull says which and why", async (node) => {
    const image = `${node.lab.registry.host}/bench/unknown:7`;
    const pod = await imagePod(node, "unknown-image", { image });
    const { message } = await waitingFor(pod, /^ErrImagePull$/);
    assert.ok(message.includes("bench/unknown:7"), message);
    assert.match(message, /manifest unknown|not found/i);
    assert.match((await waitingFor(pod, /^ImagePullBackOff$/)).message, /bench\/unknown:7/);
    await pod.delete();
  }),
  check("a registry that nobody listens for is told", async (node) => {
    const pod = await imagePod(node, "no-registry", { image: "127.0.0.1:1/none/such:1" });
    const { message } = await waitingFor(pod, /^(ErrImagePull|RegistryUnavailable)$/);
    assert.match(message, /127\.0\.0\.1:1/);
    assert.match(message, /refused|connect/i);
    await pod.delete();
  }),
  check(
    "an image that is not signed as the policy asks: SignatureValidationFailed, at the pull and at the create",
    async (node) => {
      const image = node.image.replace("busybox", "nobody");
      const file = `${node.lab.directory}/policy.json`;
      const before = await Deno.readTextFile(file);
      const docker = { [image.replace(/:1$/, "")]: [{ type: "signedBy", keyType: "GPGKeys", keyPath: "/none" }] };
      const strict = JSON.stringify({ ...JSON.parse(before), transports: { docker } });
      try {
        await Deno.writeTextFile(file, strict);
        const pulled = await imagePod(node, "unsigned", { image, imagePullPolicy: "Always" });
        const { message: why } = await waitingFor(pulled, /^SignatureValidationFailed$/);
        assert.match(
          why,
          /nobody:1 because the signature validation failed: .*nobody:1 has to be signedBy by the policy/,
        );
        await pulled.delete();
        await Deno.writeTextFile(file, before);
        await node.cri.call("pullImage", { image: message(ImageSpec, { image }) });
        await Deno.writeTextFile(file, strict);
        const created = await imagePod(node, "unsigned-here", { image, imagePullPolicy: "IfNotPresent" });
        assert.match(
          (await waitingFor(created, /^CreateContainerError$/)).message,
          /^SignatureValidationFailed: .*nobody:1/,
        );
        await created.delete();
      } finally {
        await Deno.writeTextFile(file, before);
      }
    },
  ),
  check("a name that is no image's is refused", async (node) => {
    const pod = await imagePod(node, "invalid-name", { image: "Not/An:Image:Name" });
    assert.equal((await waitingFor(pod, /^InvalidImageName$/)).reason, "InvalidImageName");
    await pod.delete();
  }),
  check("an image by digest", async (node) => {
    const { image } = await node.cri.call("imageStatus", { image: message(ImageSpec, { image: node.image }) });
    const digest = image?.repoDigests[0] ?? "";
    assert.match(digest, /@sha256:/);
    const pod = await imagePod(node, "by-digest", { image: digest });
    await pod.ready();
    assert.ok((await pod.container("main")).imageID.endsWith(digest.slice(digest.indexOf("@"))));
    await pod.delete();
  }),
];
