import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { cpuUsage } from "node:process";
import { gzipSync } from "node:zlib";
import { fullName } from "../../../src/image/archive/archived_image.ts";
import { layerFromArchive } from "../../../src/image/archive/open_archives.ts";
import { openArchive } from "../../../src/image/archive/open_archive.ts";
import { TarTree } from "../../../src/image/archive/tar_tree.ts";
import { hostPlatform } from "../../../src/image/manifest/platform.ts";
import type { SourcedLayer } from "../../../src/image/pull/layer_sources.ts";
import { IsalDecoder } from "../../../src/linux/decoders.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { buildImage, sha256 } from "../../fakes/registry/content.ts";
import { buildTar, tarBlocks, type TarEntry } from "../../fakes/tar.ts";

openLibraries();
IsalDecoder.open()?.[Symbol.dispose]();

const signal = new AbortController().signal;
const LAYER = buildTar([{ name: "etc/one", body: "1" }]);
const NAME = "org.opencontainers.image.ref.name";

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "archive-" });
  try {
    await body(directory);
    const descriptors = await Array.fromAsync(Deno.readDir("/proc/self/fd"));
    const open = await Promise.all(
      descriptors.map(({ name }) => Deno.readLink(`/proc/self/fd/${name}`).catch(() => "")),
    );
    deepEqual(open.filter((path) => path.startsWith(directory)), [], "descriptors are closed");
    const files = (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name);
    deepEqual(files.filter((name) => name !== "a.tar" && name !== "layout"), []);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Opens an archive of these entries and loads its first image, as the pull process does. */
async function load(
  entries: readonly TarEntry[] | Uint8Array,
  options: { readonly maxBytes?: number } = {},
): Promise<string[]> {
  let layers: string[] = [];
  await withDirectory(async (directory) => {
    const path = `${directory}/a.tar`;
    await Deno.writeFile(path, entries instanceof Uint8Array ? entries : buildTar(entries));
    using archive = await openArchive({ path }, { scratchDirectory: directory, signal, ...options });
    const [first] = archive.images;
    if (first === undefined) throw new Error("no image");
    const image = await first.load(await hostPlatform());
    for (const layer of image.layers) {
      await using reader = await image.layer(layer);
      while (await reader.read() !== undefined);
    }
    layers = image.layers.map(({ digest }) => digest);
  });
  return layers;
}

interface Layout {
  /** Merged over index.json. */
  readonly index?: Readonly<Record<string, unknown>>;
  /** Path of a blob -> what it holds in place of the right bytes; undefined: nothing. */
  readonly blobs?: (path: string, bytes: Uint8Array) => Uint8Array | undefined;
  readonly more?: readonly TarEntry[];
}

function layout({ index = {}, blobs = (_, bytes) => bytes, more = [] }: Layout = {}): TarEntry[] {
  const image = buildImage({ layers: [LAYER], compression: "gzip" });
  const { mediaType, digest, manifest } = image;
  const manifests = [{ mediaType, digest, size: manifest.length, annotations: { [NAME]: "r.example/a:1" } }];
  const files: TarEntry[] = [
    { name: "oci-layout", body: `{"imageLayoutVersion":"1.0.0"}` },
    { name: "index.json", body: JSON.stringify({ schemaVersion: 2, manifests, ...index }) },
  ];
  for (const bytes of [...image.blobs.values(), manifest]) {
    const path = `blobs/${sha256(bytes).replace(":", "/")}`;
    const body = blobs(path, bytes);
    if (body !== undefined) files.push({ name: path, body });
  }
  return [...files, ...more];
}

function docker(over: Readonly<Record<string, unknown>> = {}, more: readonly TarEntry[] = []): TarEntry[] {
  const image = buildImage({ layers: [LAYER], compression: "none" });
  const config = image.blobs.get(image.config.digest) ?? new Uint8Array();
  const name = `${image.config.digest.slice("sha256:".length)}.json`;
  const entry = { Config: name, RepoTags: ["r.example/a:1"], Layers: ["layer.tar"], ...over };
  return [
    ...more,
    { name, body: config },
    { name: "layer.tar", body: LAYER },
    { name: "manifest.json", body: JSON.stringify([entry]) },
  ];
}

const changed = (bytes: Uint8Array): Uint8Array => {
  const copy = new Uint8Array(bytes);
  const middle = copy.length >> 1;
  copy[middle] = (copy[middle] ?? 0) ^ 1;
  return copy;
};

Deno.test("a sound archive of each kind can be read, with ./ before its names and with links between them", async () => {
  equal((await load(layout())).length, 1);
  equal((await load(layout().map((entry) => ({ ...entry, name: `./${entry.name}` })))).length, 1);
  deepEqual(await load(docker()), [sha256(LAYER)]);
  deepEqual(
    await load(
      docker({ Layers: ["x/y/layer.tar"] }, [{ name: "x/y/layer.tar", type: "2", linkName: "../../layer.tar" }]),
    ),
    [
      sha256(LAYER),
    ],
  );
  equal((await load(gzipSync(buildTar(layout())))).length, 1);
});

Deno.test("an archive with a layout and a manifest.json, as docker save writes it, is read by its layout and containerd's name", async () => {
  await withDirectory(async (directory) => {
    const image = buildImage({ layers: [LAYER], compression: "gzip" });
    const annotations = { [NAME]: "1", "io.containerd.image.name": "docker.io/library/app:1" };
    const manifests = [{ mediaType: image.mediaType, digest: image.digest, size: image.manifest.length, annotations }];
    const path = `${directory}/a.tar`;
    const entries = [...layout({ index: { manifests } }), { name: "manifest.json", body: "[]" }];
    await Deno.writeFile(path, buildTar(entries));
    using archive = await openArchive({ path }, { scratchDirectory: directory, signal });
    deepEqual(archive.images.map(({ names, label }) => [names, label]), [[["docker.io/library/app:1"], "1"]]);
    equal(archive.transport, "oci-archive");
  });
});

Deno.test("names of archives are full ones with a tag; a digest is none that an archive could vouch for", () => {
  deepEqual(
    ["app:1", "r.example/app", "latest", "r.example/app@sha256:" + "0".repeat(64), "UPPER/x:1:2"].map(fullName),
    [
      "docker.io/library/app:1",
      "r.example/app:latest",
      undefined,
      undefined,
      undefined,
    ],
  );
});

/** What an archive may have to harm, and what is said of it. */
const HOSTILE: Readonly<Record<string, readonly [() => readonly TarEntry[] | Uint8Array, RegExp]>> = {
  "a link out of the archive for its index": [
    () => [...layout().filter(({ name }) => name !== "index.json"), {
      name: "index.json",
      type: "2",
      linkName: "../../etc/passwd",
    }],
    /holds no images/,
  ],
  "an absolute link for its configuration": [
    () => docker({ Config: "config" }, [{ name: "config", type: "2", linkName: "/etc/passwd" }]),
    /there is no file "config"/,
  ],
  "a configuration above the archive": [
    () => docker({ Config: "../../../etc/passwd" }),
    /there is no file "\.\.\/\.\.\/\.\./,
  ],
  "links in a circle": [
    () => docker({ Layers: ["a"] }, [{ name: "a", type: "2", linkName: "b" }, { name: "b", type: "2", linkName: "a" }]),
    /leads through more than 8 links/,
  ],
  "a device for a layer": [
    () => docker({ Layers: ["zero"] }, [{ name: "zero", type: "3", major: 1, minor: 5 }]),
    /"zero" is missing/,
  ],
  "a missing layer": [
    () => layout({ blobs: (_, bytes) => bytes[0] === 0x1f ? undefined : bytes }),
    /layer sha256:[0-9a-f]+ is missing/,
  ],
  "a missing manifest": [
    () =>
      layout({
        blobs: (_, bytes) =>
          new TextDecoder().decode(bytes).includes("layers") && bytes[0] === 0x7b ? undefined : bytes,
      }),
    /there is no file "blobs\/sha256/,
  ],
  "a layer with another digest": [
    () => layout({ blobs: (_, bytes) => bytes[0] === 0x1f ? changed(bytes) : bytes }),
    /blob sha256:[0-9a-f]+ has the digest/,
  ],
  "a layer of another size": [
    () => layout({ blobs: (_, bytes) => bytes[0] === 0x1f ? bytes.subarray(1) : bytes }),
    /bytes where the manifest says/,
  ],
  "a manifest with another digest": [
    () => layout({ blobs: (_, bytes) => bytes[0] === 0x7b ? changed(bytes) : bytes }),
    /the (manifest|configuration) sha256:[0-9a-f]+ has the digest/,
  ],
  "a configuration that is not what its name says": [
    () =>
      docker({}).map((entry) =>
        entry.name.length > 60 ? { ...entry, body: `${new TextDecoder().decode(entry.body as Uint8Array)} ` } : entry
      ),
    /the configuration [0-9a-f]+\.json has the digest/,
  ],
  "more images than anybody has": [
    () => layout({ index: { manifests: new Array(2000).fill({ mediaType: "a", digest: sha256(LAYER), size: 1 }) } }),
    /more than 1000 images/,
  ],
  "an index larger than any document": [
    () => layout({ index: { filler: "x".repeat(4 * 1024 * 1024) } }),
    /more than the 4194304 of any document/,
  ],
  "an index that is none": [() => layout({ index: { manifests: "all" } }), /manifests is not a list/],
  "an index of an index of an index": [
    () => {
      const inner = new TextEncoder().encode(
        JSON.stringify({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: [] }),
      );
      const entry = (bytes: Uint8Array): Record<string, unknown> => ({
        mediaType: "application/vnd.oci.image.index.v1+json",
        digest: sha256(bytes),
        size: bytes.length,
      });
      const outer = new TextEncoder().encode(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: "application/vnd.oci.image.index.v1+json",
          manifests: [entry(inner)],
        }),
      );
      const blob = (bytes: Uint8Array): TarEntry => ({ name: `blobs/${sha256(bytes).replace(":", "/")}`, body: bytes });
      return layout({ index: { manifests: [entry(outer)] }, more: [blob(inner), blob(outer)] });
    },
    /names another index/,
  ],
  "a layout of another version": [
    () =>
      layout().map((entry) => entry.name === "oci-layout" ? { ...entry, body: `{"imageLayoutVersion":"9"}` } : entry),
    /version "9"/,
  ],
  "a layout whose version is a document": [
    () =>
      layout().map((entry) =>
        entry.name === "oci-layout" ? { ...entry, body: `{"imageLayoutVersion":"${"9".repeat(50_000)}"}` } : entry
      ),
    /^.{0,300}$/,
  ],
  "a manifest.json with a layer for each diff ID but one": [
    () => docker({ Layers: [] }),
    /1 diff IDs where the manifest has 0/,
  ],
  "a manifest.json that is no list": [() => [{ name: "manifest.json", body: "{}" }], /not a list of images/],
  "a cut archive": [() => buildTar(layout()).subarray(0, 3000), /is cut|no sound tar archive|there is no file/],
  "an entry that is larger than the archive": [
    () => [...layout(), { name: "big", body: "x", claimedSize: 8_000_000_000 }],
    /is cut after/,
  ],
  "no archive at all": [() => crypto.getRandomValues(new Uint8Array(5000)), /no sound tar archive/],
  "an empty file": [() => new Uint8Array(0), /holds no images/],
  "bad compressed data": [
    () => new Uint8Array([0x1f, 0x8b, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    /bad compressed data|bad gzip|gzip/,
  ],
};

for (const [name, [entries, reason]] of Object.entries(HOSTILE)) {
  Deno.test(`an archive with ${name} is refused, and leaves nothing open`, async () => {
    await rejects(load(entries()), (error: Error & { readonly kind?: string }) => {
      match(error.message, reason);
      match(error.kind ?? "", /^(data_loss|invalid_argument|failed_precondition|unimplemented)$/);
      return true;
    });
  });
}

Deno.test("an archive that unpacks to far too much is refused before it has filled the disk", async () => {
  const bomb = gzipSync(buildTar([...layout(), { name: "zeros", body: new Uint8Array(3_000_000) }]));
  await rejects(load(bomb, { maxBytes: 1_000_000 }), /unpacks to more than 1000000: unpack it yourself/);
  equal((await load(bomb, { maxBytes: 10_000_000 })).length, 1);
});

Deno.test("a compressed layer that an image names four hundred times is read once to know its size", async () => {
  const times = 400;
  const layer = gzipSync(new Uint8Array(64 << 20));
  const config = { rootfs: { type: "layers", diff_ids: Array(times).fill(sha256(layer)) } };
  const archive = docker({ Config: "c", Layers: Array(times).fill("big") }, [
    { name: "c", body: JSON.stringify(config) },
    { name: "big", body: new Uint8Array(layer) },
  ]);
  const before = cpuUsage();
  await withDirectory(async (directory) => {
    await Deno.writeFile(`${directory}/a.tar`, buildTar(archive));
    using open = await openArchive({ path: `${directory}/a.tar` }, { scratchDirectory: directory, signal });
    const image = await open.images[0]?.load(await hostPlatform());
    deepEqual([image?.layers.length, image?.layers.at(-1)?.sizeBytes], [times, 64 << 20]);
  });
  const { user, system } = cpuUsage(before);
  ok(user + system < 3_000_000, `${user} us and ${system} us`);
});

Deno.test("TarTree has limits for entries and their names", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/a.tar`;
    const open = async (entry: TarEntry, count: number): Promise<void> => {
      const blocks = new Uint8Array(await new Blob(tarBlocks(entry) as BlobPart[]).arrayBuffer());
      const bytes = new Uint8Array(blocks.length * count);
      for (let i = 0; i < count; i++) bytes.set(blocks, i * blocks.length);
      await Deno.writeFile(path, bytes);
      using _tree = await TarTree.open(path, { scratchDirectory: directory, signal });
    };
    await rejects(open({ name: "a" }, 100_001), /more than 100000 entries/);
    await rejects(
      open({ name: "n".repeat(4000) }, 4200),
      /longer than 16777216 bytes together/,
    );
  });
});

Deno.test("TarTree stops when it is told to", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/a.tar`;
    await Deno.writeFile(path, gzipSync(buildTar(layout())));
    const stopped = AbortSignal.abort(new Error("stop it"));
    await rejects(openArchive({ path }, { scratchDirectory: directory, signal: stopped }), /stop it/);
  });
});

Deno.test("a directory's links stay inside, and its pipes and devices are refused", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/layout`;
    await Deno.mkdir(path);
    await Deno.writeTextFile(`${path}/oci-layout`, `{"imageLayoutVersion":"1.0.0"}`);
    const open = async (): Promise<void> => {
      using _archive = await openArchive({ path, transport: "oci" }, { scratchDirectory: directory, signal });
    };
    await Deno.symlink("/etc/passwd", `${path}/index.json`);
    await rejects(open(), /there is no file "index\.json"/);
    await Deno.remove(`${path}/index.json`);
    await Deno.symlink("../../../../../etc/passwd", `${path}/index.json`);
    await rejects(open(), /there is no file "index\.json"/);
    await Deno.remove(`${path}/index.json`);
    await new Deno.Command("mkfifo", { args: [`${path}/index.json`] }).output();
    await rejects(open(), /open as a regular file/);
    await Deno.remove(`${path}/index.json`);
    await new Deno.Command("mknod", { args: [`${path}/index.json`, "c", "1", "5"] }).output();
    await rejects(open(), /open as a regular file/);
  });
});

Deno.test("layerFromArchive() stops a layer that unpacks to far too much", async () => {
  await withDirectory(async (directory) => {
    const zeros = gzipSync(buildTar([{ name: "zeros", body: new Uint8Array(8_000_000) }]));
    await Deno.writeFile(`${directory}/a.tar`, zeros);
    await Deno.mkdir(`${directory}/layout`);
    const image = {
      layer: () => {
        let rest: Uint8Array<ArrayBuffer> | undefined = new Uint8Array(zeros);
        const read = (): Promise<Uint8Array<ArrayBuffer> | undefined> => {
          const piece = rest;
          rest = undefined;
          return Promise.resolve(piece);
        };
        return Promise.resolve({ read, [Symbol.asyncDispose]: () => Promise.resolve() });
      },
    } as unknown as Parameters<typeof layerFromArchive>[0];
    const job = {
      layer: { digest: sha256(zeros), sizeBytes: 10_000, mediaType: "", urls: [] },
      diffId: sha256(LAYER),
      target: { index: 0, directory: `${directory}/layout`, tarSplitPath: `${directory}/layout.gz` },
      unpack: async (bytes: AsyncIterable<Uint8Array>) => {
        for await (const _piece of bytes);
        throw new Error("all of it came");
      },
      downloading: () => {},
      unpacking: () => {},
      signal,
    } as unknown as Omit<SourcedLayer, "attempts">;
    await rejects(
      layerFromArchive(image, { ...job, alwaysAllowedBytes: 1000 }),
      /has 10000 bytes and unpacks to more than 2000000/,
    );
  });
});
