/** OCI artifacts as volumes: what containers see, hostile names, and what happens when one goes away. */
import assert from "node:assert/strict";
import {
  IDMapping,
  ImageSpec,
  LinuxContainerSecurityContext,
  Mount,
  NamespaceMode,
  NamespaceOption,
  UserNamespace,
} from "../../src/cri/gen/api.ts";
import { addArtifact } from "../fakes/artifact.ts";
import { FakeRegistry } from "../fakes/registry.ts";
import { codeOf, message } from "./harness/cri_client.ts";
import { Lab, type LabOptions } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { execText, PodUnderTest, shell, statusOf, type Wish } from "./harness/tries.ts";

/** A lab whose daemon may pull from one more registry without TLS. */
async function startLab(registry: FakeRegistry, options: LabOptions = {}): Promise<Lab> {
  const lab = await Lab.start({
    ...options,
    prepare: async (directory) => {
      const entry = `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`;
      await Deno.writeTextFile(`${directory}/registries.conf`, entry, { append: true });
      await options.prepare?.(directory);
    },
  });
  await lab.pull();
  return lab;
}

function withArtifact(image: string, fields: Partial<Mount> = {}): Wish {
  return {
    command: SLEEPER,
    change: (config) => {
      const spec = message(ImageSpec, { image, userSpecifiedImage: image });
      config.mounts = [message(Mount, { containerPath: "/model", readonly: true, image: spec, ...fields })];
    },
  };
}

async function mountsIn(lab: Lab): Promise<string[]> {
  const text = await Deno.readTextFile("/proc/self/mountinfo");
  return text.split("\n").map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path.startsWith(`${lab.directory}/image-volumes/`));
}

async function pull(lab: Lab, image: string): Promise<string> {
  return (await lab.daemon.client.call("pullImage", { image: message(ImageSpec, { image }) })).imageRef;
}

const MODEL = [
  { title: "weights.bin", body: "w".repeat(100_000) },
  { title: "docs/README.md", body: "# a model" },
  { title: "docs/deep/LICENSE", body: "free" },
  { annotations: { "org.cncf.model.filepath": "config.json" }, body: "{}" },
  { body: "nameless" },
];

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: artifacts are volumes`, async (t) => {
    await using registry = await FakeRegistry.start();
    await using lab = await startLab(registry, { defaultRuntime: runtime });
    const { client } = lab.daemon;
    const model = addArtifact(registry, { name: "models/one", files: MODEL });
    const pod = await PodUnderTest.run(lab, "artifacts");

    await t.step("PullImage takes it, ListImages and ImageStatus tell of it", async () => {
      assert.equal(await pull(lab, model.reference), model.id);
      const { images } = await client.call("listImages", {});
      assert.deepEqual(images.filter(({ id }) => id === model.id).map(({ repoTags }) => repoTags), [[model.reference]]);
      const { image } = await client.call("imageStatus", {
        image: message(ImageSpec, { image: model.digestReference }),
      });
      assert.equal(image?.id, model.id);
      const run = pod.create({ image: model.reference });
      await assert.rejects(run, /is an artifact .* no container image: mount it as a volume/);
    });

    await t.step("a container reads the files under their names and can change nothing", async () => {
      const id = await pod.start(withArtifact(model.reference));
      assert.equal(
        await execText(lab, id, ...shell("cd /model && busybox find . -type f | busybox sort")),
        "./config.json\n./docs/README.md\n./docs/deep/LICENSE\n./weights.bin",
      );
      assert.equal(await execText(lab, id, "busybox", "wc", "-c", "/model/weights.bin"), "100000 /model/weights.bin");
      assert.equal(await execText(lab, id, "cat", "/model/docs/README.md"), "# a model");
      for (
        const script of [
          "echo x > /model/weights.bin",
          "touch /model/new",
          "rm /model/config.json",
          "mkdir /model/docs/d",
        ]
      ) {
        assert.match(await execText(lab, id, ...shell(script)), /Read-only file system|busy/, script);
      }
      const [mount] = (await statusOf(lab, id)).mounts;
      assert.deepEqual([mount?.image?.image, mount?.image?.imageRef, mount?.hostPath], [model.id, model.id, ""]);
      await pod.removeContainer(id);
    });

    await t.step("a user other than root reads it too", async () => {
      const image = `${lab.registry.host}/bench/nobody:1`;
      await pull(lab, image);
      const id = await pod.start({ ...withArtifact(model.reference), image });
      assert.match(await execText(lab, id, "busybox", "id", "-un"), /nobody/);
      assert.equal(await execText(lab, id, "cat", "/model/docs/deep/LICENSE"), "free");
      await pod.removeContainer(id);
    });

    await t.step("a pod with a user namespace reads it", async () => {
      const range = [message(IDMapping, { containerId: 0, hostId: 200_000, length: 65_536 })];
      const usernsOptions = message(UserNamespace, { mode: NamespaceMode.POD, uids: range, gids: range });
      const namespaceOptions = message(NamespaceOption, { pid: NamespaceMode.CONTAINER, usernsOptions });
      const mapped = await PodUnderTest.run(lab, "mapped", {
        change: ({ linux }) => {
          if (linux?.securityContext !== undefined) linux.securityContext.namespaceOptions = namespaceOptions;
        },
      });
      const plain = withArtifact(model.reference);
      const id = await mapped.start({
        ...plain,
        change: (config) => {
          plain.change?.(config);
          const securityContext = message(LinuxContainerSecurityContext, { namespaceOptions });
          config.linux = { resources: undefined, securityContext };
        },
      });
      assert.match(await execText(lab, id, "cat", "/proc/self/uid_map"), /200000/);
      assert.equal(await execText(lab, id, "cat", "/model/docs/deep/LICENSE"), "free");
      assert.match(await execText(lab, id, ...shell("echo x > /model/config.json")), /Read-only|denied/);
      await mapped.remove();
    });

    await t.step("a sub path is a directory or a file, and leads nowhere else", async () => {
      const directory = await pod.start(withArtifact(model.reference, { imageSubPath: "docs" }));
      assert.equal(await execText(lab, directory, "cat", "/model/deep/LICENSE"), "free");
      assert.match(await execText(lab, directory, ...shell("echo x > /model/README.md")), /Read-only/);
      const file = await pod.start(
        withArtifact(model.id, { imageSubPath: "docs/README.md", containerPath: "/read.me" }),
      );
      assert.equal(await execText(lab, file, "cat", "/read.me"), "# a model");
      assert.match(await execText(lab, file, ...shell("echo x > /read.me")), /Read-only/);
      for (
        const [imageSubPath, reason] of [["none", /path of the artifact "none" not found/], [
          "docs/../../..",
          /leads out/,
        ]] as const
      ) {
        const create = pod.create(withArtifact(model.reference, { imageSubPath }));
        await assert.rejects(create, (error: Error) => reason.test(error.message) && codeOf(error) !== 12);
      }
      for (const id of [directory, file]) await pod.removeContainer(id);
      assert.deepEqual(await mountsIn(lab), []);
    });

    await t.step("hostile names are refused by the kubelet's name for it, and touch nothing", async () => {
      const passwd = await Deno.readTextFile("/etc/passwd");
      const hostile = [
        [[{ title: "../../../../../../etc/passwd", body: "root::0:0::/:/bin/sh" }], /leads out of the volume/],
        [[{ title: "/etc/passwd", body: "root::0:0::/:/bin/sh" }], /is absolute/],
        [[{ title: "n".repeat(300), body: "x" }], /is too long/],
        [[{ title: "same", body: "1" }, { title: "./same", body: "2" }], /"same" twice/],
        [[{ title: "a", body: "1" }, { title: "a/b", body: "2" }], /"a" as a file and as a directory/],
        [[{ body: "no name at all" }], /has a name .*so a volume would show nothing/],
      ] as const;
      for (const [i, [files, reason]] of hostile.entries()) {
        const { reference } = addArtifact(registry, { name: `hostile/n${i}`, files });
        await pull(lab, reference);
        await assert.rejects(
          pod.create(withArtifact(reference)),
          (error: Error) => /ImageVolumeMountFailed/.test(error.message) && reason.test(error.message),
        );
        await client.call("removeImage", { image: message(ImageSpec, { image: reference }) });
      }
      assert.equal(await Deno.readTextFile("/etc/passwd"), passwd);
      assert.deepEqual(await mountsIn(lab), []);
    });

    await t.step(
      "one in use cannot be removed; one taken away by others stays for who has it, over a restart",
      async () => {
        const id = await pod.start(withArtifact(model.reference));
        const two = await pod.start(withArtifact(model.id));
        const remove = () => client.call("removeImage", { image: message(ImageSpec, { image: model.reference }) });
        await assert.rejects(remove(), /is a volume of a container/);
        assert.equal((await mountsIn(lab)).filter((path) => path.endsWith(model.id)).length, 1);
        await Deno.remove(`${lab.directory}/root/artifacts`, { recursive: true });
        await lab.daemon.stop("SIGKILL");
        await Deno.mkdir(`${lab.directory}/image-volumes/${"0".repeat(64)}.new`);
        await lab.daemon.start();
        const again = lab.daemon.client;
        assert.ok((await again.call("listImages", {})).images.every((one) => one.id !== model.id));
        assert.equal(await execText(lab, id, "cat", "/model/docs/README.md"), "# a model");
        assert.equal(await execText(lab, two, "busybox", "tail", "-c", "3", "/model/weights.bin"), "www");
        await again.call("removeContainer", { containerId: id });
        assert.equal(await execText(lab, two, "cat", "/model/config.json"), "{}");
        await again.call("removeContainer", { containerId: two });
        assert.deepEqual(await mountsIn(lab), []);
        assert.deepEqual(await Array.fromAsync(Deno.readDir(`${lab.directory}/image-volumes`)), []);
      },
    );

    await t.step("after the restart it is pulled, mounted and removed again", async () => {
      const again = lab.daemon.client;
      await again.call("pullImage", { image: message(ImageSpec, { image: model.reference }) });
      const id = await pod.start(withArtifact(model.reference));
      assert.equal(await execText(lab, id, "cat", "/model/docs/README.md"), "# a model");
      await again.call("removeContainer", { containerId: id });
      await again.call("removeImage", { image: message(ImageSpec, { image: model.reference }) });
      const { image } = await again.call("imageStatus", { image: message(ImageSpec, { image: model.reference }) });
      assert.equal(image, undefined);
      const blobs = `${lab.directory}/root/artifacts/blobs/sha256`;
      assert.deepEqual(await Array.fromAsync(Deno.readDir(blobs)), []);
    });

    await pod.remove();
    assert.deepEqual(await lab.leaks(), []);
  });
}

Deno.test("additional stores of artifacts and oci_artifact_mount_support count", async (t) => {
  await using registry = await FakeRegistry.start();
  const model = addArtifact(registry, { name: "models/one", files: MODEL });

  await t.step("a node that mounts none says which option", async () => {
    await using lab = await startLab(registry, { dropIn: () => "[crio.image]\noci_artifact_mount_support = false\n" });
    await pull(lab, model.reference);
    const pod = await PodUnderTest.run(lab, "off");
    await assert.rejects(
      pod.create(withArtifact(model.reference)),
      /ImageVolumeMountFailed.*oci_artifact_mount_support is off/,
    );
    await pod.remove();
  });

  await t.step("an additional store serves a node that has pulled nothing", async () => {
    const store = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "crio-e2e-store-" });
    try {
      const copy = ["copy", "-q", "--src-tls-verify=false", `docker://${model.reference}`];
      const skopeo = new Deno.Command("skopeo", {
        args: ["--insecure-policy", ...copy, `oci:${store}/artifacts:${model.reference}`],
      });
      assert.ok((await skopeo.output()).success);
      const dropIn = (): string => `[crio.runtime]\nadditional_artifact_stores = ["${store}"]\n`;
      await using lab = await startLab(registry, { dropIn });
      const asked = registry.requests.length;
      const { image } = await lab.daemon.client.call("imageStatus", {
        image: message(ImageSpec, { image: model.reference }),
      });
      assert.deepEqual([image?.id, image?.pinned], [model.id, true]);
      const pod = await PodUnderTest.run(lab, "additional");
      const id = await pod.start(withArtifact(model.reference));
      assert.equal(await execText(lab, id, "cat", "/model/docs/README.md"), "# a model");
      assert.equal(registry.requests.length, asked);
      await pod.remove();
    } finally {
      await Deno.remove(store, { recursive: true });
    }
  });
});
