import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { parseImageId } from "../../src/base/ids.ts";
import type { PodError } from "../../src/base/errors.ts";
import { hostPlatform } from "../../src/image/manifest/platform.ts";
import { RunningPulls } from "../../src/image/progress/running_pulls.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { FakeRegistry } from "../fakes/registry.ts";
import { buildTar } from "../fakes/tar.ts";
import { isClean, withNode } from "./pull_node.ts";

openLibraries();

const file = (name: string, content: string): Uint8Array => buildTar([{ name, body: content }]);
const LAYERS = [file("etc/one", "1"), file("etc/two", "22")];

Deno.test("pull() makes an image with names, digests, size and user", async () => {
  await withNode({ images: { pinnedImages: ["*team*"] } }, async ({ images, registry }) => {
    const config = { User: "1000:50", Env: ["A=b"], Cmd: ["sh"], Volumes: { "/data": {} }, StopSignal: "SIGINT" };
    const built = registry.addImage({ name: "team/app", tag: "1", layers: LAYERS, config });
    const id = await images.pull({ image: built.reference });
    equal(`sha256:${id}`, built.config.digest);
    const [info, ...others] = await images.list();
    equal(others.length, 0);
    deepEqual(
      [info?.id, info?.repoTags, info?.repoDigests, info?.user, info?.pinned],
      [id, [built.reference], [built.digestReference], "1000:50", true],
    );
    ok((info?.sizeBytes ?? 0) > 0);
    // The same object while nothing changes: its encoding is kept by it.
    equal((await images.list())[0], info);
    equal(await images.find(id), info);
    const resolved = await images.resolve(built.reference);
    deepEqual([resolved.ref, resolved.name, resolved.defaults.env], [built.digestReference, built.reference, ["A=b"]]);
    deepEqual([resolved.defaults.volumes, resolved.defaults.stopSignal], [["/data"], "SIGINT"]);
    for (const name of [id, `sha256:${id}`, id.slice(0, 12), built.digestReference]) {
      equal((await images.find(name))?.id, id, name);
    }
    equal(await images.find("no/such:image"), undefined);
    equal(await images.find("NOT a reference"), undefined);
  });
});

Deno.test("pull() of what is there downloads no layer, and shares layers between images", async () => {
  await withNode({}, async ({ images, registry }) => {
    const first = registry.addImage({ name: "app", tag: "1", layers: LAYERS });
    const second = registry.addImage({
      name: "app",
      tag: "2",
      layers: [...LAYERS, file("three", "3")],
      dialect: "docker",
    });
    const id = await images.pull({ image: first.reference });
    const blobs = (): number => registry.requestsTo("registry", "/blobs/").length;
    equal(blobs(), 3);
    equal(await images.pull({ image: first.reference }), id);
    equal(blobs(), 4, "only the configuration again");
    equal(await images.pull({ image: first.digestReference }), id);
    await images.pull({ image: second.reference });
    equal(blobs(), 7, "two configurations and one layer more");
  });
});

Deno.test("annotations are those of the manifest that was pulled last, where the configuration is the same", async () => {
  await withNode({}, async ({ images, registry }) => {
    const annotated = (value: string) =>
      registry.addImage({ name: "app", layers: LAYERS, manifestDocument: { annotations: { key: value } } });
    const first = annotated("one");
    const id = await images.pull({ image: first.reference });
    deepEqual((await images.resolve(id)).annotations, { key: "one" });
    annotated("two");
    equal(await images.pull({ image: first.reference }), id);
    deepEqual((await images.resolve(id)).annotations, { key: "two" });
    deepEqual((await images.find(id))?.annotations, { key: "two" });
  });
});

Deno.test("concurrent pulls of one image join; with other credentials they do not", async () => {
  await withNode({}, async ({ images, registry }) => {
    const built = registry.addImage({ name: "app", layers: LAYERS });
    const ids = await Promise.all([1, 2, 3].map(() => images.pull({ image: built.reference })));
    equal(new Set(ids).size, 1);
    equal(registry.requestsTo("registry", "/manifests/").length, 1);
    const credentials = { kind: "basic", username: "a", password: "b" } as const;
    await Promise.all([images.pull({ image: built.reference }), images.pull({ image: built.reference, credentials })]);
    equal(registry.requestsTo("registry", "/manifests/").length, 3);
  });
});

Deno.test("concurrent pulls of images with a common layer download it once", async () => {
  await withNode({}, async ({ images, registry }) => {
    const built = ["one", "two", "three"].map((name) =>
      registry.addImage({ name, layers: [...LAYERS, file(name, name)], config: { Cmd: [name] } })
    );
    const shared = built[0]?.layers[0]?.digest ?? "";
    registry.fail({ path: shared, nth: 1, effect: { kind: "slow", bytesPerSecond: 200 } });
    const ids = await Promise.all(built.map(({ reference }) => images.pull({ image: reference })));
    equal(new Set(ids).size, 3);
    equal(registry.requestsTo("registry", `/blobs/${shared}`).length, 1);
    equal(registry.requestsTo("registry", "/blobs/").length, 8, "configurations, two common layers, one more each");
  });
});

Deno.test("a pull takes over the common layer of one that fails", async () => {
  await withNode({}, async ({ images, registry }) => {
    const broken = registry.addImage({ name: "one", layers: [...LAYERS, file("one", "1")], config: { Cmd: ["one"] } });
    const sound = registry.addImage({ name: "two", layers: [...LAYERS, file("two", "2")], config: { Cmd: ["two"] } });
    registry.fail({ path: `/one/blobs/${broken.layers[2]?.digest}`, effect: { kind: "status", status: 404 } });
    const [failed, id] = await Promise.allSettled([
      images.pull({ image: broken.reference }),
      images.pull({ image: sound.reference }),
    ]);
    deepEqual([failed.status, id.status], ["rejected", "fulfilled"]);
  });
});

Deno.test("a pull whose present layers are gone each time when it commits downloads all of them and ends well", async () => {
  await withNode({}, async ({ images, store, registry }) => {
    const built = registry.addImage({ name: "app", layers: LAYERS });
    let asked = 0;
    store.presentLayers = ([diffId]) => {
      asked += 1;
      if (diffId === undefined) return Promise.resolve([]);
      const unknown = { digest: undefined, compressedSizeBytes: undefined, uncompressedSizeBytes: undefined };
      return Promise.resolve([{ id: diffId.slice("sha256:".length), diffId, ...unknown }]);
    };
    equal(`sha256:${await images.pull({ image: built.reference })}`, built.config.digest);
    equal(asked, 2);
    equal(registry.requestsTo("registry", `/blobs/${built.layers[0]?.digest}`).length, 1);
  });
});

Deno.test("pull() takes the host's platform of an index and keeps both digests", async () => {
  await withNode({}, async ({ images, registry }) => {
    const own = { os: "linux", architecture: Deno.build.arch === "aarch64" ? "arm64" : "amd64" };
    const mine = registry.addImage({ name: "multi", tag: "own", layers: LAYERS, platform: own });
    const other = registry.addImage({
      name: "multi",
      tag: "s390",
      layers: [file("x", "y")],
      platform: { os: "linux", architecture: "s390x" },
    });
    const digest = registry.addIndex({ name: "multi", tag: "all", images: [other, mine] });
    const id = await images.pull({ image: `${registry.host}/multi@${digest}` });
    equal(`sha256:${id}`, mine.config.digest);
    const info = await images.find(id);
    ok(info?.repoDigests.includes(`${registry.host}/multi@${digest}`));
    ok(info?.repoDigests.includes(mine.digestReference));
    registry.addIndex({ name: "multi", tag: "foreign", images: [other] });
    await rejects(
      images.pull({ image: `${registry.host}/multi:foreign` }),
      /no variant for linux.*it has linux\/s390x/,
    );
  });
});

Deno.test("gzip, zstd and plain layers give the same image content", async () => {
  await withNode({}, async ({ images, registry, store }) => {
    for (const compression of ["gzip", "zstd", "none"] as const) {
      const built = registry.addImage({
        name: compression,
        layers: LAYERS,
        compression,
        config: { Cmd: [compression] },
      });
      await images.pull({ image: built.reference });
    }
    equal((await store.images()).length, 3);
    equal(new Set((await store.images()).map((image) => image.topLayer)).size, 1);
  });
});

Deno.test("remove() untags by name, deletes with the last name or by id, and refuses images in use", async () => {
  await withNode({}, async ({ images, registry, used }) => {
    const one = registry.addImage({ name: "app", tag: "1", layers: LAYERS });
    const two = registry.addImage({ name: "app", tag: "2", layers: LAYERS });
    const id = await images.pull({ image: one.reference });
    equal(await images.pull({ image: two.reference }), id);
    used.add(id);
    await rejects(images.remove(id), /used by a container/);
    await images.remove(one.reference);
    deepEqual((await images.find(id))?.repoTags, [two.reference]);
    await rejects(images.remove(two.reference), { kind: "failed_precondition" });
    used.clear();
    await images.remove(two.reference);
    deepEqual(await images.list(), []);
    await images.remove(two.reference);
    await images.remove(id);
    await images.pull({ image: one.reference });
    await images.remove(id);
    deepEqual(await images.list(), []);
  });
});

Deno.test("an image whose tag moved away keeps a digest", async () => {
  await withNode({}, async ({ images, registry }) => {
    const old = registry.addImage({ name: "app", tag: "1", layers: LAYERS });
    const id = await images.pull({ image: old.reference });
    registry.addImage({ name: "app", tag: "1", layers: [file("new", "n")] });
    await images.pull({ image: old.reference });
    const info = await images.find(id);
    deepEqual([info?.repoTags, info?.repoDigests], [[], [old.digestReference]]);
  });
});

Deno.test("a mirror is asked first, without the request's credentials, and the registry after it", async () => {
  await using mirror = await FakeRegistry.start();
  const config = (host: string): string =>
    `[[registry]]\nlocation = "${host}"\ninsecure = true\n[[registry.mirror]]\nlocation = "${mirror.host}/cache"\ninsecure = true\n`;
  const account = { username: "u", password: "secret-word" };
  await withNode({ config, auth: { kind: "basic", account } }, async ({ images, registry }) => {
    const built = registry.addImage({ name: "app", layers: LAYERS });
    const credentials = { kind: "basic", ...account } as const;
    await images.pull({ image: built.reference, credentials });
    ok(mirror.requests.length > 0);
    ok(mirror.requests.every((request) => request.authorization === undefined));
    await rejects(images.pull({ image: `${registry.host}/nope`, credentials }), (error: PodError) => {
      match(error.message, /none of 2 endpoints has it: mirror .*404.*; .*404/);
      ok(!error.message.includes("secret-word"));
      equal(error.kind, "not_found");
      return true;
    });
    await rejects(images.pull({ image: built.reference }), { kind: "permission_denied" });
    await rejects(images.pull({ image: built.reference, credentials, serverAddress: "https://other.example/v1/" }), {
      kind: "permission_denied",
    });
  });
});

Deno.test("the policy is asked before the registry", async () => {
  await withNode({}, async ({ images, registry, root }) => {
    const built = registry.addImage({ name: "app", layers: LAYERS });
    const policy = (type: string): Promise<void> =>
      Deno.writeTextFile(`${root}/policy.json`, JSON.stringify({ default: [{ type }] }));
    await policy("reject");
    await rejects(images.pull({ image: built.reference }), { kind: "signature_validation_failed" });
    await policy("signed");
    await rejects(images.pull({ image: built.reference }), { kind: "failed_precondition" });
    equal(registry.requests.length, 0);
  });
});

const HOSTILE: ReadonlyArray<readonly [name: string, fault: Record<string, unknown>, reason: RegExp]> = [
  ["a wrong diff ID", {
    configDocument: { rootfs: { type: "layers", diff_ids: Array(2).fill(`sha256:${"0".repeat(64)}`) } },
  }, /configuration says sha256:0000/],
  [
    "too few diff IDs",
    { configDocument: { rootfs: { type: "layers", diff_ids: [] } } },
    /0 diff IDs where the manifest has 2 layers/,
  ],
  ["no rootfs", { configDocument: { rootfs: null } }, /rootfs\.type/],
  ["an index and an image in one", { manifestDocument: { manifests: [] } }, /layers and manifests/],
  ["schema 1", { manifestDocument: { schemaVersion: 1 } }, /schema 1/],
  ["a bad digest", {
    manifestDocument: {
      layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: "sha256:../../etc", size: 1 }],
    },
  }, /layers\[0\]/],
  ["a link out of the layer", {
    layers: [buildTar([{ name: "x", type: "1", linkName: "../../../../../etc/passwd" }])],
  }, /unpack layer/],
  ["a cut archive", { layers: [file("a", "b").subarray(0, 512)] }, /unpack layer/],
  ["garbage for an archive", { layers: [new Uint8Array(5000).fill(7)] }, /unpack layer/],
];
for (const [name, spec, reason] of HOSTILE) {
  Deno.test(`pull() refuses ${name} and leaves nothing`, async () => {
    await withNode({}, async ({ images, registry, store, root }) => {
      const built = registry.addImage({ name: "app", layers: LAYERS, ...spec });
      await rejects(images.pull({ image: built.reference }), reason);
      await store.settle();
      deepEqual(await images.list(), []);
      await isClean(root);
    });
  });
}

Deno.test("pull() refuses a corrupt layer and survives an interrupted one", async () => {
  await withNode({}, async ({ images, registry, root }) => {
    const built = registry.addImage({ name: "app", layers: LAYERS });
    const blob = built.layers[0]?.digest ?? "";
    registry.fail({ path: blob, effect: { kind: "corrupt" } });
    await rejects(images.pull({ image: built.reference }), { kind: "data_loss" });
    await isClean(root);
    registry.clearFaults();
    registry.fail({ path: blob, nth: 1, effect: { kind: "truncate", afterBytes: 20 } });
    ok(await images.pull({ image: built.reference }));
  });
});

Deno.test("a pull that is cancelled leaves nothing, and the process goes on", async () => {
  const pulls = new RunningPulls();
  await withNode({ pulls }, async ({ images, registry, client, root, store }) => {
    const ended = Promise.withResolvers<void>();
    using _watch = pulls.watch((id) => pulls.find(id)?.stage !== "failed" || ended.resolve());
    const built = registry.addImage({ name: "app", layers: LAYERS });
    const { promise: reached, resolve: reach } = Promise.withResolvers<void>();
    registry.fail({
      path: built.layers[0]?.digest ?? "",
      effect: {
        kind: "custom",
        change: (reply) => {
          reach();
          return { ...reply, stopAfterBytes: 10, stopBy: "stall" };
        },
      },
    });
    const controller = new AbortController();
    const pulling = images.pull({ image: built.reference }, { signal: controller.signal });
    await reached;
    const pid = await client.pid();
    controller.abort(new Error("the client went away"));
    await rejects(pulling, /went away/);
    registry.clearFaults();
    // The caller is not kept until everything is gone.
    await ended.promise;
    await store.settle();
    await isClean(root);
    ok(await images.pull({ image: built.reference }));
    equal(await client.pid(), pid);
  });
});

Deno.test("a pull that is cancelled while its process starts asks no registry", async () => {
  await withNode({}, async ({ client, registry }) => {
    registry.addImage({ name: "app", layers: LAYERS });
    const endpoints = [{ host: registry.host, path: "app", insecure: true, mirror: false }];
    const common = { proxy: {}, platform: await hostPlatform(), trust: { configHome: "" } };
    const controller = new AbortController();
    const pulling = client.pull({ name: "app", reference: "1", endpoints, ...common }, {
      signal: controller.signal,
      plan: () => Promise.reject(new Error("there is nothing to plan")),
    });
    controller.abort(new Error("the client went away"));
    await rejects(pulling, /went away/);
    equal(registry.requests.length, 0);
  });
});

Deno.test("a pull process that dies fails its pulls only; the next pull starts another", async () => {
  await withNode({}, async ({ images, registry, client, root }) => {
    const built = registry.addImage({ name: "app", layers: LAYERS });
    const { promise: reached, resolve: reach } = Promise.withResolvers<void>();
    registry.fail({
      path: built.layers[1]?.digest ?? "",
      effect: {
        kind: "custom",
        change: (reply) => {
          reach();
          return { ...reply, stopAfterBytes: 10, stopBy: "stall" };
        },
      },
    });
    const pulling = images.pull({ image: built.reference });
    await reached;
    const pid = await client.pid() ?? 0;
    Deno.kill(pid, "SIGKILL");
    await rejects(pulling, { kind: "unavailable", message: /ended with signal 9 before the pull was done/ });
    await isClean(root);
    registry.clearFaults();
    ok(await images.pull({ image: built.reference }));
    ok(await client.pid() !== pid);
  });
});

Deno.test("a pull process that dies takes along a pull that waits for another one's layers, and what either held", async () => {
  const pulls = new RunningPulls();
  await withNode({ pulls }, async ({ images, registry, client, root, store }) => {
    const built = ["one", "two"].map((name) =>
      registry.addImage({ name, layers: [...LAYERS, file(name, name)], config: { Cmd: [name] } })
    );
    const { promise: waits, resolve: wait } = Promise.withResolvers<void>();
    using _watch = pulls.watch((id) => pulls.find(id)?.stage === "waiting" && wait());
    registry.fail({
      path: built[0]?.layers[0]?.digest ?? "",
      effect: { kind: "custom", change: (reply) => ({ ...reply, stopAfterBytes: 10, stopBy: "stall" }) },
    });
    const pulling = built.map(({ reference }) => images.pull({ image: reference }));
    await waits;
    Deno.kill(await client.pid() ?? 0, "SIGKILL");
    for (const { reason } of await Promise.allSettled(pulling) as PromiseRejectedResult[]) {
      match(reason.message, /signal 9/);
    }
    registry.clearFaults();
    const signal = AbortSignal.timeout(20_000);
    for (const { reference } of built) ok(await images.pull({ image: reference }, { signal }));
    for (const { id } of await images.list()) await images.remove(id);
    await store.settle();
    await isClean(root);
  });
});

Deno.test("the pull process has only the capabilities that unpacking needs", async () => {
  await withNode({}, async ({ images, registry, client }) => {
    await images.pull({ image: registry.addImage({ name: "app", layers: LAYERS }).reference });
    const status = await Deno.readTextFile(`/proc/${await client.pid()}/status`);
    match(status, /CapEff:\s+000000008820001b\n/);
    match(status, /NoNewPrivs:\s+1\n/);
  });
});

Deno.test("nothing listening is registry_unavailable", async () => {
  await withNode({}, async ({ images }) => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr as Deno.NetAddr;
    listener.close();
    await rejects(images.pull({ image: `127.0.0.1:${port}/a:1` }), { kind: "registry_unavailable" });
  });
});

Deno.test("an image id is the digest of the configuration, for find() by a foreign id too", async () => {
  await withNode({}, async ({ images }) => {
    equal(await images.find(parseImageId("0".repeat(64))), undefined);
    await rejects(images.resolve("0".repeat(64)), { kind: "not_found" });
  });
});

/** Enough that a second thread unpacks it, and does not compress. */
function largeLayer(name: string): Uint8Array {
  const body = new Uint8Array(9 * 1024 * 1024);
  for (let i = 0; i < body.length; i += 65536) crypto.getRandomValues(body.subarray(i, i + 65536));
  return buildTar([{ name, body }]);
}

Deno.test("pull() of a large image uses a second thread, which goes again, and fails like a small one", async () => {
  await withNode({}, async ({ images, registry, client, store }) => {
    const threads = async (): Promise<number> => {
      const directory = `/proc/${await client.pid()}/task`;
      const tasks = await Array.fromAsync(Deno.readDir(directory));
      const names = await Promise.all(
        tasks.map(({ name }) => Deno.readTextFile(`${directory}/${name}/comm`).catch(() => "")),
      );
      return names.filter((name) => name.startsWith("worker-")).length;
    };
    const layers = [largeLayer("one"), LAYERS[0] ?? file("a", "b"), largeLayer("two")];
    const built = registry.addImage({ name: "large", tag: "1", layers });
    await images.pull({ image: built.reference });
    const pid = await client.pid();
    equal(await threads(), 1);
    const hostile = buildTar([{ name: "up", type: "1", linkName: "../../../escape" }]);
    const padded = new Uint8Array([...hostile.subarray(0, 512), ...largeLayer("rest")]);
    const bad = registry.addImage({ name: "large", tag: "bad", layers: [padded, ...layers] });
    await rejects(images.pull({ image: bad.reference }), /layer archive: entry "up"/);
    equal((await store.images()).length, 1);
    while (await threads() > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    equal(await client.pid(), pid);
  });
});
