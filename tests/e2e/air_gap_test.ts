/** Images from archives, without a registry that could be reached, as the kubelet asks for them. */
import assert from "node:assert/strict";
import { ImageSpec } from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { PATIENCE } from "./harness/patience.ts";
import { PodUnderTest } from "./harness/tries.ts";

const NAME = "registry.invalid/team/app:1";
const OTHER = "registry.invalid/team/other:1";
const LIMIT_MS = 20_000 * PATIENCE;

interface Archive {
  readonly file: string;
  readonly state: string;
  readonly pinned: boolean;
  readonly images: readonly { readonly id: string; readonly names: readonly string[] }[];
  readonly error?: string;
}

async function get(socket: string, path: string): Promise<string> {
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
  const response = await fetch(`http://crio${path}`, { client });
  assert.ok(response.ok, `${path}: ${response.status}`);
  return await response.text();
}

/** What the daemon says of one archive, once it is in this state. */
async function archive(lab: Lab, file: string, state: string): Promise<Archive> {
  const untilMs = performance.now() + LIMIT_MS;
  for (;;) {
    const { archives } = JSON.parse(await get(lab.daemon.spec.socketPath, "/archives"));
    const found = archives.find((one: Archive) => one.file === file);
    if (found?.state === state) return found;
    if (performance.now() > untilMs) {
      throw new Error(`${file} is not ${state}: ${JSON.stringify(archives)}\n${lab.daemon.logTail()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function run(...argv: readonly string[]): Promise<void> {
  const [program = "", ...args] = argv;
  const { code, stderr } = await new Deno.Command(program, { args }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
}

/** `skopeo copy` of an image of the lab's registry. */
async function skopeo(lab: Pick<Lab, "registry">, image: string, to: string): Promise<void> {
  const from = `docker://${lab.registry.host}/bench/${image}`;
  await run("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", from, to);
}

async function imageOf(lab: Lab, name: string): Promise<{ readonly id: string; readonly pinned: boolean } | undefined> {
  return (await lab.daemon.client.call("imageStatus", { image: message(ImageSpec, { image: name }) })).image;
}

Deno.test("pods run from archives of the drop folder, without a registry", async (t) => {
  await using lab = await Lab.start({
    dropIn: (directory) =>
      `[crio.image]\nimage_sources = ["registry.invalid/usb=dir:${directory}/usb"]\n` +
      `[crio.metrics]\nenable_metrics = true\nmetrics_port = 0\nmetrics_socket = "${directory}/metrics.sock"\n`,
  });
  const drop = `${lab.directory}/images.d`;

  await t.step("an archive that is there at start is to be had at once, and pinned", async () => {
    await lab.daemon.stop();
    await skopeo(lab, "busybox:1", `docker-archive:${drop}/base.pinned.tar:${NAME}`);
    await run("gzip", `${drop}/base.pinned.tar`);
    await lab.daemon.start();
    // The kubelet asks as soon as the daemon answers, and has no registry to go to.
    const { imageRef } = await lab.daemon.client.call("pullImage", { image: message(ImageSpec, { image: NAME }) });
    assert.deepEqual(await imageOf(lab, NAME).then((image) => [image?.id, image?.pinned]), [imageRef, true]);
    const pod = await PodUnderTest.run(lab, "first");
    const { text, status } = await pod.output({ image: NAME, command: ["/bin/echo", "from the archive"] });
    assert.deepEqual([text, status.exitCode], ["from the archive", 0]);
    await pod.remove();
  });

  await t.step("an archive that comes is imported when its writer has closed it", async () => {
    await skopeo(lab, "busybox:1", `oci-archive:${lab.directory}/other.tar:${OTHER}`);
    const bytes = await Deno.readFile(`${lab.directory}/other.tar`);
    {
      using file = await Deno.open(`${drop}/other.tar`, { write: true, create: true });
      for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
      await archive(lab, "other.tar", "incomplete");
      assert.equal(await imageOf(lab, OTHER), undefined);
    }
    const { images, pinned } = await archive(lab, "other.tar", "imported");
    assert.deepEqual([images[0]?.names, pinned], [[OTHER], false]);
    const pulls = JSON.parse(await get(lab.daemon.spec.socketPath, "/pulls")).pulls;
    assert.ok(pulls.some((pull: { image: string; stage: string }) => pull.image === OTHER && pull.stage === "done"));
    const pod = await PodUnderTest.run(lab, "second");
    assert.equal((await pod.output({ image: OTHER, command: ["/bin/echo", "hello"] })).text, "hello");
    await pod.remove();
  });

  await t.step("a restart knows the archives and reads none", async () => {
    const before = (await Deno.readTextFile(lab.daemon.logPath)).split("Imported image archive").length;
    const pod = await PodUnderTest.run(lab, "third");
    const container = await pod.start({ image: OTHER });
    await lab.daemon.stop("SIGKILL");
    await lab.daemon.start();
    await archive(lab, "other.tar", "imported");
    await archive(lab, "base.pinned.tar.gz", "imported");
    assert.equal((await Deno.readTextFile(lab.daemon.logPath)).split("Imported image archive").length, before);
    assert.ok((await imageOf(lab, NAME))?.pinned);
    await lab.daemon.client.call("removeContainer", { containerId: container });
    await lab.daemon.client.call("stopPodSandbox", { podSandboxId: pod.id });
    await lab.daemon.client.call("removePodSandbox", { podSandboxId: pod.id });
  });

  await t.step("an archive that is replaced gives its name to the new image", async () => {
    const old = (await imageOf(lab, OTHER))?.id;
    await skopeo(lab, "nobody:1", `oci-archive:${lab.directory}/next.tar:${OTHER}`);
    await Deno.rename(`${lab.directory}/next.tar`, `${drop}/other.tar`);
    const untilMs = performance.now() + LIMIT_MS;
    while ((await imageOf(lab, OTHER))?.id === old && performance.now() < untilMs) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const pod = await PodUnderTest.run(lab, "fourth");
    const { text } = await pod.output({ image: OTHER, command: ["/bin/id", "-u"] });
    assert.notEqual(text, "0", "the new image has a user of its own");
    await pod.remove();
  });

  await t.step("where the policy lets archives in and registries not, their images run", async () => {
    const policy = (document: unknown): Promise<void> =>
      Deno.writeTextFile(`${lab.directory}/policy.json`, JSON.stringify(document));
    const accept = [{ type: "insecureAcceptAnything" }];
    await policy({ default: [{ type: "reject" }], transports: { "oci-archive": { [drop]: accept } } });
    const pod = await PodUnderTest.run(lab, "fifth");
    assert.equal((await pod.output({ image: OTHER, command: ["/bin/echo", "allowed"] })).text, "allowed");
    // It came by another transport, for which there is no rule.
    await assert.rejects(pod.create({ image: NAME }), /rejected by the policy/);
    await skopeo(lab, "busybox:1", `docker-archive:${drop}/refused.tar:registry.invalid/refused:1`);
    assert.match(
      (await archive(lab, "refused.tar", "failed")).error ?? "",
      /docker-archive:.* is rejected by the policy/,
    );
    await policy({ default: accept });
    await Deno.remove(`${drop}/refused.tar`);
    await pod.remove();
  });

  await t.step("an archive with a wrong digest is refused, and nothing of it stays", async () => {
    const before = (await lab.daemon.client.call("listImages", {})).images.length;
    const layout = `${lab.directory}/bad`;
    await skopeo(lab, "busybox:1", `oci:${layout}:registry.invalid/bad:1`);
    const blobs = await Array.fromAsync(Deno.readDir(`${layout}/blobs/sha256`));
    for (const { name } of blobs) {
      const bytes = await Deno.readFile(`${layout}/blobs/sha256/${name}`);
      if (bytes[0] !== 0x1f) continue;
      const middle = bytes.length >> 1;
      bytes[middle] = (bytes[middle] ?? 0) ^ 0xff;
      await Deno.writeFile(`${layout}/blobs/sha256/${name}`, bytes);
    }
    // A layer that is here already would not be read.
    for (const { id } of (await lab.daemon.client.call("listImages", {})).images) {
      await lab.daemon.client.call("removeImage", { image: message(ImageSpec, { image: id }) });
    }
    await run("tar", "-C", layout, "-cf", `${drop}/bad.tar`, ".");
    const { error } = await archive(lab, "bad.tar", "failed");
    assert.match(error ?? "", /import registry\.invalid\/bad:1 from .*bad\.tar: .*(digest|gzip|compressed|archive)/);
    assert.equal(await imageOf(lab, "registry.invalid/bad:1"), undefined);
    assert.ok(before > 0);
    await Deno.remove(`${drop}/bad.tar`);
  });

  await t.step("images that were removed come back when they are asked for", async () => {
    for (const name of [NAME, OTHER]) {
      await lab.daemon.client.call("pullImage", { image: message(ImageSpec, { image: name }) });
    }
    assert.ok(await imageOf(lab, NAME));
  });

  await t.step("a place of image_sources is asked before registries", async () => {
    const args = ["skopeo", "--insecure-policy", "sync", "--src-tls-verify=false", "--src", "docker", "--dest", "dir"];
    await run(...args, `${lab.registry.host}/bench/busybox:1`, `${lab.directory}/usb`);
    await lab.daemon.client.call("pullImage", {
      image: message(ImageSpec, { image: "registry.invalid/usb/busybox:1" }),
    });
    assert.ok(await imageOf(lab, "registry.invalid/usb/busybox:1"));
  });

  await t.step("metrics count pulls from registries, and not imports", async () => {
    await lab.pull();
    const text = await get(`${lab.directory}/metrics.sock`, "/metrics");
    assert.match(text, /^container_runtime_crio_image_pulls_success_total 1$/m);
    assert.match(
      text,
      /^container_runtime_crio_image_layer_reuse_total\{name=".*bench\/busybox:1@sha256:[0-9a-f]+"\} 1$/m,
    );
    assert.match(text, /^container_runtime_crio_image_pulls_skipped_bytes_total\{size=">1 K?M?iB"\} [1-9]/m);
    assert.match(text, /^container_runtime_crio_image_pulls_failure_total\{error="UNKNOWN"\} [1-9]/m);
  });

  await t.step("nothing is left", async () => assert.deepEqual(await lab.leaks(), []));
});
