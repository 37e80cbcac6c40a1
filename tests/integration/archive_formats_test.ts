import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { openLibraries } from "../../src/linux/warm_up.ts";
import type { FakeRegistry, StoredImage } from "../fakes/registry.ts";
import { buildTar } from "../fakes/tar.ts";
import { type DropNode, skopeo, tool, withDrop } from "./drop_node.ts";
import { isClean } from "./pull_node.ts";

openLibraries();

const LAYERS = [
  buildTar([{ name: "etc/one", body: "1" }]),
  buildTar([{ name: "etc/two", body: "22" }, { name: "blob", body: crypto.getRandomValues(new Uint8Array(65_000)) }]),
];
const NAME = "registry.invalid/team/app:1";

function addImage(registry: FakeRegistry, compression: "gzip" | "zstd" | "none" = "gzip"): StoredImage {
  return registry.addImage({ name: "team/app", tag: "1", layers: LAYERS, config: { User: "7" }, compression });
}

/** The image is there as it would be after a pull. */
async function isWhole({ images, store }: DropNode, built: StoredImage, name = NAME): Promise<void> {
  const info = await images.find(name);
  equal(`sha256:${info?.id}`, built.config.digest);
  deepEqual([info?.repoTags, info?.user], [[name], "7"]);
  const [stored] = await store.images({});
  const layer = stored?.topLayer ?? "";
  ok(layer !== "");
}

/** Each way in which a tool writes an archive: what makes it from the registry's image, and its file in the folder. */
const FORMATS: Readonly<Record<string, (home: string, image: StoredImage, drop: string) => Promise<void>>> = {
  "skopeo oci-archive": (home, image, drop) => skopeo(home, image, `oci-archive:${drop}/a.tar:${NAME}`),
  "skopeo docker-archive": (home, image, drop) => skopeo(home, image, `docker-archive:${drop}/a.tar:${NAME}`),
  "skopeo oci layout": (home, image, drop) => skopeo(home, image, `oci:${drop}/a:${NAME}`),
  "skopeo docker-archive with gzip": async (home, image, drop) => {
    await skopeo(home, image, `docker-archive:${home}/a.tar:${NAME}`);
    await tool(home, "sh", "-c", `gzip < ${home}/a.tar > ${drop}/a.tar.gz`);
  },
  "skopeo oci-archive with zstd": async (home, image, drop) => {
    await skopeo(home, image, `oci-archive:${home}/a.tar:${NAME}`);
    await tool(home, "sh", "-c", `zstd -q < ${home}/a.tar > ${drop}/a.tar.zst`);
  },
  "podman save": async (home, image, drop) => {
    await podmanSave(home, image, `${drop}/a.tar`, "docker-archive");
  },
  "podman save --format oci-archive": async (home, image, drop) => {
    await podmanSave(home, image, `${drop}/a.tar`, "oci-archive");
  },
};

async function podmanSave(home: string, image: StoredImage, file: string, format: string): Promise<void> {
  const store = ["--root", `${home}/podman`, "--runroot", `${home}/podman-run`, "--storage-driver", "vfs"];
  await skopeo(home, image, `containers-storage:[vfs@${home}/podman+${home}/podman-run]${NAME}`);
  await tool(
    home,
    "podman",
    ...store,
    "--cgroup-manager",
    "cgroupfs",
    "save",
    "-q",
    "--format",
    format,
    "-o",
    file,
    NAME,
  );
}

for (const [name, write] of Object.entries(FORMATS)) {
  Deno.test(`an archive of ${name} becomes the image that it was made from`, async () => {
    await withDrop({}, async (node) => {
      const { registry, root, drop, said, restart } = node;
      const built = addImage(registry);
      await write(root, built, drop);
      await said.next(/^info Imported image archive .*registry\.invalid\/team\/app:1/);
      await isWhole(node, built);
      // Not read again after a restart.
      const imports = node.pulls.list().length;
      const folder = await restart();
      equal(await folder.provide(["registry.invalid/none:1"], { signal: AbortSignal.timeout(10_000) }), undefined);
      deepEqual(folder.list().map(({ state }) => state), ["imported"]);
      equal(node.pulls.list().length, imports);
    });
  });
}

Deno.test("an archive of an image for several platforms gives ours", async () => {
  await withDrop({}, async ({ registry, root, drop, said, images }) => {
    const arm = registry.addImage({
      name: "multi",
      tag: "arm",
      layers: LAYERS.slice(0, 1),
      platform: { os: "linux", architecture: "arm64" },
    });
    const amd = registry.addImage({ name: "multi", tag: "amd", layers: LAYERS.slice(1) });
    registry.addIndex({ name: "multi", tag: "1", images: [arm, amd] });
    const index = { ...arm, reference: `${registry.host}/multi:1` };
    await tool(
      root,
      ...["skopeo", "--insecure-policy", "copy", "-q", "--all", "--src-tls-verify=false"],
      ...[`docker://${index.reference}`, `oci-archive:${drop}/multi.tar:registry.invalid/multi:1`],
    );
    await said.next(/^info Imported image archive/);
    const wanted = Deno.build.arch === "aarch64" ? arm : amd;
    equal(`sha256:${(await images.find("registry.invalid/multi:1"))?.id}`, wanted.config.digest);
  });
});

Deno.test("one archive of several images gives all of them, and layers that they share once", async () => {
  await withDrop({}, async ({ registry, root, drop, said, images, store }) => {
    const built = [1, 2].map((i) =>
      registry.addImage({
        name: `app${i}`,
        tag: "1",
        layers: [LAYERS[0] ?? new Uint8Array(), buildTar([{ name: `${i}`, body: "x" }])],
      })
    );
    for (const [i, image] of built.entries()) {
      await skopeo(root, image, `oci:${root}/both:registry.invalid/app${i + 1}:1`);
    }
    await tool(root, "tar", "-C", `${root}/both`, "-cf", `${drop}/both.tar`, ".");
    match(await said.next(/^info Imported image archive/), /app1:1, registry\.invalid\/app2:1/);
    deepEqual(
      (await images.list()).map(({ id }) => `sha256:${id}`).sort(),
      built.map(({ config }) => config.digest).sort(),
    );
    const layers = JSON.parse(await Deno.readTextFile(`${root}/graph/overlay-layers/layers.json`));
    equal(layers.length, 3);
    await store.settle();
  });
});

Deno.test("an archive without a name, or with only a tag, is refused with the remedy", async () => {
  await withDrop({}, async ({ registry, root, drop, said, folder, images }) => {
    await skopeo(root, addImage(registry), `oci-archive:${drop}/nameless.tar`);
    match(
      await said.next(/^error Image archive cannot be imported/),
      /image 0 of .*nameless\.tar has no name.*skopeo copy/,
    );
    await skopeo(root, addImage(registry), `oci-archive:${drop}/tag.tar:latest`);
    await said.next(/^error Image archive cannot be imported.*tag\.tar/);
    deepEqual(folder.list().map(({ state }) => state), ["failed", "failed"]);
    deepEqual(await images.list(), []);
  });
});

Deno.test("image_sources are asked before registries: archives, layouts, and directories as skopeo sync writes them", async () => {
  const sources = [
    "registry.invalid/team/app:1=oci-archive:ROOT/app.tar",
    "registry.invalid/sync=dir:ROOT/sync",
    "registry.invalid/layouts=oci:ROOT/layouts",
    "registry.invalid/set=docker-archive:ROOT/set.tar",
  ];
  await withDrop({ sources }, async (node) => {
    const { registry, root, images } = node;
    const built = addImage(registry);
    await skopeo(root, built, `oci-archive:${root}/app.tar`);
    await Deno.mkdir(`${root}/layouts/deep`, { recursive: true });
    await skopeo(root, built, `oci:${root}/layouts/deep/app:v2`);
    await skopeo(root, built, `docker-archive:${root}/set.tar:registry.invalid/set/app:3`);
    await tool(
      root,
      ...["skopeo", "--insecure-policy", "sync", "--src-tls-verify=false", "--src", "docker", "--dest", "dir"],
      ...[built.reference, `${root}/sync`],
    );
    const asked = registry.requests.length;
    const id = built.config.digest.slice("sha256:".length);
    for (
      const name of [
        NAME,
        "registry.invalid/sync/app:1",
        "registry.invalid/layouts/deep/app:v2",
        "registry.invalid/set/app:3",
      ]
    ) {
      equal(await images.pull({ image: name }), id, name);
    }
    equal(registry.requests.length, asked);
    deepEqual((await images.find(id))?.repoTags.length, 4);
    // What the place does not have is asked for in the registry, whose failure counts.
    await rejects(images.pull({ image: "registry.invalid/set/app:4" }), { kind: "registry_unavailable" });
    await rejects(images.pull({ image: "registry.invalid/sync/other:1" }), { kind: "registry_unavailable" });
  });
});

Deno.test("an image of crio.conf's pause_image is imported from its place, and pinned", async () => {
  const fixed = (
    root: string,
  ): { place: { path: string; transport: "oci" } }[] => [{ place: { path: `${root}/pause`, transport: "oci" } }];
  await withDrop({
    fixed,
    prepare: async ({ registry, root }) => await skopeo(root, addImage(registry), `oci:${root}/pause:v1`),
  }, async ({ said, images }) => {
    await said.next(/^info Imported image archive/);
    deepEqual((await images.list()).map(({ pinned }) => pinned), [true]);
  });
});

Deno.test("the policy's scopes of a transport count for archives", async () => {
  const reject = [{ type: "reject" }];
  const accept = [{ type: "insecureAcceptAnything" }];
  await withDrop({}, async ({ registry, root, drop, said, images }) => {
    const policy = (transports: unknown): Promise<void> =>
      Deno.writeTextFile(`${root}/policy.json`, JSON.stringify({ default: reject, transports }));
    const built = addImage(registry);
    await policy({ docker: { "": accept }, "oci-archive": { [`${drop}/good.tar`]: accept } });
    await skopeo(root, built, `oci-archive:${drop}/bad.tar:${NAME}`);
    match(await said.next(/^error/), /oci-archive:.*bad\.tar:registry.* is rejected by the policy .*\(default\)/);
    await isClean(root);
    await skopeo(root, built, `oci-archive:${drop}/good.tar:${NAME}`);
    await said.next(/^info Imported image archive .*good\.tar/);
    equal((await images.list()).length, 1);
    await policy({ "docker-archive": { "": [{ type: "signedBy", keyType: "GPGKeys", keyPath: "/k" }] } });
    await skopeo(root, built, `docker-archive:${drop}/unsigned.tar:${NAME}`);
    match(await said.next(/^error.*unsigned/), /has to be signedBy by the policy .*docker-archive scope ""/);
  });
});
