/** Seccomp profiles that are OCI artifacts, named by annotations of containers, pods and images. */
import assert from "node:assert/strict";
import {
  LinuxContainerSecurityContext,
  SecurityProfile,
  SecurityProfile_ProfileType as ProfileType,
} from "../../src/cri/gen/api.ts";
import { addArtifact } from "../fakes/artifact.ts";
import { FakeRegistry } from "../fakes/registry.ts";
import { buildTar } from "../fakes/tar.ts";
import { BUSYBOX_CONFIG, busyboxLayer } from "./harness/busybox_image.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { execText, pidOf, PodUnderTest, procStatus, type Wish } from "./harness/tries.ts";

const KEY = "seccomp-profile.crio.io";
const OLD = "seccomp-profile.kubernetes.cri-o.io";
const CONFIG = "application/vnd.cncf.seccomp-profile.config.v1+json";

/** Allows everything but these calls. */
const without = (...names: string[]): string =>
  JSON.stringify({
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names, action: "SCMP_ACT_ERRNO", errnoRet: 1 }],
  });

function wish(
  annotations: Record<string, string>,
  fields: { name?: string; image?: string; profile?: ProfileType } = {},
): Wish {
  const { profile = ProfileType.Unconfined, ...rest } = fields;
  return {
    command: SLEEPER,
    ...rest,
    change: (config) => {
      for (const [key, value] of Object.entries(annotations)) config.annotations.set(key, value);
      const seccomp = message(SecurityProfile, { profileType: profile });
      config.linux = { resources: undefined, securityContext: message(LinuxContainerSecurityContext, { seccomp }) };
    },
  };
}

Deno.test("seccomp profiles come from artifacts", async (t) => {
  await using registry = await FakeRegistry.start();
  const named = (name: string, ...calls: string[]): string =>
    addArtifact(registry, { name, files: [{ title: "profile.json", body: without(...calls) }], configType: CONFIG })
      .reference;
  const [noMkdir, noChmod] = [named("no-mkdir", "mkdir", "mkdirat"), named("no-chmod", "chmod", "fchmodat", "fchmod")];
  const layers = [await busyboxLayer(), buildTar([{ name: "marked", body: "" }])];
  const marked = (key: string): string =>
    registry.addImage({
      name: `marked/${key.toLowerCase()}`,
      layers,
      // An image of its own each: the id is the configuration's.
      config: { ...BUSYBOX_CONFIG, Labels: { key } },
      manifestDocument: { annotations: { [key]: noMkdir } },
    }).reference;
  const dropIn = (allowed: string) => (): string =>
    `[crio.runtime.runtimes.crun]\nallowed_annotations = [${allowed}]\n` +
    `[crio.runtime.runtimes.plain]\nruntime_path = "/usr/bin/crun"\nruntime_root = "/run/crun-plain"\n`;
  await using lab = await Lab.start({
    dropIn: dropIn(`"${KEY}", "${OLD}"`),
    prepare: async (directory) => {
      const entry = `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`;
      await Deno.writeTextFile(`${directory}/registries.conf`, entry, { append: true });
    },
  });
  await lab.pull();
  const pull = (image: string) =>
    lab.daemon.client.call("pullImage", { image: { image, annotations: new Map() } as never });
  const pod = await PodUnderTest.run(lab, "artifacts");
  const modeOf = async (id: string): Promise<string | undefined> =>
    (await procStatus(await pidOf(lab, id))).get("Seccomp");
  const mkdir = (id: string): Promise<string> => execText(lab, id, "busybox", "mkdir", "/tmp-new");
  const DENIED = /Operation not permitted/;

  await t.step("a container's annotation filters; the kernel says so, and the artifact was pulled", async () => {
    const id = await pod.start(wish({ [`${KEY}/app`]: noMkdir }, { name: "app" }));
    assert.equal(await modeOf(id), "2");
    assert.match(await mkdir(id), DENIED);
    assert.equal(await execText(lab, id, "busybox", "touch", "/file"), "");
    const { images } = await lab.daemon.client.call("listImages", {});
    assert.ok(images.some(({ repoTags }) => repoTags.includes(noMkdir)));
    await pod.removeContainer(id);
  });

  await t.step("what is there is not pulled again: the registry may be away", async () => {
    registry.fail({ path: "/v2/", effect: { kind: "status", status: 503 } });
    const id = await pod.start(wish({ [`${OLD}/again`]: noMkdir }, { name: "again" }));
    assert.match(await mkdir(id), DENIED);
    registry.clearFaults();
    await pod.removeContainer(id);
  });

  await t.step("another container's annotation and a profile of the request leave it alone", async () => {
    const other = await pod.start(wish({ [`${KEY}/app`]: noMkdir }, { name: "else" }));
    assert.equal(await modeOf(other), "0");
    const own = await pod.start(
      wish({ [`${KEY}/own`]: noMkdir }, { name: "own", profile: ProfileType.RuntimeDefault }),
    );
    assert.equal(await mkdir(own), "");
    for (const id of [other, own]) await pod.removeContainer(id);
  });

  await t.step("a pod's annotation is for all of its containers; a container's comes first", async () => {
    const all = await PodUnderTest.run(lab, "all", {
      change: ({ annotations }) => void annotations.set(`${KEY}/POD`, noMkdir),
    });
    const first = await all.start(wish({}, { name: "one" }));
    assert.match(await mkdir(first), DENIED);
    const second = await all.start(wish({ [`${KEY}/two`]: noChmod }, { name: "two" }));
    assert.equal(await mkdir(second), "");
    assert.match(await execText(lab, second, "busybox", "chmod", "700", "/tmp-new"), DENIED);
    await all.remove();
  });

  await t.step("an image's annotations count last, plain, for a container and for a pod", async () => {
    for (const key of [KEY, `${KEY}/app`, `${OLD}/POD`]) {
      const image = marked(key);
      await pull(image);
      const id = await pod.start(wish({}, { name: "app", image }));
      assert.match(await mkdir(id), DENIED, key);
      await pod.removeContainer(id);
    }
  });

  await t.step("a handler that does not allow the annotation ignores it, the image's too", async () => {
    const plain = await PodUnderTest.run(lab, "plain", { runtimeHandler: "plain" });
    const id = await plain.start(wish({ [`${KEY}/app`]: noMkdir }, { name: "app", image: marked(KEY) }));
    assert.equal(await modeOf(id), "0");
    await plain.remove();
  });

  await t.step("what is no profile is refused, and says why", async () => {
    const model = addArtifact(registry, { name: "model", files: [{ title: "x", body: "{}" }] });
    const broken = addArtifact(registry, { name: "broken", files: [{ title: "x", body: "{" }], configType: CONFIG });
    const long = addArtifact(registry, {
      name: "long",
      files: [{ title: "x", body: "{".repeat(1024 * 1024 + 1) }],
      configType: CONFIG,
    });
    for (
      const [reference, reason] of [
        [model.reference, /holds no seccomp profile: .*vnd\.oci\.empty/],
        [broken.reference, /is not a valid profile/],
        [long.reference, /has 1048577 bytes, more than 1048576/],
        [lab.image, /it is a container image, no artifact/],
        [`${registry.host}/nowhere:1`, /404/],
        ["NOT a reference", /not valid/],
      ] as const
    ) {
      const create = pod.create(wish({ [`${KEY}/app`]: reference }, { name: "app" }));
      await assert.rejects(create, (error: Error) => reason.test(error.message) && error.message.includes(reference));
    }
  });

  await pod.remove();
  assert.deepEqual(await lab.leaks(), []);
});
