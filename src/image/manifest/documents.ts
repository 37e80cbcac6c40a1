/**
 * Image manifests and indexes: OCI image specification 1.1 and Docker image manifest version 2, schema 2. Everything
 * comes from outside and is checked here once.
 *
 * @module
 */
import { DataLossError, InvalidArgumentError, messageOf, UnimplementedError } from "../../base/errors.ts";
import { type Digest, parseDigest } from "../../base/ids.ts";

/** A reference to content by digest. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Where else the content is: of non-distributable layers, which need not be in the registry. */
  readonly urls: readonly string[];
  readonly platform?: Platform;
  /** Absent: it has none. */
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  /** Empty when not given. */
  readonly variant: string;
}

export type Manifest =
  | { readonly kind: "image"; readonly config: Descriptor; readonly layers: readonly Descriptor[] }
  | ArtifactManifest
  | { readonly kind: "index"; readonly manifests: readonly Descriptor[] };

/** Something that is certainly no container image: its files are the layers. */
export interface ArtifactManifest {
  readonly kind: "artifact";
  /** `artifactType`, else the media type of the configuration. */
  readonly artifactType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** Media types of the OCI image specification. */
export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json";
const SCHEMA_1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+/;
/** The empty one is what old tools leave out. */
const CONFIG_TYPES = new Set([
  "application/vnd.oci.image.config.v1+json",
  "application/vnd.docker.container.image.v1+json",
  "",
]);
/** Docker before 1.11 did not name it. */
const DOCKER_CONFIG_TYPES = new Set([...CONFIG_TYPES, "application/octet-stream"]);
const LAYER_TYPES = [
  /^application\/vnd\.oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+(?:gzip|zstd))?$/,
  /^application\/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.gzip|\.zstd|\+zstd)?$/,
  // Says nothing: the content tells how it is compressed, and the diff ID whether it is the layer.
  /^(?:application\/(?:octet-stream|x-tar|gzip|x-gzip|zstd))?$/,
];
const ENCRYPTED = "+encrypted";
/** The most lower layers that overlay mounts (OVL_MAX_STACK). */
const MAX_LAYERS = 500;
const MAX_MANIFESTS = 10_000;
/** Files of an artifact: models come in hundreds of pieces. */
const MAX_ARTIFACT_FILES = 2000;
const MAX_SHOWN_CHARS = 120;

/**
 * Parses a manifest or index.
 *
 * The document's own `mediaType` decides, then the Content-Type, then its shape, as containers/image does. A document
 * that could be read as both kinds is refused (CVE-2021-41190).
 *
 * @param contentType of the answer, without parameters; may be empty or useless, as some registries send it
 * @throws DataLossError for what is no manifest; UnimplementedError for schema 1, and for types that are not known
 */
export function parseManifest(bytes: Uint8Array, contentType: string): Manifest {
  const document = jsonObject(bytes, "manifest");
  const type = mediaTypeOf(document, contentType);
  if (SCHEMA_1.test(type) || document["schemaVersion"] === 1) {
    throw new UnimplementedError(
      "the manifest has Docker's schema 1, which is not supported: push the image again with a current tool",
    );
  }
  if (document["schemaVersion"] !== 2) throw new DataLossError("manifest: schemaVersion is not 2");
  if ("manifests" in document && ("layers" in document || "config" in document)) {
    throw new DataLossError("manifest: it has layers and manifests, so it is not clear what it is");
  }
  if (type === OCI_INDEX || type === DOCKER_INDEX) return index(document);
  if (type === OCI_MANIFEST || type === DOCKER_MANIFEST) return imageOrArtifact(document, type);
  throw new UnimplementedError(`manifest: media type ${shown(type)} is not supported`);
}

/** Parses JSON that has to be an object. @throws DataLossError */
export function jsonObject(bytes: Uint8Array, what: string): Readonly<Record<string, unknown>> {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new DataLossError(`${what} is not valid JSON: ${messageOf(error).slice(0, 120)}`, { cause: error });
  }
  if (!isObject(document)) throw new DataLossError(`${what} is not a JSON object`);
  return document;
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether a layer has to be decrypted. */
export function isEncrypted(layer: Descriptor): boolean {
  return layer.mediaType.endsWith(ENCRYPTED);
}

/** A Content-Type that contradicts the document's shape is wrong: registries answer with what was pushed, or with anything. */
function mediaTypeOf(document: Readonly<Record<string, unknown>>, contentType: string): string {
  const own = document["mediaType"];
  if (typeof own === "string" && own !== "") return own;
  if (SCHEMA_1.test(contentType)) return contentType;
  if ("manifests" in document) return contentType === DOCKER_INDEX ? DOCKER_INDEX : OCI_INDEX;
  if (contentType === OCI_MANIFEST || contentType === DOCKER_MANIFEST) return contentType;
  const config = document["config"];
  const isDocker = isObject(config) && config["mediaType"] === "application/vnd.docker.container.image.v1+json";
  return isDocker ? DOCKER_MANIFEST : OCI_MANIFEST;
}

function index(document: Readonly<Record<string, unknown>>): Manifest {
  const manifests = document["manifests"];
  if (!Array.isArray(manifests)) throw new DataLossError("manifest: manifests is not a list");
  if (manifests.length > MAX_MANIFESTS) {
    throw new DataLossError(`manifest: it has more than ${MAX_MANIFESTS} manifests`);
  }
  return { kind: "index", manifests: manifests.map((entry, i) => parseDescriptor(entry, `manifests[${i}]`)) };
}

/**
 * An OCI manifest is an artifact's when its configuration is none of an image, or when it says that it is an artifact and
 * has layers that no image has. Everything else is an image, or an error.
 */
function imageOrArtifact(document: Readonly<Record<string, unknown>>, type: string): Manifest {
  const list = document["layers"];
  if (!Array.isArray(list)) throw new DataLossError("manifest: layers is not a list");
  const config = parseDescriptor(document["config"], "config");
  const layers = list.map((entry, i) => parseDescriptor(entry, `layers[${i}]`));
  const own = document["artifactType"];
  const artifactType = typeof own === "string" ? own : "";
  const isImage = (type === OCI_MANIFEST ? CONFIG_TYPES : DOCKER_CONFIG_TYPES).has(config.mediaType);
  const odd = layers.find(({ mediaType }) => !isLayerType(mediaType));
  if (type === OCI_MANIFEST && (!isImage || (artifactType !== "" && odd !== undefined))) {
    return artifact({ artifactType: artifactType || config.mediaType, config, layers });
  }
  if (!isImage) {
    throw new UnimplementedError(
      `the manifest is not one of a container image but of ${shown(artifactType || config.mediaType)}`,
    );
  }
  if (odd !== undefined) {
    throw new UnimplementedError(`layer ${odd.digest} has the media type ${shown(odd.mediaType)}`);
  }
  if (layers.length > MAX_LAYERS) throw new DataLossError(`manifest: it has more than ${MAX_LAYERS} layers`);
  return { kind: "image", config, layers };
}

function artifact(found: Omit<ArtifactManifest, "kind">): ArtifactManifest {
  if (found.layers.length > MAX_ARTIFACT_FILES) {
    throw new DataLossError(`manifest: the artifact has more than ${MAX_ARTIFACT_FILES} files`);
  }
  return { kind: "artifact", ...found };
}

function isLayerType(mediaType: string): boolean {
  const plain = mediaType.endsWith(ENCRYPTED) ? mediaType.slice(0, -ENCRYPTED.length) : mediaType;
  return LAYER_TYPES.some((pattern) => pattern.test(plain));
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, MAX_SHOWN_CHARS));
}

/** Reads a descriptor; `where` it stands is for messages. @throws DataLossError */
export function parseDescriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw new DataLossError(`manifest: ${where} is not a descriptor`);
  const { mediaType = "", size, digest, urls, platform, annotations } = value;
  if (typeof mediaType !== "string") throw new DataLossError(`manifest: ${where} has a media type that is no text`);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw new DataLossError(`manifest: ${where} has no valid size`);
  }
  return {
    mediaType,
    sizeBytes: size,
    digest: digestOf(digest, where),
    urls: Array.isArray(urls) ? urls.filter((url) => typeof url === "string") : [],
    ...(isObject(platform) ? { platform: platformOf(platform) } : {}),
    ...(isObject(annotations) ? { annotations: textsOf(annotations) } : {}),
  };
}

/** The members that are texts. */
export function textsOf(value: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> {
  const texts = Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return Object.fromEntries(texts);
}

function digestOf(value: unknown, where: string): Digest {
  try {
    return parseDigest(typeof value === "string" ? value : "");
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new DataLossError(`manifest: ${where}: ${error.message}`, { cause: error });
  }
}

function platformOf(value: Readonly<Record<string, unknown>>): Platform {
  const read = (field: string): string => {
    const text = value[field];
    return typeof text === "string" ? text : "";
  };
  return { os: read("os"), architecture: read("architecture"), variant: read("variant") };
}
