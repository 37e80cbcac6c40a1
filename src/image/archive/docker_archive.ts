/** Images as `docker save` and `podman save` write them: manifest.json names configurations, tags and plain layers. */
import { DataLossError, InvalidArgumentError, messageOf } from "../../base/errors.ts";
import { digestOf } from "../distribution/repository.ts";
import type { ByteReader } from "../distribution/transport.ts";
import { type Descriptor, isObject } from "../manifest/documents.ts";
import { parseConfigSummary } from "../manifest/image_config.ts";
import { decompress } from "../pull/decompress.ts";
import { type ArchivedImage, fullName, type LoadedImage, MAX_IMAGES, maxUnpackedBytes } from "./archived_image.ts";
import { type FileTree, readDocument, type StoredFile } from "./file_tree.ts";

const MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG_TYPE = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar";
const MAX_LAYERS = 500;

interface Entry {
  readonly config: string;
  readonly tags: readonly string[];
  readonly layers: readonly string[];
}

/** @throws DataLossError for a manifest.json that is none */
export async function dockerImages(tree: FileTree): Promise<readonly ArchivedImage[]> {
  return entries(await readDocument(tree, "manifest.json")).map((entry) => ({
    names: [...new Set(entry.tags.map(fullName).filter((name) => name !== undefined))],
    label: "",
    load: () => load(tree, entry),
  }));
}

function entries(bytes: Uint8Array): readonly Entry[] {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new DataLossError(`manifest.json is not valid JSON: ${messageOf(error).slice(0, 120)}`, { cause: error });
  }
  if (!Array.isArray(document)) throw new DataLossError("manifest.json is not a list of images");
  if (document.length > MAX_IMAGES) throw new InvalidArgumentError(`it has more than ${MAX_IMAGES} images`);
  return document.map((entry, i) => {
    if (!isObject(entry)) throw new DataLossError(`manifest.json: image ${i} is not an object`);
    const { Config: config, RepoTags: tags, Layers: layers } = entry;
    if (typeof config !== "string" || !isTexts(layers) || layers.length > MAX_LAYERS) {
      throw new DataLossError(`manifest.json: image ${i} lacks its configuration or layers`);
    }
    return { config, tags: isTexts(tags) ? tags : [], layers };
  });
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === "string");
}

/** The archive has no manifest: the same one is made for it as other tools make, so that its digest is theirs. */
async function load(tree: FileTree, entry: Entry): Promise<LoadedImage> {
  const config = await readDocument(tree, entry.config);
  const digest = digestOf(config, "sha256");
  const named = /(?:^|\/)([0-9a-f]{64})(?:\.json)?$/.exec(entry.config)?.[1];
  if (named !== undefined && digest !== `sha256:${named}`) {
    throw new DataLossError(`the configuration ${entry.config} has the digest ${digest}`);
  }
  const { diffIds } = parseConfigSummary(config, entry.layers.length);
  const files = await layerFiles(tree, entry.layers);
  const layers: Descriptor[] = [];
  for (const [i, name] of entry.layers.entries()) {
    const [diffId, sizeBytes] = [diffIds[i], files.get(name)?.plainBytes];
    if (diffId === undefined || sizeBytes === undefined) break;
    layers.push({ mediaType: LAYER_TYPE, digest: diffId, sizeBytes, urls: [] });
  }
  const document = {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: CONFIG_TYPE, size: config.length, digest },
    layers: layers.map(({ mediaType, sizeBytes, digest }) => ({ mediaType, size: sizeBytes, digest })),
  };
  const bytes = new TextEncoder().encode(JSON.stringify(document));
  return {
    kind: "image",
    manifest: { bytes, digest: digestOf(bytes, "sha256"), contentType: MANIFEST_TYPE },
    config,
    layers,
    layer: async ({ digest }) => {
      const file = files.get(entry.layers[layers.findIndex((layer) => layer.digest === digest)] ?? "")?.file;
      if (file === undefined) throw new DataLossError(`layer ${digest} is missing`);
      return await plainReader(file);
    },
  };
}

interface LayerFile {
  readonly file: StoredFile;
  readonly plainBytes: number;
}

/** Each once: an image may name one file five hundred times, and a compressed one has to be read to know its size. */
async function layerFiles(tree: FileTree, names: readonly string[]): Promise<ReadonlyMap<string, LayerFile>> {
  const found = new Map<string, LayerFile>();
  for (const name of new Set(names)) {
    const file = await layerFile(tree, name);
    found.set(name, { file, plainBytes: await plainSize(file, name) });
  }
  return found;
}

async function layerFile(tree: FileTree, name: string): Promise<StoredFile> {
  const file = await tree.file(name);
  if (file === undefined) throw new DataLossError(`the layer ${JSON.stringify(name.slice(0, 200))} is missing`);
  return file;
}

/** Some tools compress layers in it: what the configuration names is the plain one. */
async function plainReader(file: StoredFile): Promise<ByteReader> {
  const source = file.read();
  const { compression, bytes } = await decompress(source);
  if (compression === "none") {
    await bytes.return();
    await source[Symbol.asyncDispose]();
    return file.read();
  }
  return {
    read: async () => (await bytes.next()).value ?? undefined,
    [Symbol.asyncDispose]: async () => {
      await bytes.return();
      await source[Symbol.asyncDispose]();
    },
  };
}

async function plainSize(file: StoredFile, name: string): Promise<number> {
  await using source = file.read();
  const { compression, bytes } = await decompress(source);
  if (compression === "none") {
    await bytes.return();
    return file.sizeBytes;
  }
  const limit = maxUnpackedBytes(file.sizeBytes);
  let size = 0;
  for await (const piece of bytes) {
    size += piece.length;
    if (size > limit) {
      throw new InvalidArgumentError(
        `the layer ${JSON.stringify(name.slice(0, 200))} has ${file.sizeBytes} bytes and unpacks to more than ${limit}`,
      );
    }
  }
  return size;
}
