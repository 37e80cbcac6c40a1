import assert from "node:assert/strict";
import { randomHex } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { verifyLayer } from "../../../src/image/unpack/verify_layer.ts";
import { checkStore } from "../../../src/storage/check.ts";
import type { CheckReport, CheckScope, RepairReport } from "../../../src/storage/check_types.ts";
import type { Store } from "../../../src/storage/store.ts";
import { assertSound, makeImage, openStore, pullInto, type Roots, type TestImage, withRoots } from "./store_fixture.ts";

const A = "localhost/a:1";
const B = "localhost/b:1";
const NOT_IN = "f".repeat(64);

/** Two images that share their base, and a container on the first one. */
interface Bench {
  readonly roots: Roots;
  readonly a: TestImage;
  readonly b: TestImage;
  readonly container: string;
  /** Layer ids: of the base, and of the top of either image. */
  readonly base: string;
  readonly topA: string;
  readonly topB: string;
}

async function withBench(body: (bench: Bench) => Promise<void>): Promise<void> {
  await withRoots(async (roots) => {
    const a = await makeImage(roots.directory, [{ "etc/base": "0" }, { "etc/a": "1" }]);
    const b = await makeImage(roots.directory, [{ "etc/base": "0" }, { "etc/b": "2" }]);
    const container = randomHex(32);
    const tops: string[] = [];
    {
      await using store = await openStore(roots);
      for (const [image, name] of [[a, A], [b, B]] as const) {
        await pullInto(store, image, { names: [name] });
        tops.push((await store.findImage(name))?.topLayer ?? "");
      }
      await store.createContainer({ id: container, names: ["c"], imageId: a.id, metadata: "", volatile: false });
    }
    const base = (a.layers[0]?.diffId ?? "").slice("sha256:".length);
    const [topA = "", topB = ""] = tops;
    await body({ roots, a, b, container, base, topA, topB });
  });
}

function check({ graphRoot, runRoot }: Roots, scope: CheckScope = {}): Promise<CheckReport> {
  return checkStore({ graphRoot, runRoot, logger: silentLogger }, scope);
}

/** Checks, repairs what was found, and checks again: nothing may be left but what `left` says. */
async function repaired(
  bench: Bench,
  options: { readonly removeContainers?: boolean; readonly left?: readonly string[]; readonly scope?: CheckScope } = {},
): Promise<RepairReport & { readonly images: readonly string[]; readonly containers: number }> {
  const { removeContainers = true, left = [], scope = {} } = options;
  const report = await check(bench.roots, scope);
  await using store = await openStore(bench.roots);
  const { done, failed } = await store.repair(report, { removeContainers });
  await store.settle();
  assert.deepEqual(kindsOf(await check(bench.roots, scope)), left);
  const images = (await store.images()).flatMap((image) => image.names).sort();
  for (const name of images) await mounts(store, name);
  return { done, failed, images, containers: (await store.containers()).length };
}

async function mounts(store: Store, name: string): Promise<void> {
  const image = await store.findImage(name);
  assert.ok(image !== undefined);
  const root = await store.mountImage(image.id);
  assert.equal(await Deno.readTextFile(`${root}/etc/base`), "0");
  await store.unmountImage(image.id);
}

function kindsOf({ problems }: CheckReport): string[] {
  return [...new Set(problems.map(({ subject, kind }) => `${subject}: ${kind}`))].sort();
}

async function edit(path: string, change: (records: Record<string, unknown>[]) => unknown): Promise<void> {
  const records = JSON.parse(await Deno.readTextFile(path));
  await Deno.writeTextFile(path, JSON.stringify(change(records) ?? records));
  // Others look at the lock file's token only.
  await Deno.writeTextFile(
    path.replace(/[a-z-]*\.json$/, (name) => name.replace(/(volatile-)?([a-z]*)\.json/, "$2.lock")),
    randomHex(32),
  );
}

Deno.test("checkStore() finds a sound store sound and counts what is in it", async () => {
  await withBench(async ({ roots }) => {
    const report = await check(roots);
    assert.deepEqual(report.problems, []);
    assert.deepEqual([report.layers, report.images, report.containers], [4, 2, 1]);
  });
});

Deno.test("checkStore() makes nothing where there is no store", async () => {
  await withRoots(async (roots) => {
    assert.deepEqual((await check(roots)).problems, []);
    await assert.rejects(Deno.lstat(roots.graphRoot), Deno.errors.NotFound);
  });
});

Deno.test("a lost layer directory damages what stands on it; repair removes just that", async () => {
  await withBench(async (bench) => {
    await Deno.remove(`${bench.roots.graphRoot}/overlay/${bench.topB}`, { recursive: true });
    const found = kindsOf(await check(bench.roots));
    assert.deepEqual(found, ["image: layer-damaged", "layer: directory-missing", "leftover: no-record"]);
    const { images, containers } = await repaired(bench);
    assert.deepEqual([images, containers], [[A], 1]);
    await assertSound(bench.roots);
  });
});

Deno.test("a lost base damages all images and containers on it; without leave the containers stay", async () => {
  await withBench(async (bench) => {
    await Deno.remove(`${bench.roots.graphRoot}/overlay/${bench.base}/diff`, { recursive: true });
    const { subject } = (await check(bench.roots)).problems.find(({ kind }) => kind === "directory-missing") ?? {};
    assert.equal(subject, "layer");
    const left = [
      "container: image-damaged",
      "container: layer-damaged",
      "image: layer-damaged",
      "layer: directory-missing",
    ];
    await assert.rejects(repaired(bench, { removeContainers: false }), (error: Error & { actual?: unknown }) => {
      assert.deepEqual((error.actual as string[]).filter((kind) => left.includes(kind)), left);
      return true;
    });
    const { images, containers } = await repaired(bench);
    assert.deepEqual([images, containers], [[], 0]);
    await assertSound(bench.roots);
  });
});

Deno.test("repair never removes a container whose root file system is mounted", async () => {
  await withBench(async (bench) => {
    await using store = await openStore(bench.roots);
    const root = await store.mountContainer(bench.container);
    await edit(
      `${bench.roots.graphRoot}/overlay-images/images.json`,
      (images) => images.filter(({ id }) => id !== bench.a.id),
    );
    const report = await check(bench.roots);
    assert.ok(kindsOf(report).includes("container: image-missing"));
    const { failed } = await store.repair(report, { removeContainers: true });
    assert.match(failed[0] ?? "", /its root file system is mounted: stop and remove the container first/);
    assert.equal(await Deno.readTextFile(`${root}/etc/a`), "1");
    await store.deleteContainer(bench.container);
  });
});

const HARMS: Readonly<Record<string, readonly [(bench: Bench) => Promise<unknown>, string[], string[], number]>> = {
  "a record without its parent": [
    ({ roots, base }) =>
      edit(`${roots.graphRoot}/overlay-layers/layers.json`, (layers) => layers.filter(({ id }) => id !== base)),
    [
      "container: image-damaged",
      "container: layer-damaged",
      "image: layer-damaged",
      "image: layer-missing",
      "image: layers-differ",
      "layer: parent-missing",
      "leftover: no-record",
    ],
    [],
    0,
  ],
  "a wrong diff digest": [
    ({ roots, topB }) =>
      edit(`${roots.graphRoot}/overlay-layers/layers.json`, (layers) => {
        for (const layer of layers) if (layer["id"] === topB) layer["diff-digest"] = `sha256:${NOT_IN}`;
      }),
    ["image: layers-differ"],
    [A],
    1,
  ],
  "a container without its layer": [
    async ({ roots, container }) => {
      const containers = JSON.parse(await Deno.readTextFile(`${roots.graphRoot}/overlay-containers/containers.json`));
      const { layer } = containers.find(({ id }: { id: string }) => id === container);
      await edit(`${roots.graphRoot}/overlay-layers/layers.json`, (layers) => layers.filter(({ id }) => id !== layer));
    },
    ["container: layer-missing", "leftover: no-record"],
    [A, B],
    0,
  ],
  "a layer without its container": [
    ({ roots }) => edit(`${roots.graphRoot}/overlay-containers/containers.json`, () => []),
    ["layer: no-container", "leftover: no-record"],
    [A, B],
    0,
  ],
  "a lost configuration": [
    ({ roots, b }) => Deno.remove(`${roots.graphRoot}/overlay-images/${b.id}`, { recursive: true }),
    ["image: data"],
    [A],
    1,
  ],
  "a changed manifest of the same length": [
    async ({ roots, b }) => {
      const path = `${roots.graphRoot}/overlay-images/${b.id}/=${btoa(`manifest-${b.manifest.digest}`)}`;
      const bytes = await Deno.readFile(path);
      bytes[bytes.length - 1] = 32;
      await Deno.writeFile(path, bytes);
    },
    ["image: data"],
    [A],
    1,
  ],
  "a short name that leads elsewhere": [
    async ({ roots, topB }) => {
      const link = await Deno.readTextFile(`${roots.graphRoot}/overlay/${topB}/link`);
      await Deno.remove(`${roots.graphRoot}/overlay/l/${link}`);
      await Deno.symlink("../nowhere", `${roots.graphRoot}/overlay/l/${link}`);
    },
    ["layer: short-name", "leftover: no-record"],
    [A, B],
    1,
  ],
  "a `lower` file that names another layer": [
    ({ roots, topA, topB }) =>
      Deno.readTextFile(`${roots.graphRoot}/overlay/${topA}/link`)
        .then((link) => Deno.writeTextFile(`${roots.graphRoot}/overlay/${topB}/lower`, `l/${link}`)),
    ["image: layer-damaged", "layer: lower"],
    [A],
    1,
  ],
  "a name that two images have": [
    ({ roots, b }) =>
      edit(`${roots.graphRoot}/overlay-images/images.json`, (images) => {
        for (const image of images) if (image["id"] === b.id) image["names"] = [A, B];
      }),
    ["image: name-twice"],
    [A, B],
    1,
  ],
  leftovers: [
    async ({ roots }) => {
      await Deno.mkdir(`${roots.graphRoot}/overlay/${NOT_IN}/diff`, { recursive: true });
      await Deno.mkdir(`${roots.graphRoot}/overlay-images/${NOT_IN}`);
      await Deno.writeTextFile(`${roots.graphRoot}/overlay-layers/${NOT_IN}.tar-split.gz`, "");
      await Deno.writeTextFile(`${roots.graphRoot}/overlay-layers/.tmp-layers.json123`, "");
      await Deno.symlink(`../${NOT_IN}/nothing`, `${roots.graphRoot}/overlay/l/GONE`);
    },
    ["leftover: no-record", "leftover: unfinished"],
    [A, B],
    1,
  ],
};

for (const [what, [harm, expected, images, containers]] of Object.entries(HARMS)) {
  Deno.test(`checkStore() finds ${what}, and repair leaves the rest`, async () => {
    await withBench(async (bench) => {
      await harm(bench);
      assert.deepEqual(kindsOf(await check(bench.roots)), expected);
      const after = await repaired(bench);
      assert.deepEqual([after.images, after.containers, after.failed], [images, containers, []]);
      await assertSound(bench.roots);
    });
  });
}

Deno.test("layers that nothing uses count once they are old enough", async () => {
  await withBench(async (bench) => {
    await edit(
      `${bench.roots.graphRoot}/overlay-images/images.json`,
      (images) => images.filter(({ id }) => id !== bench.b.id),
    );
    assert.deepEqual(kindsOf(await check(bench.roots)), ["leftover: no-record"]);
    const scope = { unreferencedAgeMs: 0 };
    assert.deepEqual(kindsOf(await check(bench.roots, scope)), ["layer: unreferenced", "leftover: no-record"]);
    assert.deepEqual((await repaired(bench, { scope })).images, [A]);
    await assertSound(bench.roots);
  });
});

Deno.test("damaged records are named with their file, and nothing is repaired", async () => {
  await withBench(async ({ roots }) => {
    await Deno.writeTextFile(`${roots.graphRoot}/overlay-layers/layers.json`, "[{");
    const { problems } = await check(roots);
    assert.deepEqual(problems.map(({ subject, kind }) => [subject, kind]), [["store", "records"]]);
    assert.match(problems[0]?.detail ?? "", /layers\.json is damaged/);
  });
});

Deno.test("a check of files finds damage in a layer, and the image and containers that have it", async () => {
  await withBench(async (bench) => {
    const content: CheckScope["content"] = (layer) => verifyLayer(layer);
    const nothing = await check(bench.roots, { content });
    assert.deepEqual([nothing.problems.length, nothing.unverifiable.length], [0, 3], "tar made no tar-split records");
    const damage: CheckScope["content"] = ({ id }) =>
      Promise.resolve(id === bench.topB ? { kind: "damaged", reason: "x" } : { kind: "sound" });
    const report = await check(bench.roots, { content: damage });
    assert.deepEqual(kindsOf(report), ["image: layer-damaged", "layer: content"]);
    assert.equal(report.verified, 2);
    await using store = await openStore(bench.roots);
    await store.repair(report);
    assert.deepEqual((await store.images()).flatMap(({ names }) => names), [A]);
    assert.equal((await store.containers()).length, 1);
  });
});

Deno.test("a repair leaves alone what somebody has recorded since the check", async () => {
  await withBench(async ({ roots }) => {
    const more = await makeImage(roots.directory, [{ "etc/base": "0", "etc/c": "3" }]);
    const layer = (more.layers[0]?.diffId ?? "").slice("sha256:".length);
    for (const path of [`overlay/${layer}`, `overlay-images/${more.id}`]) {
      await Deno.mkdir(`${roots.graphRoot}/${path}`);
    }
    const report = await check(roots);
    assert.deepEqual(kindsOf(report), ["leftover: no-record"]);
    await using store = await openStore(roots);
    await pullInto(store, more, { names: ["localhost/c:1"] });
    assert.deepEqual((await store.repair(report)).done, []);
    assert.deepEqual((await check(roots)).problems, []);
    await mounts(store, "localhost/c:1");
  });
});
