/** What the formats of archives have in common. */
import type { FetchedManifest } from "../distribution/repository.ts";
import type { ByteReader } from "../distribution/transport.ts";
import type { Descriptor, Platform } from "../manifest/documents.ts";
import type { Signature } from "../policy/signature.ts";
import { canonical, parseReference, withDefaultTag } from "../reference.ts";

/** Transports of containers-transports(5) that are files. */
export const ARCHIVE_TRANSPORTS = ["oci", "oci-archive", "docker-archive", "dir"] as const;
export type ArchiveTransport = typeof ARCHIVE_TRANSPORTS[number];

/** A file or directory with images. */
export interface ArchivePlace {
  /** Absolute. */
  readonly path: string;
  /** Absent: found out by what is there. */
  readonly transport?: ArchiveTransport;
}

/** One image in an archive. */
export interface ArchivedImage {
  /** Full names, normalised; may be empty. */
  readonly names: readonly string[];
  /** What the archive itself calls it, a full name or only a tag; may be empty. */
  readonly label: string;
  /** What is installed on a node of this platform. @throws DataLossError and others for an unusable image */
  load(platform: Platform): Promise<LoadedImage>;
}

/** Manifest and configuration, and where the layers are. */
export interface LoadedImage {
  readonly kind: "image";
  readonly manifest: FetchedManifest;
  readonly index?: FetchedManifest;
  readonly config: Uint8Array<ArrayBuffer>;
  readonly layers: readonly Descriptor[];
  /** Signatures that lie beside it, unchecked. Absent: the form has none. */
  signatures?(): Promise<readonly Signature[]>;
  /** The bytes of a layer of this image. */
  layer(layer: Descriptor): Promise<ByteReader>;
}

const MAX_RATIO = 200;
const ALWAYS_ALLOWED_BYTES = 1024 ** 3;

/** What so many stored bytes may unpack to: 200 times as much, and always 1 GiB. Images take two to five times. */
export function maxUnpackedBytes(sizeBytes: number, alwaysAllowedBytes: number = ALWAYS_ALLOWED_BYTES): number {
  return Math.max(alwaysAllowedBytes, sizeBytes * MAX_RATIO);
}

/** An image has to be one of so many. */
export const MAX_IMAGES = 1000;

/**
 * The full name that a text of an archive is: one that has at least a repository and a tag, or a host. `latest` alone is
 * none: it would be read as a repository of that name. Nor is a digest: an archive cannot vouch for that.
 */
export function fullName(text: string): string | undefined {
  if (!/[/:]/.test(text) || text.includes("@")) return undefined;
  try {
    return canonical(withDefaultTag(parseReference(text)));
  } catch {
    return undefined;
  }
}
