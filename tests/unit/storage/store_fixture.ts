/** Places for real stores, and small images made on the spot. Leaves nothing behind. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { type Digest, type ImageId, parseDigest } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { runCommand } from "../../../src/linux/command.ts";
import { nativeCrc64 } from "../../../src/linux/checksums.ts";
import { unmount } from "../../../src/linux/mount.ts";
import { isBelow, readMounts } from "../../../src/linux/mountinfo.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { Store } from "../../../src/storage/store.ts";
import type { LayerCommit, StoreOptions } from "../../../src/storage/types.ts";

openLibraries();
// Neither may this one open inside a test: layers are unpacked here too.
nativeCrc64();

/** Roots of one store. */
export interface Roots {
  readonly directory: string;
  readonly graphRoot: string;
  readonly runRoot: string;
}

/** Runs `body` with fresh roots; afterwards nothing may be mounted but the store's own bind mount. */
export async function withRoots(body: (roots: Roots) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "store-" });
  const roots = { directory, graphRoot: `${directory}/graph`, runRoot: `${directory}/run` };
  try {
    await body(roots);
    const left = (await mountsBelow(directory)).filter((path) => !path.endsWith("/overlay"));
    assert.deepEqual(left, [], "no mount is left");
  } finally {
    await unmountBelow(directory);
    await Deno.remove(directory, { recursive: true });
  }
}

/** Runs `body` with an open store. */
export async function withStore(body: (store: Store, roots: Roots) => Promise<void>): Promise<void> {
  await withRoots(async (roots) => {
    await using store = await openStore(roots);
    await body(store, roots);
  });
}

export function openStore(roots: Roots, options: Partial<StoreOptions> = {}): Promise<Store> {
  const { graphRoot, runRoot } = roots;
  return Store.open({ graphRoot, runRoot, logger: silentLogger, ...options });
}

/** Unmounts everything below a directory. */
export async function unmountBelow(directory: string): Promise<void> {
  for (const path of (await mountsBelow(directory)).reverse()) await unmount(path, { detach: true });
}

export async function mountsBelow(directory: string): Promise<string[]> {
  return (await readMounts()).map((mount) => mount.mountPoint).filter((path) => isBelow(path, directory));
}

/** One layer of a test image: its tar, as made from files. */
export interface TestLayer {
  readonly tarPath: string;
  readonly diffId: Digest;
  readonly blob: Uint8Array;
  readonly digest: Digest;
  readonly sizeBytes: number;
}

export interface TestImage {
  readonly layers: readonly TestLayer[];
  readonly config: Uint8Array;
  readonly manifest: { readonly digest: Digest; readonly bytes: Uint8Array };
  readonly id: string;
}

export const sha256 = (bytes: Uint8Array): Digest =>
  parseDigest(`sha256:${createHash("sha256").update(bytes).digest("hex")}`);

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

/** Packs layers given as path -> content; `busybox: true` puts the host's static busybox into the first. */
export async function makeImage(
  directory: string,
  contents: readonly Readonly<Record<string, string>>[],
  options: { readonly busybox?: boolean } = {},
): Promise<TestImage> {
  const layers: TestLayer[] = [];
  for (const [i, files] of contents.entries()) {
    const tree = await Deno.makeTempDir({ dir: directory, prefix: "tree-" });
    for (const [path, content] of Object.entries(files)) {
      await Deno.mkdir(`${tree}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(`${tree}/${path}`, content);
    }
    if (i === 0 && options.busybox === true) {
      await Deno.mkdir(`${tree}/bin`, { recursive: true });
      await Deno.copyFile("/bin/busybox", `${tree}/bin/busybox`);
      for (const name of ["sh", "cat", "echo"]) await Deno.symlink("busybox", `${tree}/bin/${name}`);
    }
    const tarPath = `${tree}.tar`;
    const names = (await Array.fromAsync(Deno.readDir(tree))).map((entry) => entry.name).sort();
    await runCommand(["/usr/bin/tar", "-C", tree, "-cf", tarPath, "--mtime=@1700000000", "--sort=name", ...names]);
    const tar = await Deno.readFile(tarPath);
    const blob = new Uint8Array(gzipSync(tar));
    layers.push({ tarPath, diffId: sha256(tar), blob, digest: sha256(blob), sizeBytes: tar.length });
  }
  return imageOf(layers);
}

/** An image of these layers, base first. */
export function imageOf(layers: readonly TestLayer[]): TestImage {
  const config = encode({
    architecture: "amd64",
    os: "linux",
    created: "2023-11-14T22:13:20Z",
    config: { Cmd: ["/bin/sh"], Labels: { test: "yes" } },
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.diffId) },
  });
  const type = "application/vnd.oci.image";
  const manifestBytes = encode({
    schemaVersion: 2,
    mediaType: `${type}.manifest.v1+json`,
    config: { mediaType: `${type}.config.v1+json`, digest: sha256(config), size: config.length },
    layers: layers.map((layer) => ({
      mediaType: `${type}.layer.v1.tar+gzip`,
      digest: layer.digest,
      size: layer.blob.length,
    })),
  });
  const manifest = { digest: sha256(manifestBytes), bytes: manifestBytes };
  return { layers, config, manifest, id: sha256(config).slice("sha256:".length) };
}

/** The image as an OCI layout that skopeo reads. */
export async function writeLayout(image: TestImage, directory: string): Promise<void> {
  const blobs = `${directory}/blobs/sha256`;
  await Deno.mkdir(blobs, { recursive: true });
  const all = [image.config, image.manifest.bytes, ...image.layers.map((layer) => layer.blob)];
  for (const bytes of all) await Deno.writeFile(`${blobs}/${sha256(bytes).slice(7)}`, bytes);
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const descriptor = { mediaType, digest: image.manifest.digest, size: image.manifest.bytes.length };
  await Deno.writeFile(`${directory}/index.json`, encode({ schemaVersion: 2, manifests: [descriptor] }));
  await Deno.writeFile(`${directory}/oci-layout`, encode({ imageLayoutVersion: "1.0.0" }));
}

/** What a commit says of a test image's layers, in stage order. */
export function layerCommits(image: TestImage, present = 0): LayerCommit[] {
  return image.layers.map((layer, i) => ({
    diffId: layer.diffId,
    digest: layer.digest,
    compressedSizeBytes: layer.blob.length,
    uncompressedSizeBytes: layer.sizeBytes,
    compression: "gzip",
    source: i < present
      ? { kind: "existing" }
      : { kind: "staged", index: i, hasRootEntry: false, uids: [0], gids: [0] },
  }));
}

/** Unpacks with tar(1) and commits, as a pull does; layers that are present are not unpacked. */
export async function pullInto(
  store: Store,
  image: TestImage,
  options: {
    readonly names?: readonly string[];
    readonly index?: { digest: Digest; bytes: Uint8Array };
    readonly beforeCommit?: (stage: { tarSplitPath(index: number): string }) => Promise<void>;
  } = {},
): Promise<ImageId> {
  const { names = [], index, beforeCommit } = options;
  const present = await store.presentLayers(image.layers.map((layer) => layer.diffId));
  await using stage = await store.stage();
  for (const [i, layer] of image.layers.entries()) {
    if (i < present.length) continue;
    const directory = await stage.layerDirectory(i);
    await runCommand(["/usr/bin/tar", "-C", directory, "-xpf", layer.tarPath]);
  }
  await beforeCommit?.(stage);
  const { config, manifest } = image;
  const layers = layerCommits(image, present.length);
  return await store.commitImage({ stage, names, config, manifest, layers, ...(index === undefined ? {} : { index }) });
}

/** Fails unless records and directories of a closed store fit together in every way that other tools rely on. */
export async function assertSound(roots: Roots): Promise<void> {
  const { graphRoot } = roots;
  const read = async (path: string): Promise<Record<string, unknown>[]> => {
    const text = await Deno.readTextFile(`${graphRoot}/${path}`).catch(() => "[]");
    return JSON.parse(text);
  };
  const layers = [
    ...await read("overlay-layers/layers.json"),
    ...await read("overlay-layers/volatile-layers.json"),
  ];
  const ids = layers.map((layer) => String(layer["id"]));
  const special = ["l", "staging", ".has-mount-program"];
  const inOverlay = (await names(`${graphRoot}/overlay`)).filter((name) => !special.includes(name));
  assert.deepEqual(inOverlay, [...ids].sort(), "each layer has a directory and each directory a record");
  const links: string[] = [];
  for (const layer of layers) {
    const directory = `${graphRoot}/overlay/${layer["id"]}`;
    const link = await Deno.readTextFile(`${directory}/link`);
    links.push(link);
    assert.equal(await Deno.readLink(`${graphRoot}/overlay/l/${link}`), `../${layer["id"]}/diff`);
    const lower = await Deno.readTextFile(`${directory}/lower`).catch(() => undefined);
    assert.equal(lower === undefined, layer["parent"] === undefined, "lower exists exactly with a parent");
    for (const below of lower?.split(":") ?? []) await Deno.stat(`${graphRoot}/overlay/${below}`);
    if (layer["parent"] !== undefined) assert.ok(ids.includes(String(layer["parent"])));
  }
  assert.deepEqual(await names(`${graphRoot}/overlay/l`), links.sort(), "no dangling short name");
  const images = await read("overlay-images/images.json");
  for (const image of images) {
    if (image["layer"] !== undefined) assert.ok(ids.includes(String(image["layer"])), "the image's layer is there");
  }
  assert.deepEqual(
    await directoriesOf(`${graphRoot}/overlay-images`),
    images.map((image) => String(image["id"])).sort(),
  );
  const containers = [
    ...await read("overlay-containers/containers.json"),
    ...await read("overlay-containers/volatile-containers.json"),
  ];
  for (const container of containers) assert.ok(ids.includes(String(container["layer"])));
  const containerIds = containers.map((container) => String(container["id"])).sort();
  const directories = await directoriesOf(`${graphRoot}/overlay-containers`);
  assert.deepEqual(directories.filter((id) => !containerIds.includes(id)), []);
  assert.deepEqual(await names(`${graphRoot}/tmp`), [], "no stage is left");
}

async function names(directory: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(directory))).map((entry) => entry.name).sort();
}

async function directoriesOf(directory: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(directory));
  return entries.filter((entry) => entry.isDirectory).map((entry) => entry.name).sort();
}
