import { Buffer } from "node:buffer";
import { DataLossError, FailedPreconditionError, InvalidArgumentError } from "../base/errors.ts";
import { type ImageId, parseImageId } from "../base/ids.ts";
import { writeFileAtomic } from "../linux/atomic_file.ts";
import { MANIFEST_KEY, signaturesKey } from "./_images.ts";
import { chainLayerId, findChain, type Index, sha256Hex } from "./_index.ts";
import { bigDataFileName } from "./layout.ts";
import { installLayer, NO_PARENT, parentLayer, prepareLayer } from "./_overlay.ts";
import { object, type RawRecord, type RecordTransaction, strings, text } from "./_records.ts";
import { isInReadOnlyStore, takeNames, withNames } from "./_image_names.ts";
import { discardLayer, dropLayers, ownImages, unusedLayers } from "./_removal.ts";
import { Stage } from "./_stage.ts";
import { codeOf } from "./_trees.ts";
import type { ImageCommit, LayerCommit, LayerCompression } from "./types.ts";

/** containers/storage's numbers of the compressions; 0 is left out. */
const COMPRESSION: Readonly<Record<LayerCompression, number>> = { none: 0, bzip2: 1, gzip: 2, xz: 3, zstd: 4 };

interface Waiting {
  readonly signal?: AbortSignal;
}

/**
 * Makes an image of what a stage holds: layer directories are renamed into place, then the layers are recorded, then
 * the image. A crash leaves directories without a record, or recorded layers without an image: other tools pass over
 * both, and the next open removes them.
 *
 * @throws InvalidArgumentError or DataLossError when config, manifest and layers do not fit together;
 *   FailedPreconditionError when a layer that was there has gone; what writing throws, with everything undone
 */
export async function commitImage(index: Index, commit: ImageCommit, options: Waiting = {}): Promise<ImageId> {
  const id = await checkCommit(commit);
  if (await isInReadOnlyStore(index, id, commit)) return id;
  await syncTarSplits(commit);
  using layers = await index.layers.begin(options);
  const added = await addLayers(index, layers, commit);
  try {
    await addImage(index, { id, commit, topLayer: added.topLayer }, options);
  } catch (error) {
    const containers = await index.containers.read();
    const roots = { images: await ownImages(index), containers: containers.values(), mounts: [] };
    await dropLayers(index, layers, unusedLayers(layers, [...added.ids].reverse(), roots));
    throw error;
  }
  return id;
}

async function checkCommit(commit: ImageCommit): Promise<ImageId> {
  const id = parseImageId(await sha256Hex(commit.config));
  const config = parseObject(commit.config, `configuration of image ${id}`);
  const rootfs = object(config, "rootfs");
  const diffIds = strings(rootfs, "diff_ids");
  const given = commit.layers.map((layer) => layer.diffId);
  if (diffIds.length !== given.length || diffIds.some((diffId, i) => diffId !== given[i])) {
    throw new DataLossError(
      `image ${id}: layers ${given.join(" ")} are not those of its configuration: ${diffIds.join(" ")}`,
    );
  }
  for (const [what, manifest] of [["manifest", commit.manifest], ["index", commit.index]] as const) {
    if (manifest === undefined || !manifest.digest.startsWith("sha256:")) continue;
    const actual = await sha256Hex(manifest.bytes);
    if (manifest.digest === `sha256:${actual}`) continue;
    throw new DataLossError(`image ${id}: its ${what} has digest sha256:${actual}, not ${manifest.digest}`);
  }
  const named = text(object(parseObject(commit.manifest.bytes, `manifest of image ${id}`), "config"), "digest");
  if (named !== undefined && named.startsWith("sha256:") && named !== `sha256:${id}`) {
    throw new DataLossError(`image ${id}: its manifest names the configuration ${named}`);
  }
  for (const name of commit.names) {
    if (name === "" || /[\s\p{Cc}]/u.test(name)) {
      throw new InvalidArgumentError(`image name ${JSON.stringify(name)} is empty or has white space`);
    }
  }
  return id;
}

interface AddedLayers {
  readonly ids: readonly string[];
  readonly topLayer: string | undefined;
}

async function addLayers(index: Index, layers: RecordTransaction, commit: ImageCommit): Promise<AddedLayers> {
  const known = new Map([
    ...await index.homes.foreignLayers(),
    ...[...layers.values()].map((record) => [text(record, "id") ?? "", record] as const),
  ]);
  const present = await findChain(known, commit.layers.map((layer) => layer.diffId));
  const ids: string[] = [];
  let parent: string | undefined;
  try {
    for (const [i, layer] of commit.layers.entries()) {
      const existing = present[i];
      // A record whose directory was lost does not count, and then nothing above it: those directories name it.
      if (existing !== undefined && ids.length === 0 && await hasDirectory(index, existing.id)) {
        parent = existing.id;
        continue;
      }
      parent = await addLayer(index, layers, { commit, layer, parent, note: ids });
      ids.push(parent);
    }
    await layers.save();
  } catch (error) {
    for (const id of ids.reverse()) await discardLayer(index, id);
    throw error;
  }
  return { ids, topLayer: parent };
}

async function addLayer(
  index: Index,
  layers: RecordTransaction,
  added: { commit: ImageCommit; layer: LayerCommit; parent: string | undefined; note: readonly string[] },
): Promise<string> {
  const { commit, layer, parent } = added;
  const { source } = layer;
  if (source.kind !== "staged" || !(commit.stage instanceof Stage)) {
    throw new FailedPreconditionError(`layer ${layer.diffId} is not in the store any more: pull the image again`);
  }
  const id = await chainLayerId(parent, layer.diffId);
  await commit.stage.noteReap([...added.note, id]);
  // What lies there belongs to no record: it was left by a crash, or its creator did not finish.
  await discardLayer(index, id);
  const below = parent === undefined ? NO_PARENT : await parentLayer(index.places, parent);
  const root = source.hasRootEntry ? undefined : below.root;
  const prepared = await prepareLayer(commit.stage.layerRoot(source.index), { parent: below, root, makeDiff: false });
  try {
    await installLayer({ place: index.layout.forImages, root: index.imageArea.root }, id, prepared);
    await moveIfPresent(index, { from: commit.stage.tarSplitPath(source.index), to: index.layout.tarSplit(id) });
  } catch (error) {
    await discardLayer(index, id);
    throw error;
  }
  layers.put(layerRecord(id, parent, layer));
  return id;
}

function layerRecord(id: string, parent: string | undefined, layer: LayerCommit): RawRecord & { readonly id: string } {
  const compression = COMPRESSION[layer.compression];
  const staged = layer.source.kind === "staged" ? layer.source : undefined;
  const sorted = (ids: readonly number[]): number[] => [...new Set(ids)].sort((a, b) => a - b);
  return {
    id,
    ...(parent === undefined ? {} : { parent }),
    created: new Date().toISOString(),
    "compressed-diff-digest": layer.digest,
    "compressed-size": layer.compressedSizeBytes,
    "diff-digest": layer.diffId,
    "diff-size": layer.uncompressedSizeBytes,
    ...(compression === 0 ? {} : { compression }),
    ...(staged?.uids === undefined ? {} : { uidset: sorted(staged.uids) }),
    ...(staged?.gids === undefined ? {} : { gidset: sorted(staged.gids) }),
  };
}

interface NewImage {
  readonly id: ImageId;
  readonly commit: ImageCommit;
  readonly topLayer: string | undefined;
}

async function addImage(index: Index, image: NewImage, options: Waiting): Promise<void> {
  const { id, commit } = image;
  using images = await index.images.begin(options);
  const known = images.get(id);
  const directory = index.layout.image(id);
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  const data = bigData(image);
  try {
    await Promise.all([...data].map(([key, bytes]) => writeFileAtomic(`${directory}/${bigDataFileName(key)}`, bytes)));
    takeNames(images, id, commit.names);
    images.put(withNames(await imageRecord(image, { known, data }), commit.names));
    await images.save();
  } catch (error) {
    if (known === undefined) await index.trash.discard(directory);
    throw error;
  }
}

/** What c/image stores with an image, by key. */
function bigData(image: NewImage): ReadonlyMap<string, Uint8Array> {
  const { id, commit } = image;
  const data = new Map<string, Uint8Array>();
  data.set(`sha256:${id}`, commit.config);
  if (commit.index !== undefined) data.set(`${MANIFEST_KEY}-${commit.index.digest}`, commit.index.bytes);
  data.set(`${MANIFEST_KEY}-${commit.manifest.digest}`, commit.manifest.bytes);
  data.set(MANIFEST_KEY, commit.manifest.bytes);
  const signatures = Buffer.concat(commit.signatures ?? []);
  data.set(signaturesKey(commit.manifest.digest), signatures);
  // Where c/image looks when it is asked for the image as such.
  if (signatures.length > 0) data.set("signatures", signatures);
  return data;
}

async function imageRecord(
  image: NewImage,
  from: { known: RawRecord | undefined; data: ReadonlyMap<string, Uint8Array> },
): Promise<RawRecord & { readonly id: string }> {
  const { id, commit, topLayer } = image;
  const known = from.known ?? {};
  const sizes: Record<string, unknown> = { ...object(known, "big-data-sizes") };
  const digests: Record<string, unknown> = { ...object(known, "big-data-digests") };
  for (const [key, bytes] of from.data) {
    sizes[key] = bytes.length;
    digests[key] = `sha256:${await sha256Hex(bytes)}`;
  }
  const created = text(parseObject(commit.config, `configuration of image ${id}`), "created");
  return {
    id,
    ...known,
    digest: commit.manifest.digest,
    names: strings(known, "names"),
    ...(topLayer === undefined ? {} : { layer: topLayer }),
    metadata: signatureMetadata(text(known, "metadata"), commit),
    "big-data-names": [...new Set([...strings(known, "big-data-names"), ...from.data.keys()])],
    "big-data-sizes": sizes,
    "big-data-digests": digests,
    created: text(known, "created") ?? (isTime(created) ? created : new Date().toISOString()),
  };
}

/** Other tools refuse the whole index when one time in it cannot be read. */
function isTime(value: string | undefined): value is string {
  const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/;
  return value !== undefined && RFC3339.test(value) && !Number.isNaN(Date.parse(value));
}

/** c/image's record of the signatures that are stored with each manifest: how long they are, in their order. */
function signatureMetadata(known: string | undefined, { manifest, signatures = [] }: ImageCommit): string {
  let metadata: RawRecord = {};
  try {
    metadata = object({ value: JSON.parse(known ?? "{}") }, "value");
  } catch {
    // Opaque text of another tool: c/image could not read it either.
  }
  const own = signatures.map(({ length }) => length);
  const { "signature-sizes": _former, ...rest } = metadata;
  const sizes = { ...object(metadata, "signatures-sizes"), [manifest.digest]: own };
  const main = own.length === 0 ? {} : { "signature-sizes": own };
  return JSON.stringify({ ...rest, ...main, "signatures-sizes": sizes });
}

async function hasDirectory(index: Index, layerId: string): Promise<boolean> {
  try {
    return (await Deno.lstat(`${await index.places.layer(layerId)}/diff`)).isDirectory;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

async function syncTarSplits(commit: ImageCommit): Promise<void> {
  for (const { source } of commit.layers) {
    if (source.kind !== "staged" || commit.stage === undefined) continue;
    try {
      using file = await Deno.open(commit.stage.tarSplitPath(source.index), { read: true });
      await file.sync();
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
    }
  }
}

async function moveIfPresent(index: Index, path: { readonly from: string; readonly to: string }): Promise<void> {
  try {
    await index.imageArea.root.rename(path.from, path.to);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return;
    if (codeOf(error) !== "EXDEV") throw error;
    if (!await copyDurably(path)) return;
  }
  await Deno.chmod(path.to, 0o600);
}

/** From an image store to the graph root. @returns false when there is nothing to copy */
async function copyDurably(path: { readonly from: string; readonly to: string }): Promise<boolean> {
  try {
    await Deno.copyFile(path.from, path.to);
    using copy = await Deno.open(path.to, { write: true });
    await copy.sync();
    return true;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

function parseObject(bytes: Uint8Array, what: string): RawRecord {
  try {
    return object({ value: JSON.parse(new TextDecoder().decode(bytes)) }, "value");
  } catch (error) {
    throw new DataLossError(`${what} is not JSON`, { cause: error });
  }
}
