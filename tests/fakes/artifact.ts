import { sha256 } from "./registry/content.ts";
import type { FakeRegistry } from "./registry.ts";

/** A file of an artifact; `title` absent: it has no name. */
export interface ArtifactFile {
  readonly title?: string;
  readonly body: string | Uint8Array;
  readonly mediaType?: string;
  /** In place of the title. */
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface ArtifactSpec {
  readonly name: string;
  /** Default `1`; null: no tag. */
  readonly tag?: string | null;
  readonly files: readonly ArtifactFile[];
  /** Default `application/vnd.test.artifact`. */
  readonly artifactType?: string;
  /** Media type of the configuration. Default: the empty one. */
  readonly configType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface StoredArtifact {
  /** `host/name:tag` */
  readonly reference: string;
  /** `host/name@sha256:…` */
  readonly digestReference: string;
  readonly digest: string;
  readonly id: string;
  readonly manifest: Uint8Array;
  readonly blobs: readonly string[];
}

const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";

/** Stores an artifact as `oras push` makes it. */
export function addArtifact(registry: FakeRegistry, spec: ArtifactSpec): StoredArtifact {
  const { name, tag = "1", files, artifactType = "application/vnd.test.artifact", annotations } = spec;
  const { configType = "application/vnd.oci.empty.v1+json" } = spec;
  const config = new TextEncoder().encode("{}");
  registry.addBlob(config);
  const layers = files.map(({ title, body, mediaType = "application/octet-stream", annotations }) => {
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    const named = title === undefined ? {} : { "org.opencontainers.image.title": title };
    return {
      mediaType,
      digest: registry.addBlob(bytes),
      size: bytes.length,
      annotations: { ...named, ...annotations },
    };
  });
  const manifest = new TextEncoder().encode(JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    artifactType,
    config: { mediaType: configType, digest: sha256(config), size: config.length },
    layers,
    ...(annotations === undefined ? {} : { annotations }),
  }));
  const digest = registry.addManifest({
    name,
    bytes: manifest,
    mediaType: OCI_MANIFEST,
    ...(tag === null ? {} : { tag }),
  });
  return {
    reference: `${registry.host}/${name}:${tag}`,
    digestReference: `${registry.host}/${name}@${digest}`,
    digest,
    id: digest.slice("sha256:".length),
    manifest,
    blobs: layers.map((layer) => layer.digest),
  };
}
