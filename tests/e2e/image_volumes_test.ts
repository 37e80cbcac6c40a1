/** Images as volumes: what containers see of them, how long they stay mounted, and what refers to them. */
import assert from "node:assert/strict";
import { ImageSpec, Mount } from "../../src/cri/gen/api.ts";
import { codeOf, message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { execText, PodUnderTest, statusOf, type Wish } from "./harness/tries.ts";

function withImage(image: string, fields: Partial<Mount> = {}): Wish {
  return {
    command: SLEEPER,
    change: (config) => {
      const spec = message(ImageSpec, { image, userSpecifiedImage: image });
      config.mounts = [message(Mount, { containerPath: "/volume", readonly: true, image: spec, ...fields })];
    },
  };
}

async function imageMounts(lab: Lab): Promise<string[]> {
  const text = await Deno.readTextFile("/proc/self/mountinfo");
  return text.split("\n").map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path.startsWith(`${lab.directory}/image-volumes/`));
}

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: images are volumes`, async (t) => {
    await using lab = await Lab.start({ defaultRuntime: runtime });
    await lab.pull();
    const { client } = lab.daemon;
    const { image } = await client.call("imageStatus", { image: message(ImageSpec, { image: lab.image }) });
    const imageId = image?.id ?? "";
    const pod = await PodUnderTest.run(lab, "volumes");

    await t.step("a container reads and executes what is in the image, and cannot write", async () => {
      const id = await pod.start(withImage(lab.image));
      assert.match(await execText(lab, id, "/volume/bin/busybox", "cat", "/volume/etc/passwd"), /^root:/);
      assert.match(await execText(lab, id, "touch", "/volume/new"), /Read-only file system/);
      const [mount] = (await statusOf(lab, id)).mounts;
      assert.deepEqual([mount?.image?.image, mount?.image?.imageRef, mount?.hostPath], [imageId, imageId, ""]);
      await pod.removeContainer(id);
    });

    await t.step("a sub path is a directory or a file of the image", async () => {
      const directory = await pod.start(withImage(lab.image, { imageSubPath: "etc" }));
      assert.match(await execText(lab, directory, "cat", "/volume/passwd"), /^root:/);
      const file = await pod.start(withImage(imageId, { imageSubPath: "etc/group", containerPath: "/group" }));
      assert.match(await execText(lab, file, "cat", "/group"), /^root:/);
      for (const id of [directory, file]) await pod.removeContainer(id);
    });

    await t.step("what cannot be mounted is refused by the kubelet's name for it", async () => {
      const refused = async (wish: Wish, reason: RegExp): Promise<void> => {
        await assert.rejects(pod.create(wish), (error: Error) => reason.test(error.message) && codeOf(error) !== 12);
      };
      await refused(withImage(lab.image, { imageSubPath: "not/there" }), /ImageVolumeMountFailed.*ENOENT/);
      await refused(withImage("example.com/never/pulled:1"), /ImageVolumeMountFailed.*not found/);
      await refused(withImage(lab.image, { imageSubPath: "../up" }), /leads out/);
      await refused(withImage(lab.image, { readonly: false }), /readonly/);
      assert.deepEqual(await imageMounts(lab), []);
    });

    await t.step("one mount serves all containers, over a restart, and goes with the last one", async () => {
      const [one, two] = [await pod.start(withImage(lab.image)), await pod.start(withImage(lab.image))];
      assert.deepEqual(await imageMounts(lab), [`${lab.directory}/image-volumes/${imageId}`]);
      await pod.removeContainer(one);
      // What a daemon leaves that dies between a record and its mount.
      await lab.daemon.stop("SIGKILL");
      await Deno.mkdir(`${lab.directory}/image-volumes/${"0".repeat(64)}`);
      await lab.daemon.start();
      assert.deepEqual(await imageMounts(lab), [`${lab.directory}/image-volumes/${imageId}`]);
      assert.match(await execText(lab, two, "cat", "/volume/etc/passwd"), /^root:/);
      await lab.daemon.client.call("removeContainer", { containerId: two });
      assert.deepEqual(await imageMounts(lab), []);
      assert.deepEqual(await Array.fromAsync(Deno.readDir(`${lab.directory}/image-volumes`)), []);
    });

    await t.step("an image that is a volume cannot be removed", async () => {
      const again = lab.daemon.client;
      const other = `${lab.registry.host}/bench/nobody:1`;
      await again.call("pullImage", { image: message(ImageSpec, { image: other }) });
      const id = await pod.start(withImage(other));
      const remove = () => again.call("removeImage", { image: message(ImageSpec, { image: other }) });
      await assert.rejects(remove(), /used by a container/);
      await again.call("removeContainer", { containerId: id });
      await remove();
    });

    await lab.daemon.client.call("stopPodSandbox", { podSandboxId: pod.id });
    await lab.daemon.client.call("removePodSandbox", { podSandboxId: pod.id });
    assert.deepEqual(await lab.leaks(), []);
  });
}
