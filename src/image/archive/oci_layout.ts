/** Images in an OCI layout (image-layout.md): index.json, oci-layout, blobs/. */
import { DataLossError, InvalidArgumentError, UnimplementedError } from "../../base/errors.ts";
import { digestHex } from "../../base/ids.ts";
import { digestOf, type FetchedManifest, matchesDigest, MAX_DOCUMENT_BYTES } from "../distribution/repository.ts";
import type { ByteReader } from "../distribution/transport.ts";
import { type Descriptor, jsonObject, type Manifest, parseManifest, type Platform } from "../manifest/documents.ts";
import { choosePlatform } from "../manifest/platform.ts";
import { isAttachmentTag } from "../policy/attachment.ts";
import { attachedSignatures } from "./_signatures.ts";
import { type ArchivedImage, fullName, type LoadedImage, MAX_IMAGES } from "./archived_image.ts";
import { type FileTree, readDocument, VerifiedReader } from "./file_tree.ts";

/** The name that most tools write. */
const REF_NAME = "org.opencontainers.image.ref.name";
/** The full name that containerd and docker save write; theirs is only the tag. */
const IMAGE_NAME = "io.containerd.image.name";

/** Where a blob is, as a file. */
export type BlobName = (descriptor: Descriptor) => string;

const inLayout: BlobName = ({ digest }) => `blobs/${digest.split(":", 1)[0]}/${digestHex(digest)}`;

/**
 * The images that a layout has at its top.
 *
 * @throws DataLossError for what is no layout; UnimplementedError for another version
 */
export async function ociImages(tree: FileTree): Promise<readonly ArchivedImage[]> {
  const { imageLayoutVersion } = jsonObject(await readDocument(tree, "oci-layout"), "oci-layout");
  if (imageLayoutVersion !== "1.0.0") {
    const shown = JSON.stringify(imageLayoutVersion)?.slice(0, 80);
    throw new UnimplementedError(`the layout has version ${shown}, known is 1.0.0`);
  }
  const index = parseManifest(await readDocument(tree, "index.json"), "");
  if (index.kind !== "index") throw new DataLossError("index.json is no index");
  if (index.manifests.length > MAX_IMAGES) throw new InvalidArgumentError(`it has more than ${MAX_IMAGES} images`);
  const isSignature = (entry: Descriptor): boolean => isAttachmentTag(nameOf(entry).label);
  const attached = new Map(index.manifests.filter(isSignature).map((entry) => [nameOf(entry).label, entry]));
  const images = index.manifests.filter((entry) => !isSignature(entry));
  return [...grouped(images)].map(([, members]) => image(tree, { members, attached }));
}

/** Entries of one name are one image for several platforms; entries of one digest are one image with several names. */
function grouped(entries: readonly Descriptor[]): Map<string, Descriptor[]> {
  const groups = new Map<string, Descriptor[]>();
  for (const entry of entries) {
    // Attestations of builds stand beside the images.
    if (entry.platform?.os === "unknown") continue;
    const { name, label } = nameOf(entry);
    const key = name ?? label;
    const twin = [...groups.values()].find((members) => members.some(({ digest }) => digest === entry.digest));
    const group = twin ?? groups.get(key);
    if (group === undefined) groups.set(key === "" ? entry.digest : key, [entry]);
    else group.push(entry);
  }
  return groups;
}

function nameOf({ annotations = {} }: Descriptor): { readonly name: string | undefined; readonly label: string } {
  const label = annotations[REF_NAME] ?? "";
  return { name: fullName(annotations[IMAGE_NAME] ?? "") ?? fullName(label), label };
}

function image(
  tree: FileTree,
  { members, attached }: {
    readonly members: readonly Descriptor[];
    readonly attached: ReadonlyMap<string, Descriptor>;
  },
): ArchivedImage {
  const names = members.map((member) => nameOf(member).name).filter((name) => name !== undefined);
  const label = members.map((member) => nameOf(member).label).find((text) => text !== "") ?? "";
  return {
    names: [...new Set(names)],
    label,
    load: async (platform) => {
      const digests = new Set(members.map(({ digest }) => digest));
      const [first] = members;
      const chosen = digests.size === 1 && first !== undefined ? first : choosePlatform(members, platform);
      const loaded = await load(tree, { chosen, platform, blobName: inLayout });
      const read = (descriptor: Descriptor): Promise<Uint8Array<ArrayBuffer>> =>
        checked(tree, { descriptor, blobName: inLayout, what: "signature" });
      return { ...loaded, signatures: () => attachedSignatures(loaded.manifest.digest, { entries: attached, read }) };
    },
  };
}

interface Loading {
  readonly chosen: Descriptor;
  readonly platform: Platform;
  readonly blobName: BlobName;
}

async function load(tree: FileTree, { chosen, platform, blobName }: Loading): Promise<LoadedImage> {
  const top = await manifestOf(tree, chosen, blobName);
  return await loadManifest(tree, { top, platform, blobName });
}

/** From a manifest or index that was read to what a node installs. */
export async function loadManifest(
  tree: FileTree,
  options: {
    readonly top: FetchedManifest;
    readonly platform: Platform;
    readonly blobName: BlobName;
    /** Where members of an index are. Default: where blobs are. */
    readonly manifestName?: BlobName;
  },
): Promise<LoadedImage> {
  const { top, platform, blobName, manifestName = blobName } = options;
  const parsed = parseManifest(top.bytes, top.contentType);
  if (parsed.kind !== "index") return { manifest: top, ...await parts(tree, parsed, blobName) };
  const member = choosePlatform(parsed.manifests, platform);
  const manifest = await manifestOf(tree, member, manifestName);
  const inner = parseManifest(manifest.bytes, manifest.contentType);
  if (inner.kind === "index") {
    throw new UnimplementedError(`the index ${top.digest} names another index, ${member.digest}`);
  }
  return { manifest, index: top, ...await parts(tree, inner, blobName) };
}

async function parts(
  tree: FileTree,
  manifest: Exclude<Manifest, { readonly kind: "index" }>,
  blobName: BlobName,
): Promise<Pick<LoadedImage, "kind" | "config" | "layers" | "layer">> {
  if (manifest.kind !== "image") {
    throw new UnimplementedError(
      `it is no container image but an artifact of ${JSON.stringify(manifest.artifactType)}`,
    );
  }
  const config = await checked(tree, { descriptor: manifest.config, blobName, what: "configuration" });
  const layer = async (descriptor: Descriptor): Promise<ByteReader> => {
    const file = await tree.file(blobName(descriptor));
    if (file === undefined) throw new DataLossError(`layer ${descriptor.digest} is missing`);
    if (file.sizeBytes !== descriptor.sizeBytes) {
      throw new DataLossError(
        `layer ${descriptor.digest} has ${file.sizeBytes} bytes where the manifest says ${descriptor.sizeBytes}`,
      );
    }
    return new VerifiedReader(file.read(), descriptor);
  };
  return { kind: "image", config, layers: manifest.layers, layer };
}

async function manifestOf(tree: FileTree, descriptor: Descriptor, blobName: BlobName): Promise<FetchedManifest> {
  const bytes = await checked(tree, { descriptor, blobName, what: "manifest" });
  return { bytes, digest: descriptor.digest, contentType: descriptor.mediaType };
}

async function checked(
  tree: FileTree,
  wanted: { readonly descriptor: Descriptor; readonly blobName: BlobName; readonly what: string },
): Promise<Uint8Array<ArrayBuffer>> {
  const { descriptor: { digest, sizeBytes }, blobName, what } = wanted;
  if (sizeBytes > MAX_DOCUMENT_BYTES) {
    throw new InvalidArgumentError(`the ${what} ${digest} is ${sizeBytes} bytes long, more than ${MAX_DOCUMENT_BYTES}`);
  }
  const bytes = await readDocument(tree, blobName(wanted.descriptor));
  if (bytes.length !== sizeBytes || !matchesDigest(bytes, digest)) {
    throw new DataLossError(
      `the ${what} ${digest} has the digest ${digestOf(bytes, "sha256")} and ${bytes.length} bytes`,
    );
  }
  return bytes;
}
