/** The daemon's store: repair after a stop that was not clean, read-only image stores, a separate image store. */
import assert from "node:assert/strict";
import { ContainerState, ImageSpec } from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { checkStoreOf, podmanDone, podmanOf, problemsOf } from "./harness/store_tools.ts";
import { execText, PodUnderTest, statusOf } from "./harness/tries.ts";

const exists = (path: string): Promise<boolean> => Deno.lstat(path).then(() => true, () => false);
const log = (lab: Lab): Promise<string> => Deno.readTextFile(lab.daemon.logPath);

async function imageNames(lab: Lab): Promise<string[]> {
  return (await lab.daemon.client.call("listImages", {})).images.flatMap(({ repoTags }) => repoTags).sort();
}

Deno.test("a clean stop is noted; after a kill the store is checked, and only what is damaged goes", async () => {
  await using lab = await Lab.start();
  const mark = `${lab.directory}/clean.shutdown`;
  assert.deepEqual([await exists(mark), await exists(`${mark}.supported`)], [false, true]);
  await lab.pull();
  const extra = `${lab.registry.host}/bench/extra:1`;
  await lab.daemon.client.call("pullImage", { image: message(ImageSpec, { image: extra }) });
  await lab.daemon.stop();
  assert.ok(await exists(mark));
  await lab.daemon.start();
  assert.doesNotMatch(await log(lab), /last shutdown was not clean/);
  const pod = await PodUnderTest.run(lab, "stays");
  const container = await pod.start({});
  await podmanOf(lab, "create", "--name", "podmans", lab.image, "/bin/true");

  await lab.daemon.stop("SIGKILL");
  const images: { names: string[]; layer: string }[] = JSON.parse(
    await Deno.readTextFile(`${lab.directory}/root/overlay-images/images.json`),
  );
  const layer = images.find(({ names }) => names.includes(extra))?.layer;
  await Deno.remove(`${lab.directory}/root/overlay/${layer}`, { recursive: true });
  await lab.daemon.start();
  assert.match(await log(lab), /The last shutdown was not clean, and \d+ things in the store are damaged/);
  assert.match(await log(lab), /Repaired the store: removed image [0-9a-f]{64}: pull it anew/);
  assert.deepEqual(await imageNames(lab), [lab.image]);
  assert.equal((await statusOf(lab, container)).state, ContainerState.CONTAINER_RUNNING);
  assert.equal(await execText(lab, container, "echo", "here"), "here");
  assert.equal(
    await podmanOf(lab, "ps", "-a", "--format", "{{.Names}}"),
    "podmans",
    "podman's container is left alone",
  );
  await lab.daemon.client.call("pullImage", { image: message(ImageSpec, { image: extra }) });
  assert.deepEqual(problemsOf(await checkStoreOf(lab)), []);
  await podmanOf(lab, "rm", "podmans");
  await podmanDone(lab);
  await pod.remove();
});

Deno.test("internal_repair = false leaves a damaged store as it is", async () => {
  await using lab = await Lab.start({ dropIn: () => "[crio]\ninternal_repair = false\n" });
  await lab.pull();
  await lab.daemon.stop("SIGKILL");
  const path = `${lab.directory}/root/overlay-images/images.json`;
  const [image] = JSON.parse(await Deno.readTextFile(path));
  await Deno.remove(`${lab.directory}/root/overlay/${image.layer}/diff`, { recursive: true });
  await lab.daemon.start();
  assert.deepEqual(await imageNames(lab), [lab.image]);
  assert.ok(!(await checkStoreOf(lab, ["--quick"])).sound);
});

/** Lets skopeo fill a store, as it would come from another machine, and gives it to the daemon. */
async function share(lab: Lab): Promise<string> {
  const graphRoot = `${lab.directory}/share`;
  const target = `containers-storage:[overlay@${graphRoot}+${lab.directory}/share-run]${SHARED}`;
  const copy = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", `docker://${lab.image}`, target];
  assert.equal((await new Deno.Command("skopeo", { args: copy }).output()).code, 0);
  await new Deno.Command("umount", { args: [`${graphRoot}/overlay`], stderr: "null" }).output();
  const conf = `[storage]\ndriver = "overlay"\n[storage.options]\nadditionalimagestores = ["${graphRoot}"]\n`;
  await Deno.writeTextFile(`${lab.directory}/storage.conf`, conf);
  await lab.daemon.stop();
  await lab.daemon.start();
  return graphRoot;
}

const SHARED = "localhost/shared:1";

Deno.test("pods run on images of a read-only store without a pull; they are pinned and cannot be removed", async () => {
  await using lab = await Lab.start();
  const place = await share(lab);
  const image = message(ImageSpec, { image: SHARED });
  const { image: found } = await lab.daemon.client.call("imageStatus", { image });
  assert.deepEqual([found?.repoTags, found?.pinned], [[SHARED], true]);
  const pod = await PodUnderTest.run(lab, "shared");
  const container = await pod.start({ image: SHARED });
  assert.equal(await execText(lab, container, "echo", "runs"), "runs");
  await assert.rejects(lab.daemon.client.call("removeImage", { image }), /used by a container/);
  await pod.remove();
  await assert.rejects(lab.daemon.client.call("removeImage", { image }), new RegExp(`read-only image store ${place}`));
  // A pull of an image with the same layers downloads none, and gives the name to a record of its own.
  await lab.pull();
  const { images } = await lab.daemon.client.call("listImages", {});
  assert.deepEqual(images.map(({ repoTags, pinned }) => [repoTags, pinned]), [[[lab.image, SHARED], false]]);
  await lab.daemon.client.call("removeImage", { image: message(ImageSpec, { image: lab.image }) });
  assert.deepEqual(await imageNames(lab), [SHARED]);
  assert.deepEqual(problemsOf(await checkStoreOf(lab)), []);
  assert.deepEqual(await lab.leaks(), []);
});

Deno.test("a separate image store holds the images, and the kubelet is told of two file systems", async () => {
  await using lab = await Lab.start({ dropIn: (directory) => `[crio]\nimagestore = "${directory}/images"\n` });
  await lab.pull();
  const { imageFilesystems, containerFilesystems } = await lab.daemon.client.call("imageFsInfo", {});
  assert.equal(imageFilesystems[0]?.fsId?.mountpoint, `${lab.directory}/images/overlay-images`);
  assert.equal(containerFilesystems[0]?.fsId?.mountpoint, `${lab.directory}/root/overlay-containers`);
  const pod = await PodUnderTest.run(lab, "split");
  const container = await pod.start({});
  assert.equal(await execText(lab, container, "echo", "runs"), "runs");
  await lab.daemon.stop("SIGKILL");
  await lab.daemon.start();
  assert.equal(await execText(lab, container, "echo", "runs"), "runs");
  assert.deepEqual(problemsOf(await checkStoreOf(lab)), []);
  await pod.remove();
  await lab.daemon.client.call("removeImage", { image: message(ImageSpec, { image: lab.image }) });
  assert.deepEqual(await lab.leaks(), []);
});
