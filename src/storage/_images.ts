import { DataLossError, NotFoundError } from "../base/errors.ts";
import { type Digest, digestHex, parseDigest, parseImageId } from "../base/ids.ts";
import { chainOf, type Index } from "./_index.ts";
import type { ImageHome } from "./_homes.ts";
import { bigDataFileName, isId } from "./layout.ts";
import { number, object, type RawRecord, strings, text } from "./_records.ts";
import { codeOf } from "./_trees.ts";
import type { StoredImage } from "./types.ts";

/** Key under which the platform's manifest is stored. */
export const MANIFEST_KEY = "manifest";

/** Where the signatures of a manifest are kept, one after the other. */
export function signaturesKey(manifest: Digest): string {
  return `signature-${digestHex(manifest)}`;
}
/** Shortest id prefix that names an image; shorter words are more likely names. */
const MIN_ID_PREFIX = 3;

/** Answers questions about images, from memory while no other program writes. */
export class ImageCatalog {
  #memo: { parts: readonly unknown[]; list: readonly StoredImage[] } | undefined;

  constructor(private readonly index: Index) {}

  async list(options: { readonly signal?: AbortSignal } = {}): Promise<readonly StoredImage[]> {
    const { homes } = this.index;
    const layers = await homes.layers(options);
    const images = await Promise.all(homes.all.map((home) => home.records.read(options)));
    const parts = [layers, ...images];
    if (this.#memo?.parts.every((part, i) => part === parts[i]) === true) return this.#memo.list;
    const list = describeAll(homes.all, images, layers);
    this.#memo = { parts, list };
    return list;
  }

  async find(reference: string, options: { readonly signal?: AbortSignal } = {}): Promise<StoredImage | undefined> {
    const list = await this.list(options);
    const exact = list.find((image) => image.id === reference || image.names.includes(reference));
    if (exact !== undefined) return exact;
    if (reference.includes("@")) return list.find((image) => image.repoDigests.includes(withoutTag(reference)));
    if (reference.length < MIN_ID_PREFIX || !/^[0-9a-f]+$/.test(reference)) return undefined;
    const fitting = list.filter((image) => image.id.startsWith(reference));
    return fitting.length === 1 ? fitting[0] : undefined;
  }

  /** @throws NotFoundError for an unknown image; DataLossError when signatures are missing that should be there */
  async signatures(id: string, manifest: Digest): Promise<readonly Uint8Array[]> {
    const found = await this.index.homes.find(id);
    if (found === undefined) throw new NotFoundError("image", id);
    const sizes = signatureSizes(found.record, manifest);
    if (sizes.length === 0) return [];
    const blob = await this.bigData(id, signaturesKey(manifest));
    let end = 0;
    const signatures = sizes.map((size) => blob.subarray(end, end += size));
    if (end > blob.length) throw new DataLossError(`the signatures of image ${id} are cut: pull it anew`);
    return signatures;
  }

  /** @throws NotFoundError when the image has no such data; DataLossError when it should have */
  async bigData(id: string, key: string): Promise<Uint8Array> {
    const found = await this.index.homes.find(id);
    if (found === undefined) throw new NotFoundError("image", id);
    const { record: image, home } = found;
    const path = `${home.directory}/${id}/${bigDataFileName(key)}`;
    try {
      return await Deno.readFile(path);
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
      if (!strings(image, "big-data-names").includes(key)) throw new NotFoundError(`data of image ${id}`, key);
      throw new DataLossError(`image ${id} lost ${path}: pull it anew`, { cause: error });
    }
  }
}

/** How long the signatures of a manifest are, as c/image notes it in an image's metadata. */
function signatureSizes(image: RawRecord, manifest: Digest): readonly number[] {
  try {
    const metadata = object({ value: JSON.parse(text(image, "metadata") ?? "{}") }, "value");
    const sizes = object(metadata, "signatures-sizes")[manifest];
    return Array.isArray(sizes) ? sizes.filter((size) => Number.isSafeInteger(size) && size > 0) : [];
  } catch {
    return []; // opaque text of another tool
  }
}

/** The repository of a name: what stands before tag and digest. */
export function repositoryOf(name: string): string {
  const at = name.indexOf("@");
  const bare = at === -1 ? name : name.slice(0, at);
  const colon = bare.indexOf(":", bare.lastIndexOf("/") + 1);
  return colon === -1 ? bare : bare.slice(0, colon);
}

/** An image that several stores have is that of the first one, with all their names; a name is the first one's. */
function describeAll(
  homes: readonly ImageHome[],
  images: readonly ReadonlyMap<string, RawRecord>[],
  layers: ReadonlyMap<string, RawRecord>,
): StoredImage[] {
  const list = new Map<string, StoredImage>();
  const known = new Map<string, RawRecord>();
  const taken = new Set<string>();
  for (const [i, home] of homes.entries()) {
    const before = new Set(taken);
    for (const record of images[i]?.values() ?? []) {
      const names = strings(record, "names");
      const free = before.size === 0 ? names : names.filter((name) => !before.has(name));
      for (const name of free) taken.add(name);
      const id = text(record, "id") ?? "";
      const first = known.get(id);
      const whole = { ...first ?? record, names: [...strings(first ?? {}, "names"), ...free] };
      known.set(id, whole);
      const image = describeImage(whole, layers);
      if (image === undefined) continue;
      const readOnly = first === undefined ? home.table === undefined : list.get(id)?.readOnlyStore !== undefined;
      list.set(id, readOnly ? { ...image, readOnlyStore: list.get(id)?.readOnlyStore ?? home.root } : image);
    }
  }
  return [...list.values()];
}

/** Undefined for a record whose id is no image id (never made by the tools that share this store). */
function describeImage(image: RawRecord, layers: ReadonlyMap<string, RawRecord>): StoredImage | undefined {
  const id = text(image, "id") ?? "";
  if (!isId(id)) return undefined;
  const names = strings(image, "names");
  const digests = manifestDigests(image);
  const repositories = [...new Set(names.map(repositoryOf))];
  const repoDigests = repositories.flatMap((repository) => digests.map((digest) => `${repository}@${digest}`));
  const named = names.filter((name) => name.includes("@")).map(withoutTag);
  let sizeBytes = 0;
  for (const layer of chainOf(layers, text(image, "layer"))) sizeBytes += Math.max(0, number(layer, "diff-size") ?? 0);
  for (const size of Object.values(object(image, "big-data-sizes"))) {
    if (typeof size === "number") sizeBytes += size;
  }
  return {
    id: parseImageId(id),
    names,
    namesHistory: strings(image, "names-history"),
    digest: digests[0],
    digests,
    repoDigests: [...new Set([...named, ...repoDigests])],
    created: text(image, "created") ?? "1970-01-01T00:00:00Z",
    sizeBytes,
    topLayer: text(image, "layer"),
  };
}

/** The platform's manifest first, then those stored beside it. */
function manifestDigests(image: RawRecord): readonly Digest[] {
  const digests = new Set<Digest>();
  const add = (value: string | undefined): void => {
    if (value !== undefined && /^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})$/.test(value)) digests.add(parseDigest(value));
  };
  const known = object(image, "big-data-digests");
  add(text(image, "digest") ?? text(known, MANIFEST_KEY));
  for (const name of strings(image, "big-data-names")) {
    if (name.startsWith(`${MANIFEST_KEY}-`)) add(name.slice(MANIFEST_KEY.length + 1));
  }
  return [...digests];
}

function withoutTag(reference: string): string {
  const digest = reference.slice(reference.indexOf("@"));
  return `${repositoryOf(reference)}${digest}`;
}
