/** The mirror matrix: each way in which a place can fail, with another place that works, and with none. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import type { ErrorKind, PodError } from "../../src/base/errors.ts";
import { toStatus } from "../../src/cri/status.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { FakeRegistry, type FakeRegistryOptions, type StoredImage } from "../fakes/registry.ts";
import type { ImageSpec } from "../fakes/registry/content.ts";
import type { Effect } from "../fakes/registry/faults.ts";
import { buildTar } from "../fakes/tar.ts";
import { isClean, type PullNode, withNode } from "./pull_node.ts";

openLibraries();

/** A way to fail. */
interface Row {
  readonly name: string;
  readonly options?: FakeRegistryOptions;
  /** Default: `insecure = true`. */
  readonly insecure?: false;
  /** Which requests fail. Default: those for the manifest. */
  readonly of?: "manifest" | "layer";
  readonly effect?: Effect;
  /** Of the layers. Default gzip. */
  readonly compression?: "none";
  /** Nobody listens. */
  readonly dead?: true;
  readonly byDigest?: true;
  /** What the log and the error say of the place. */
  readonly reason: RegExp;
  /** Of the error when all places fail like that. */
  readonly kind: ErrorKind;
}

const status = (code: number, headers: Record<string, string> = {}): Effect => ({
  kind: "status",
  status: code,
  headers,
  body: `{"errors":[{"code":"SOME_CODE","message":"words of the server"}]}`,
});
const redirect = (location: string): Effect => ({
  kind: "custom",
  change: () => ({ status: 307, headers: { location } }),
});

const ROWS: readonly Row[] = [
  { name: "dead", dead: true, reason: /refused/, kind: "registry_unavailable" },
  {
    name: "401",
    options: { auth: { kind: "basic", account: { username: "a", password: "b" } } },
    reason: /answered 401 \(no credentials were given\): UNAUTHORIZED/,
    kind: "permission_denied",
  },
  { name: "403", effect: status(403), reason: /answered 403 .*SOME_CODE words of/, kind: "permission_denied" },
  { name: "404", effect: status(404), reason: /answered 404: SOME_CODE/, kind: "not_found" },
  { name: "500", effect: status(500), reason: /answered 500/, kind: "unavailable" },
  { name: "503", effect: status(503), reason: /answered 503/, kind: "unavailable" },
  { name: "429", effect: status(429, { "retry-after": "90" }), reason: /answered 429/, kind: "unavailable" },
  {
    name: "a page of something else",
    effect: { kind: "status", status: 200, headers: { "content-type": "text/html" }, body: "<html>log in</html>" },
    reason: /manifest/,
    kind: "data_loss",
  },
  {
    name: "an image for other platforms",
    effect: {
      kind: "status",
      status: 200,
      headers: { "content-type": "application/vnd.oci.image.index.v1+json" },
      body: JSON.stringify({
        schemaVersion: 2,
        manifests: [{
          mediaType: "application/vnd.oci.image.manifest.v1+json",
          digest: `sha256:${"0".repeat(64)}`,
          size: 2,
          platform: { os: "linux", architecture: "s390x" },
        }],
      }),
    },
    reason: /no variant for linux.*s390x/,
    kind: "failed_precondition",
  },
  {
    name: "a manifest with the wrong digest",
    effect: { kind: "corrupt" },
    byDigest: true,
    reason: /has the digest sha256:/,
    kind: "data_loss",
  },
  {
    name: "a certificate that nobody trusts",
    options: { tls: true },
    insecure: false,
    reason: /UnknownIssuer.*certs\.d\/127\.0\.0\.1:\d+\/ca\.crt/,
    kind: "failed_precondition",
  },
  {
    name: "plain HTTP where TLS is wanted",
    insecure: false,
    reason: /may not speak TLS; if plain HTTP is wanted, give it insecure = true/,
    kind: "unavailable",
  },
  {
    name: "a redirect to a host that is dead",
    effect: redirect("http://127.0.0.1:1/v2/x/manifests/latest"),
    reason: /127\.0\.0\.1:1\/.*refused/i,
    kind: "registry_unavailable",
  },
  {
    name: "a circle of redirects",
    effect: redirect("?again"),
    reason: /redirects more than 10 times/,
    kind: "internal",
  },
  {
    name: "404 of a layer",
    of: "layer",
    effect: status(404),
    reason: /download blob .*answered 404/,
    kind: "not_found",
  },
  {
    name: "502 of a layer",
    of: "layer",
    effect: status(502),
    reason: /download blob .*answered 502/,
    kind: "unavailable",
  },
  {
    name: "a layer with the wrong digest",
    of: "layer",
    effect: { kind: "corrupt" },
    reason: /blob sha256:.* has the digest|unpack layer/,
    kind: "data_loss",
  },
  {
    name: "another layer in its place",
    of: "layer",
    compression: "none",
    effect: { kind: "custom", change: (reply) => ({ ...reply, body: otherLayer(reply.body?.length ?? 0) }) },
    reason: /blob sha256:.* has the digest/,
    kind: "data_loss",
  },
  {
    name: "a layer that is too short",
    of: "layer",
    effect: { kind: "length", claimedBytes: 20 },
    reason: /has 20 bytes where the manifest says/,
    kind: "data_loss",
  },
  {
    name: "a layer that breaks off each time",
    of: "layer",
    effect: { kind: "reset", afterBytes: 0 },
    reason: /blob|connection|reset|closed|127\.0\.0\.1/i,
    kind: "unavailable",
  },
  {
    name: "a layer behind a redirect to a host that is dead",
    of: "layer",
    effect: redirect("http://127.0.0.1:1/bucket/x?signature=topsecret"),
    reason: /127\.0\.0\.1:1\/.*refused/i,
    kind: "registry_unavailable",
  },
];

const SILENT_ROWS: readonly Row[] = [
  { name: "silence", effect: { kind: "stall" }, reason: /no byte came for 1 s/, kind: "registry_unavailable" },
  {
    name: "silence within the manifest",
    effect: { kind: "stall", afterBytes: 10 },
    reason: /no byte came for 1 s/,
    kind: "registry_unavailable",
  },
  {
    name: "silence within a layer",
    of: "layer",
    effect: { kind: "stall", afterBytes: 0 },
    reason: /no byte came for 1 s/,
    kind: "registry_unavailable",
  },
];

const EFFECTS_OF = { manifest: /\/manifests\//, layer: /\/blobs\// } as const;

/** A registry that has the image, and fails as the row says. */
async function broken(row: Row, image: string): Promise<{ registry: FakeRegistry; built: StoredImage }> {
  const registry = await FakeRegistry.start(row.options);
  const built = registry.addImage(specOf(row, image));
  const path = row.of === "layer" ? new RegExp(built.layers[0]?.digest ?? "") : EFFECTS_OF.manifest;
  if (row.effect !== undefined) registry.fail({ path, effect: row.effect });
  if (row.dead === true) await registry[Symbol.asyncDispose]();
  return { registry, built };
}

function specOf({ compression }: Row, image: string): ImageSpec & { readonly name: string } {
  return { name: "team/app", layers: layersOf(image), ...(compression === undefined ? {} : { compression }) };
}

/** A good archive of a given size with a file that nobody asked for. */
function otherLayer(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  bytes.set(buildTar([{ name: "unasked", body: "x" }]));
  return bytes;
}

/** Two layers that no other row has: what is in the store already would not be downloaded. */
function layersOf(image: string): Uint8Array[] {
  return ["one", "two"].map((name) => buildTar([{ name, body: `${name} of ${image} `.repeat(400) }]));
}

function registryTable(location: string, rest: { insecure: boolean; mirrors: readonly string[] }): string {
  const mirrors = rest.mirrors.map((mirror) => `[[registry.mirror]]\n${mirror}`).join("\n");
  return `[[registry]]\nlocation = "${location}"\ninsecure = ${rest.insecure}\n${mirrors}\n`;
}

async function configure(node: PullNode, text: string): Promise<void> {
  await Deno.writeTextFile(`${node.root}/registries.conf`, text);
  node.lines.length = 0;
}

const located = (host: string, insecure = true): string => `location = "${host}"\ninsecure = ${insecure}`;

/** A mirror fails, the registry works. */
async function pullsFromNext(node: PullNode, row: Row): Promise<void> {
  const image = `next ${row.name}`;
  const { registry: mirror } = await broken(row, image);
  await using _mirror = row.dead === true ? new AsyncDisposableStack() : mirror;
  const good = node.registry.addImage(specOf(row, image));
  const mirrors = [located(mirror.host, row.insecure ?? true)];
  await configure(node, registryTable(node.registry.host, { insecure: true, mirrors }));
  const id = await node.images.pull({ image: row.byDigest === true ? good.digestReference : good.reference });
  equal(`sha256:${id}`, good.config.digest);
  const told = node.lines.filter((line) => line.startsWith("info ") && /Trying|Could not/.test(line));
  const name = (host: string): string => `"${host}/team/app${row.byDigest === true ? `@${good.digest}` : ":latest"}"`;
  match(told[0] ?? "", new RegExp(`^info Trying to access ${name(mirror.host)} .*mirror=true$`));
  match(told[1] ?? "", new RegExp(`^info Could not pull from ${name(mirror.host)}: .*mirror=true$`));
  match(told[1] ?? "", row.reason);
  match(told[2] ?? "", new RegExp(`^info Trying to access ${name(node.registry.host)} .*mirror=false$`));
  equal(told.length, 3);
  await isWhole(node, { id, image });
}

/** What the layers wrote is what they hold, and nothing besides: the first place may have begun one of them. */
async function isWhole(node: PullNode, { id, image }: { id: string; image: string }): Promise<void> {
  const stored = (await node.store.images()).find((one) => one.id === id);
  const records = await Deno.readTextFile(`${node.root}/graph/overlay-layers/layers.json`);
  const parents = new Map<string, string | undefined>(
    (JSON.parse(records) as { id: string; parent?: string }[]).map((layer) => [layer.id, layer.parent]),
  );
  const found: string[] = [];
  for (let layer = stored?.topLayer; layer !== undefined; layer = parents.get(layer)) {
    const directory = `${node.root}/graph/overlay/${layer}/diff`;
    for await (const { name } of Deno.readDir(directory)) {
      const text = await Deno.readTextFile(`${directory}/${name}`);
      equal(text, `${name} of ${image} `.repeat(400));
      found.push(name);
    }
  }
  deepEqual(found, ["two", "one"]);
}

/** A mirror and the registry fail alike. */
async function saysAll(node: PullNode, row: Row): Promise<void> {
  const [mirror, own] = await Promise.all([broken(row, `mirror ${row.name}`), broken(row, `mirror ${row.name}`)]);
  await using _servers = row.dead === true ? new AsyncDisposableStack() : disposer([mirror.registry, own.registry]);
  const mirrors = [located(mirror.registry.host, row.insecure ?? true)];
  await configure(node, registryTable(own.registry.host, { insecure: row.insecure ?? true, mirrors }));
  const image = row.byDigest === true ? own.built.digestReference : own.built.reference;
  await rejects(node.images.pull({ image }), (error: PodError) => {
    const [first = "", second = ""] = error.message.split(`; ${own.registry.host}: `);
    match(first, /^pull .*: none of 2 endpoints has it: mirror 127\.0\.0\.1:\d+: /);
    ok(first.includes(`mirror ${mirror.registry.host}: `), first);
    match(first, row.reason);
    match(second, row.reason);
    ok(!error.message.includes("topsecret"));
    equal(error.kind, row.kind);
    equal(toStatus(error).details.startsWith("RegistryUnavailable: "), row.kind === "registry_unavailable");
    return true;
  });
  await node.store.settle();
}

function disposer(registries: readonly FakeRegistry[]): AsyncDisposableStack {
  const stack = new AsyncDisposableStack();
  for (const registry of registries) stack.use(registry);
  return stack;
}

Deno.test("of three places the second is taken when the first fails, and a slow one is not given up", async () => {
  await withNode({ images: { stallTimeoutMs: 1000, patienceMs: 1000 } }, async (node) => {
    await using dead = await FakeRegistry.start();
    await using slow = await FakeRegistry.start();
    const built = slow.addImage({ name: "team/app", layers: layersOf("slow"), compression: "none" });
    // Over two seconds for 12 KiB: longer than any silence that is allowed.
    slow.fail({ path: "/blobs/", effect: { kind: "slow", bytesPerSecond: 6000 } });
    dead.fail({ effect: status(404) });
    const mirrors = [located(dead.host), located(slow.host)];
    await configure(node, registryTable(node.registry.host, { insecure: true, mirrors }));
    const id = await node.images.pull({ image: `${node.registry.host}/team/app` });
    equal(`sha256:${id}`, built.config.digest);
    equal(node.registry.requests.length, 0);
    await isWhole(node, { id, image: "slow" });
  });
});

Deno.test("a mirror that gets slower than 1 KiB/s is left where another place follows, and goes on from there", async () => {
  await withNode({ images: { patienceMs: 1000 } }, async (node) => {
    await using slow = await FakeRegistry.start();
    const spec = { name: "team/app", layers: layersOf("slower"), compression: "none" } as const;
    const built = slow.addImage(spec);
    const manifest = node.registry.addImage(spec);
    slow.fail({ path: "/blobs/", effect: { kind: "slow", bytesPerSecond: 400 } });
    await configure(node, registryTable(node.registry.host, { insecure: true, mirrors: [located(slow.host)] }));
    const id = await node.images.pull({ image: manifest.reference });
    equal(`sha256:${id}`, built.config.digest);
    match(node.lines.find((line) => line.includes("Could not pull")) ?? "", /too slow, \d{3} bytes came in 1\.\d s/);
    const ranges = node.registry.requestsTo("registry", "/blobs/").map(({ range }) => range ?? "");
    equal(ranges.filter((range) => /^bytes=[1-9]\d*-$/.test(range)).length, 2);
    await isWhole(node, { id, image: "slower" });
  });
});

Deno.test("a mirror that kept silent is asked by the next pull too, and not waited for until it answers", async () => {
  await withNode({ images: { patienceMs: 2500 } }, async (node) => {
    await using mirror = await FakeRegistry.start();
    await configure(node, registryTable(node.registry.host, { insecure: true, mirrors: [located(mirror.host)] }));
    mirror.fail({ effect: { kind: "stall" } });
    const waited = async (text: string): Promise<string> => {
      node.lines.length = 0;
      const spec = { name: "team/app", layers: layersOf(text) };
      mirror.addImage(spec);
      await node.images.pull({ image: node.registry.addImage(spec).reference });
      const line = node.lines.find((one) => one.includes("Could not pull")) ?? "";
      return /no byte came for ([\d.]+) s/.exec(line)?.[1] ?? "not at all";
    };
    deepEqual([await waited("first"), await waited("second")], ["2.5", "1"]);
    mirror.clearFaults();
    equal(await waited("third"), "not at all");
    mirror.fail({ effect: { kind: "stall" } });
    equal(await waited("fourth"), "2.5");
  });
});

Deno.test("pull-from-mirror keeps mirrors for digests or tags, and a blocked registry is refused unasked", async () => {
  await withNode({}, async (node) => {
    await using digests = await FakeRegistry.start();
    await using tags = await FakeRegistry.start();
    const spec = { name: "team/app", layers: layersOf("rules") };
    const [built] = [node.registry, digests, tags].map((registry) => registry.addImage(spec));
    const mirrors = [
      `${located(digests.host)}\npull-from-mirror = "digest-only"`,
      `${located(tags.host)}\npull-from-mirror = "tag-only"`,
    ];
    await configure(node, registryTable(node.registry.host, { insecure: true, mirrors }));
    await node.images.pull({ image: built?.reference ?? "" });
    deepEqual([digests, tags, node.registry].map(({ requests }) => requests.length > 0), [false, true, false]);
    tags.requests.length = 0;
    await node.images.pull({ image: built?.digestReference ?? "" });
    deepEqual([digests, tags, node.registry].map(({ requests }) => requests.length > 0), [true, false, false]);
    await configure(
      node,
      `[[registry]]\nprefix = "127.0.0.1:${node.registry.host.split(":")[1]}/team"\nblocked = true`,
    );
    await rejects(node.images.pull({ image: built?.reference ?? "" }), {
      kind: "failed_precondition",
      message: /team is blocked by .*registries\.conf/,
    });
    equal(node.registry.requests.length, 0);
  });
});

Deno.test("a prefix is rewritten, and a configuration that is wrong leaves the last good one in force", async () => {
  await withNode({}, async (node) => {
    const built = node.registry.addImage({ name: "copies/quay/app", layers: layersOf("rewritten") });
    const rule = `[[registry]]\nprefix = "*.corp.example"\nlocation = "${node.registry.host}/copies"\ninsecure = true`;
    await configure(node, rule);
    const id = await node.images.pull({ image: "images.corp.example/quay/app" });
    equal(`sha256:${id}`, built.config.digest);
    deepEqual((await node.images.find(id))?.repoTags, ["images.corp.example/quay/app:latest"]);
    await configure(node, `${rule}\n[[registry]]\ninsecure = "maybe"`);
    equal(await node.images.pull({ image: "images.corp.example/quay/app" }), id);
    match(node.lines.find((line) => line.startsWith("error ")) ?? "", /registries\.conf: .*; the last good|last good/);
    await configure(node, '[[registry]]\nlocation = "images.corp.example"\nblocked = true');
    await rejects(node.images.pull({ image: "images.corp.example/quay/app" }), /is blocked/);
  });
});

for (const [rows, limits] of [[ROWS, {}], [SILENT_ROWS, { stallTimeoutMs: 1000, patienceMs: 1000 }]] as const) {
  Deno.test(`a mirror that fails (${rows.length} ways) is followed by the registry, and told`, async (t) => {
    await withNode({ images: limits }, async (node) => {
      for (const row of rows) await t.step(row.name, async () => await pullsFromNext(node, row));
    });
  });

  Deno.test(`a pull that fails everywhere (${rows.length} ways) names each place and its reason`, async (t) => {
    await withNode({ images: limits }, async (node) => {
      for (const row of rows) await t.step(row.name, async () => await saysAll(node, row));
      await isClean(node.root);
    });
  });
}
