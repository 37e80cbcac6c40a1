import { createHash } from "node:crypto";
import { gzipSync, zstdCompressSync } from "node:zlib";

/** How a layer blob is packed. */
export type Compression = "gzip" | "zstd" | "none";
/** The manifest dialect: OCI image spec 1.1 or Docker's schema 2. */
export type Dialect = "oci" | "docker";

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/** A descriptor as manifests hold it. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface ImageSpec {
  /** Layer tars, lowest first. */
  readonly layers: readonly Uint8Array[];
  /** Default gzip. One value for all layers, or one each. */
  readonly compression?: Compression | readonly Compression[];
  /** The `config` part of the image config: Cmd, Env, User … */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Merged over the whole image config document, e.g. wrong `rootfs`. */
  readonly configDocument?: Readonly<Record<string, unknown>>;
  /** Merged over the manifest document. */
  readonly manifestDocument?: Readonly<Record<string, unknown>>;
  readonly dialect?: Dialect;
  /** Default linux/amd64. */
  readonly platform?: Platform;
}

/** An image as bytes: what a registry stores. */
export interface BuiltImage {
  readonly manifest: Uint8Array;
  readonly mediaType: string;
  readonly digest: string;
  readonly config: Descriptor;
  readonly layers: readonly (Descriptor & { readonly diffId: string })[];
  /** digest -> bytes, config and layers. */
  readonly blobs: ReadonlyMap<string, Uint8Array>;
  readonly platform: Platform;
}

const MEDIA_TYPES = {
  oci: {
    manifest: "application/vnd.oci.image.manifest.v1+json",
    index: "application/vnd.oci.image.index.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar",
    suffix: { gzip: "+gzip", zstd: "+zstd", none: "" },
  },
  docker: {
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    index: "application/vnd.docker.distribution.manifest.list.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar",
    suffix: { gzip: ".gzip", zstd: ".zstd", none: "" },
  },
} as const;

/** `sha256:` and 64 hex digits. */
export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** The media type of an index in a dialect. */
export function indexMediaType(dialect: Dialect): string {
  return MEDIA_TYPES[dialect].index;
}

/** Packs layers, writes config and manifest. The same spec gives the same digests. */
export function buildImage(spec: ImageSpec): BuiltImage {
  const { dialect = "oci", platform = { os: "linux", architecture: "amd64" } } = spec;
  const types = MEDIA_TYPES[dialect];
  const blobs = new Map<string, Uint8Array>();
  const layers = spec.layers.map((tar, i) => {
    const compression = compressionOf(spec, i);
    const blob = pack(tar, compression);
    const digest = sha256(blob);
    blobs.set(digest, blob);
    const mediaType = types.layer + types.suffix[compression];
    return { mediaType, digest, size: blob.length, diffId: sha256(tar) };
  });
  const configBytes = encode({
    created: "2026-01-02T03:04:05Z",
    ...platform,
    config: spec.config ?? {},
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.diffId) },
    history: layers.map((_, i) => ({ created_by: `layer ${i}` })),
    ...spec.configDocument,
  });
  const config = { mediaType: types.config, digest: sha256(configBytes), size: configBytes.length };
  blobs.set(config.digest, configBytes);
  const manifest = encode({
    schemaVersion: 2,
    mediaType: types.manifest,
    config,
    layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
    ...spec.manifestDocument,
  });
  return { manifest, mediaType: types.manifest, digest: sha256(manifest), config, layers, blobs, platform };
}

/** An index document over images. */
export function buildIndex(images: readonly BuiltImage[], options: { dialect?: Dialect } = {}): Uint8Array {
  return encode({
    schemaVersion: 2,
    mediaType: indexMediaType(options.dialect ?? "oci"),
    manifests: images.map((image) => ({
      mediaType: image.mediaType,
      digest: image.digest,
      size: image.manifest.length,
      platform: image.platform,
    })),
  });
}

function compressionOf(spec: ImageSpec, index: number): Compression {
  const { compression = "gzip" } = spec;
  return typeof compression === "string" ? compression : compression[index] ?? "gzip";
}

function pack(tar: Uint8Array, compression: Compression): Uint8Array {
  if (compression === "none") return tar;
  return compression === "gzip" ? gzipSync(tar) : zstdCompressSync(tar);
}

function encode(document: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(document));
}
