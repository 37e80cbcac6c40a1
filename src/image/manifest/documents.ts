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
  /** Where else the content is; only non-distributable layers use it, which are refused. */
  readonly urls: readonly string[];
  readonly platform?: Platform;
}

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  /** Empty when not given. */
  readonly variant: string;
}

export type Manifest =
  | { readonly kind: "image"; readonly config: Descriptor; readonly layers: readonly Descriptor[] }
  | { readonly kind: "index"; readonly manifests: readonly Descriptor[] };

const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json";
const SCHEMA_1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+/;
const CONFIG_TYPES = new Set([
  "application/vnd.oci.image.config.v1+json",
  "application/vnd.docker.container.image.v1+json",
]);
const LAYER_TYPES = new Set([
  "application/vnd.oci.image.layer.v1.tar",
  "application/vnd.oci.image.layer.v1.tar+gzip",
  "application/vnd.oci.image.layer.v1.tar+zstd",
  "application/vnd.docker.image.rootfs.diff.tar",
  "application/vnd.docker.image.rootfs.diff.tar.gzip",
  "application/vnd.docker.image.rootfs.diff.tar.zstd",
]);
/** The most lower layers that overlay mounts (OVL_MAX_STACK). */
const MAX_LAYERS = 500;
const MAX_MANIFESTS = 10_000;

/**
 * Parses a manifest or index.
 *
 * The document's own `mediaType` decides, then the Content-Type, then its shape, as containers/image does. A document
 * that could be read as both kinds is refused (CVE-2021-41190).
 *
 * @param contentType of the answer, without parameters; may be empty or useless, as some registries send it
 * @throws DataLossError for what is no manifest; UnimplementedError for schema 1, artifacts and unknown layer types
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
  if (type === OCI_MANIFEST || type === DOCKER_MANIFEST) return image(document);
  throw new UnimplementedError(`manifest: media type ${JSON.stringify(type.slice(0, 120))} is not supported`);
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

function mediaTypeOf(document: Readonly<Record<string, unknown>>, contentType: string): string {
  const own = document["mediaType"];
  if (typeof own === "string" && own !== "") return own;
  if (/^application\/vnd\.(?:oci|docker)\./.test(contentType)) return contentType;
  if ("manifests" in document) return OCI_INDEX;
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
  return { kind: "index", manifests: manifests.map((entry, i) => descriptor(entry, `manifests[${i}]`)) };
}

function image(document: Readonly<Record<string, unknown>>): Manifest {
  const layers = document["layers"];
  if (!Array.isArray(layers)) throw new DataLossError("manifest: layers is not a list");
  if (layers.length > MAX_LAYERS) throw new DataLossError(`manifest: it has more than ${MAX_LAYERS} layers`);
  const config = descriptor(document["config"], "config");
  if (!CONFIG_TYPES.has(config.mediaType)) {
    const kind = document["artifactType"] ?? config.mediaType;
    throw new UnimplementedError(
      `the manifest is not one of a container image but of ${JSON.stringify(String(kind).slice(0, 120))}`,
    );
  }
  const parsed = layers.map((entry, i) => descriptor(entry, `layers[${i}]`));
  parsed.forEach(checkLayer);
  return { kind: "image", config, layers: parsed };
}

function checkLayer(layer: Descriptor): void {
  const { mediaType, digest } = layer;
  if (/nondistributable|foreign/.test(mediaType) || layer.urls.length > 0) {
    throw new UnimplementedError(`layer ${digest} has to be fetched from foreign URLs, which is not supported`);
  }
  if (mediaType.includes("+encrypted")) {
    throw new UnimplementedError(`layer ${digest} is encrypted, and this node has no keys to decrypt it`);
  }
  if (LAYER_TYPES.has(mediaType)) return;
  throw new UnimplementedError(`layer ${digest} has the media type ${JSON.stringify(mediaType.slice(0, 120))}`);
}

function descriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw new DataLossError(`manifest: ${where} is not a descriptor`);
  const { mediaType, size, digest, urls, platform } = value;
  if (typeof mediaType !== "string") throw new DataLossError(`manifest: ${where} has no media type`);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw new DataLossError(`manifest: ${where} has no valid size`);
  }
  return {
    mediaType,
    sizeBytes: size,
    digest: digestOf(digest, where),
    urls: Array.isArray(urls) ? urls.filter((url) => typeof url === "string") : [],
    ...(isObject(platform) ? { platform: platformOf(platform) } : {}),
  };
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
