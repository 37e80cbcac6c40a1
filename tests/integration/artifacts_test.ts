/** Artifacts: when a pull makes one, how it is stored and found, and that others can read the store. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import type { PodError } from "../../src/base/errors.ts";
import { runCommand } from "../../src/linux/command.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { addArtifact } from "../fakes/artifact.ts";
import { sha256 } from "../fakes/registry/content.ts";
import { buildTar } from "../fakes/tar.ts";
import { skopeo } from "./layouts.ts";
import { type PullNode, withNode } from "./pull_node.ts";

openLibraries();

const MODEL = [{ title: "model.bin", body: "weights" }, { title: "docs/README.md", body: "# read" }];
const LAYERS = [buildTar([{ name: "etc/one", body: "1" }])];
const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

async function blobsOf(root: string): Promise<string[]> {
  const directory = `${root}/graph/artifacts/blobs/sha256`;
  const names = await Array.fromAsync(Deno.readDir(directory), ({ name }) => `sha256:${name}`).catch(() => []);
  return names.sort();
}

async function staged(root: string): Promise<string[]> {
  const directory = `${root}/graph/artifacts/.crio-staging`;
  return await Array.fromAsync(Deno.readDir(directory), ({ name }) => name).catch(() => []);
}

Deno.test("pull() stores an artifact in an OCI layout, and it is listed and found like an image", async () => {
  await withNode({ images: { pinnedImages: ["*models/*"] } }, async ({ all, registry, root }) => {
    const annotations = { "org.opencontainers.image.created": "2026-01-01T00:00:00Z" };
    const model = addArtifact(registry, { name: "models/one", files: MODEL, annotations });
    const image = registry.addImage({ name: "app", layers: LAYERS });
    equal(await all.pull({ image: model.reference }), model.id);
    await all.pull({ image: image.reference });
    const info = await all.find(model.reference);
    deepEqual(info, {
      id: model.id,
      repoTags: [model.reference],
      repoDigests: [model.digestReference],
      sizeBytes: "weights".length + "# read".length + 2 + model.manifest.length,
      user: "",
      pinned: true,
      annotations,
    });
    for (const name of [model.id, `sha256:${model.id}`, model.id.slice(0, 10), model.digestReference]) {
      equal(await all.find(name), info, name);
    }
    const listed = await all.list();
    deepEqual(listed.map(({ repoTags }) => repoTags), [[image.reference], [model.reference]]);
    // The same objects while nothing changes: their encoding is kept by them.
    deepEqual((await all.list()).map((one, i) => one === listed[i]), [true, true]);
    equal(await all.find(`${registry.host}/models/one:other`), undefined);
    deepEqual(await blobsOf(root), [...model.blobs, model.digest, sha256(json({}))].sort());
    match(JSON.stringify(await all.config(model.id)), /vnd\.test\.artifact.*model\.bin/);
    await rejects(
      all.resolve(model.reference),
      /is an artifact \(application\/vnd\.test\.artifact\), no container image/,
    );
    const [use] = (await all.fsInfo()).images;
    const before = use?.usedBytes ?? 0;
    await all.remove(model.id);
    equal(before - ((await all.fsInfo()).images[0]?.usedBytes ?? 0), info?.sizeBytes);
    deepEqual(await staged(root), []);
  });
});

Deno.test("skopeo reads what we store, and we list what skopeo stores", async () => {
  await withNode({}, async ({ all, registry, root }) => {
    const model = addArtifact(registry, { name: "models/one", files: MODEL });
    await all.pull({ image: model.reference });
    const layout = `oci:${root}/graph/artifacts`;
    const inspect = ["/usr/bin/skopeo", "inspect", "--raw", `${layout}:${model.reference}`];
    deepEqual((await runCommand(inspect)).stdout, model.manifest);
    // As CRI-O and podman do it: a copy into the layout, under the full name.
    await skopeo("copy", "-q", `${layout}:${model.reference}`, `${layout}:quay.io/team/copy:2`);
    const copy = await all.find("quay.io/team/copy:2");
    deepEqual([copy?.id, copy?.repoTags], [model.id, [model.reference, "quay.io/team/copy:2"]]);
    await skopeo("copy", "-q", `${layout}:quay.io/team/copy:2`, `dir:${root}/out`);
    equal(await Deno.readTextFile(`${root}/out/${model.blobs[0]?.slice(7)}`), "weights");
    await all.remove("quay.io/team/copy:2");
    deepEqual((await all.find(model.id))?.repoTags, [model.reference]);
    await rejects(runCommand(["/usr/bin/skopeo", "inspect", "--raw", `${layout}:quay.io/team/copy:2`]));
    await runCommand(inspect);
  });
});

Deno.test("only a manifest that certainly is no image makes an artifact, never a failure", async (t) => {
  await withNode({}, async ({ all, registry, store, artifacts, root }) => {
    const model = addArtifact(registry, { name: "models/one", files: MODEL });
    const refused = async (reference: string, kind: PodError["kind"]): Promise<void> => {
      await rejects(all.pull({ image: reference }), { kind });
      deepEqual([await all.list(), await blobsOf(root), await staged(root)], [[], [], []]);
    };
    for (const [status, kind] of [[404, "not_found"], [401, "permission_denied"], [503, "unavailable"]] as const) {
      for (const path of ["/manifests/", model.blobs[0] ?? ""]) {
        await t.step(`${status} for ${path === "/manifests/" ? "the manifest" : "a file"}`, async () => {
          registry.fail({ path, effect: { kind: "status", status } });
          await refused(model.reference, kind);
          registry.clearFaults();
        });
      }
    }
    await t.step("a registry that is not there", async () => {
      await refused("127.0.0.1:1/models/one:1", "registry_unavailable");
    });
    await t.step("a file that is not what the manifest says", async () => {
      registry.fail({ path: model.blobs[0] ?? "", effect: { kind: "corrupt" } });
      await refused(model.reference, "data_loss");
      registry.clearFaults();
    });
    await t.step("an image that is damaged", async () => {
      const broken = registry.addImage({ name: "broken", layers: [new Uint8Array(5000).fill(7)] });
      await refused(broken.reference, "data_loss");
    });
    await t.step("an image", async () => {
      const image = registry.addImage({ name: "app", layers: LAYERS });
      await all.pull({ image: image.reference });
      deepEqual([(await store.images()).length, (await artifacts.list()).length], [1, 0]);
    });
  });
});

Deno.test("remove() takes names, then the artifact and the blobs that nobody else has; one in use stays", async () => {
  await withNode({}, async ({ all, registry, root, used }) => {
    const shared = { title: "shared", body: "the same bytes" };
    const one = addArtifact(registry, { name: "models/one", files: [...MODEL, shared] });
    const again = addArtifact(registry, { name: "models/one", tag: "latest", files: [...MODEL, shared] });
    const other = addArtifact(registry, { name: "models/other", files: [shared] });
    for (const { reference } of [one, again, other]) await all.pull({ image: reference });
    equal(registry.requestsTo("registry", one.blobs[2]).length, 1, "what is there is not fetched again");
    deepEqual((await all.find(one.id))?.repoTags, [one.reference, again.reference]);
    used.add(one.id);
    await all.remove(one.reference);
    deepEqual((await all.find(one.id))?.repoTags, [again.reference]);
    await rejects(all.remove(again.reference), { kind: "failed_precondition", message: /is a volume of a container/ });
    await rejects(all.remove(one.id), /is a volume of a container/);
    used.clear();
    await all.remove(one.id);
    equal(await all.find(one.id), undefined);
    deepEqual(await blobsOf(root), [...other.blobs, other.digest, sha256(json({}))].sort());
    await all.remove(one.id);
    await all.remove(other.reference);
    deepEqual([await all.list(), await blobsOf(root)], [[], []]);
  });
});

Deno.test("a tag that moves takes the name along, also between images and artifacts", async () => {
  await withNode({}, async ({ all, registry, root }) => {
    const first = addArtifact(registry, { name: "thing", files: [{ title: "a", body: "first" }] });
    await all.pull({ image: first.reference });
    const second = addArtifact(registry, { name: "thing", files: [{ title: "a", body: "second" }] });
    await all.pull({ image: first.reference });
    deepEqual((await all.list()).map(({ id }) => id), [second.id]);
    ok(!(await blobsOf(root)).includes(first.blobs[0] ?? ""));
    const image = registry.addImage({ name: "thing", tag: "1", layers: LAYERS });
    const id = await all.pull({ image: image.reference });
    deepEqual((await all.list()).map((one) => [one.id, one.repoTags]), [[id, [image.reference]]]);
    addArtifact(registry, { name: "thing", files: [{ title: "a", body: "second" }] });
    await all.pull({ image: first.reference });
    deepEqual((await all.list()).map((one) => one.repoTags), [[], [first.reference]]);
    equal((await all.find(first.reference))?.id, second.id);
  });
});

Deno.test("of an index the artifact for this node is taken; each digest finds it", async () => {
  await withNode({}, async ({ all, registry, root }) => {
    const of = (architecture: string) => ({
      ...addArtifact(registry, { name: "multi", tag: null, files: [{ title: "arch", body: architecture }] }),
      platform: { os: "linux", architecture },
    });
    const mine = of(Deno.build.arch === "aarch64" ? "arm64" : "amd64");
    const members = [of("s390x"), mine];
    const mediaType = "application/vnd.oci.image.index.v1+json";
    const bytes = json({
      schemaVersion: 2,
      mediaType,
      manifests: members.map(({ digest, manifest, platform }) => ({
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        digest,
        size: manifest.length,
        platform,
      })),
    });
    const digest = registry.addManifest({ name: "multi", tag: "1", bytes, mediaType });
    const byIndex = `${registry.host}/multi@${digest}`;
    equal(await all.pull({ image: `${registry.host}/multi:1` }), mine.id);
    for (const name of [`${registry.host}/multi:1`, byIndex, mine.digestReference]) {
      equal((await all.find(name))?.id, mine.id, name);
    }
    await all.pull({ image: byIndex });
    deepEqual((await all.list()).map(({ repoTags }) => repoTags), [[`${registry.host}/multi:1`]]);
    await all.remove(mine.id);
    deepEqual(await blobsOf(root), []);
    // What others store as an index: skopeo keeps all members.
    const source = `docker://${registry.host}/multi:1`;
    const target = `oci:${root}/graph/artifacts:quay.io/multi/all:1`;
    await skopeo("copy", "-q", "--all", "--src-tls-verify=false", source, target);
    equal((await all.find("quay.io/multi/all:1"))?.id, mine.id);
    await all.remove("quay.io/multi/all:1");
    deepEqual([await all.list(), await blobsOf(root)], [[], []]);
  });
});

/** A second store, made by skopeo on another machine. */
async function makeAdditional({ registry }: PullNode, root: string, name: string): Promise<string> {
  const model = addArtifact(registry, { name, files: MODEL });
  await Deno.mkdir(root, { recursive: true });
  await skopeo(
    ...["copy", "-q", "--src-tls-verify=false", `docker://${model.reference}`],
    `oci:${root}/artifacts:${model.reference}`,
  );
  return model.reference;
}

Deno.test("additional stores are read first, pinned and never written", async () => {
  const root = await Deno.makeTempDir({ prefix: "artifacts-" });
  try {
    await withNode({ additionalArtifactStores: [root, `${root}/none`] }, async (node) => {
      const { all, artifacts } = node;
      const reference = await makeAdditional(node, root, "models/one");
      const found = await all.find(reference);
      deepEqual([found?.pinned, found?.repoTags], [true, [reference]]);
      const [artifact] = await artifacts.list();
      ok(artifact);
      const [file] = await artifacts.volumeFiles(artifact);
      ok(file?.path.startsWith(`${root}/artifacts/blobs/`));
      const before = await Deno.readTextFile(`${root}/artifacts/index.json`);
      await rejects(all.remove(reference), /an additional store that is only read/);
      equal(await all.pull({ image: reference }), found?.id);
      equal((await all.list()).length, 1);
      equal((await artifacts.list())[0]?.root, `${root}/artifacts`);
      equal(await Deno.readTextFile(`${root}/artifacts/index.json`), before);
      await rejects(Deno.lstat(`${root}/artifacts/index.lock`), Deno.errors.NotFound);
    });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("what is damaged in the store is left out or refused, and a crash's leftovers are swept", async () => {
  await withNode({}, async ({ all, artifacts, registry, root }) => {
    const good = addArtifact(registry, { name: "good", files: MODEL });
    const bad = addArtifact(registry, { name: "bad", files: [{ title: "x", body: "text" }] });
    for (const { reference } of [good, bad]) await all.pull({ image: reference });
    const layout = `${root}/graph/artifacts`;
    const blob = (digest: string): string => `${layout}/blobs/${digest.replace(":", "/")}`;
    const artifact = await artifacts.find([bad.id]);
    ok(artifact);
    await Deno.writeTextFile(blob(bad.blobs[0] ?? ""), "tExt");
    await rejects(artifacts.readFirst(artifact, { maxBytes: 100 }), /has not the digest/);
    await rejects(artifacts.readFirst(artifact, { maxBytes: 3 }), /more than 3/);
    await Deno.writeTextFile(blob(bad.blobs[0] ?? ""), "cut");
    await rejects(artifacts.volumeFiles(artifact), /is not in .* or is cut: pull the artifact again/);
    await all.pull({ image: bad.reference });
    equal(new TextDecoder().decode(await artifacts.readFirst(artifact, { maxBytes: 100 })), "text");
    const index = JSON.parse(await Deno.readTextFile(`${layout}/index.json`));
    index.manifests.push(
      { digest: "sha256:../../../../etc/passwd", annotations: { "org.opencontainers.image.ref.name": "evil:1" } },
      { digest: `sha256:${"0".repeat(64)}` },
      null,
    );
    await Deno.writeTextFile(`${layout}/index.json`, JSON.stringify(index));
    deepEqual((await all.list()).map(({ id }) => id).sort(), [good.id, bad.id].sort());
    await Deno.writeTextFile(`${layout}/index.json`, "{ half");
    equal((await all.list()).length, 2, "what was known last");
    await Deno.mkdir(`${layout}/.crio-staging/0123`, { recursive: true });
    // An index that cannot be read may name anything.
    const before = await blobsOf(root);
    const old = new Date(Date.now() - 25 * 3_600_000);
    const [stray, fresh] = ["1", "2"].map((digit) => `sha256:${digit.repeat(64)}`);
    for (const digest of [stray, fresh]) await Deno.writeTextFile(blob(digest ?? ""), "stray");
    for (const digest of [stray, ...before]) await Deno.utime(blob(digest ?? ""), old, old);
    await rejects(artifacts.own.sweep(), { kind: "data_loss" });
    deepEqual(await staged(root), []);
    equal((await blobsOf(root)).length, before.length + 2);
    index.manifests = index.manifests.slice(0, 2);
    await Deno.writeTextFile(`${layout}/index.json`, JSON.stringify(index));
    await artifacts.own.sweep();
    deepEqual(await blobsOf(root), [...before, fresh].sort());
  });
});
