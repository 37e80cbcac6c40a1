import type { IdMaps } from "../base/id_maps.ts";
import type { Digest, HostPath, ImageId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";

/** Where a store is and how it mounts. */
export interface StoreOptions {
  /** Persistent root, `/var/lib/containers/storage` by default elsewhere. Absolute; no `:`, `,`, `\` or line break. */
  readonly graphRoot: string;
  /** Volatile root, on tmpfs as a rule. Absolute. */
  readonly runRoot: string;
  /** A separate directory for the images that are committed from now on; those below `graphRoot` stay usable. */
  readonly imageStore?: string;
  /** Roots of stores whose images and layers are used and never written, in the order in which they are asked. */
  readonly additionalStores?: readonly string[];
  /** False: containers outlast a power cut; see {@link ContainerCreation.volatile}. Default true. */
  readonly volatile?: boolean;
  /** Options added to each overlay mount, such as `nodev` or `metacopy=on`; from `mountopt` of storage.conf. */
  readonly mountOptions?: readonly string[];
  /** False: the kernel cannot show mapped ids below an overlay, so owners are changed instead. Default true. */
  readonly mapsIds?: boolean;
  readonly logger: Logger;
}

/** An image as the store's index knows it; the configuration and manifests are read on demand. */
export interface StoredImage {
  readonly id: ImageId;
  /** `repository:tag` and `repository@digest` names, in the order in which they were given. */
  readonly names: readonly string[];
  /** Names that it has or had, latest first; what an untagged image was called. */
  readonly namesHistory: readonly string[];
  /** Digest of the platform's manifest; undefined for what was built here without one. */
  readonly digest: Digest | undefined;
  /** Digests of all manifests stored with it: the platform's, and that of the index it was pulled by. */
  readonly digests: readonly Digest[];
  /** Every name's repository with every digest: `docker.io/library/x@sha256:…`. */
  readonly repoDigests: readonly string[];
  /** RFC 3339 time, from the image's configuration. */
  readonly created: string;
  /** Unpacked layers plus configuration and manifests, in bytes. */
  readonly sizeBytes: number;
  /** Undefined for an image without layers. */
  readonly topLayer: string | undefined;
  /** Root of the read-only store that has it; absent: it can be removed. */
  readonly readOnlyStore?: string;
}

/** How a layer was compressed where it came from. */
export type LayerCompression = "none" | "gzip" | "bzip2" | "xz" | "zstd";

/** A layer that is in the store already. */
export interface PresentLayer {
  readonly id: string;
  readonly diffId: Digest;
  /** Digest of the compressed blob it came from, when known. */
  readonly digest: Digest | undefined;
  readonly compressedSizeBytes: number | undefined;
  readonly uncompressedSizeBytes: number | undefined;
}

/** One layer of an image that is to be committed, base first. */
export interface LayerCommit {
  /** Digest of the uncompressed tar. */
  readonly diffId: Digest;
  /** Digest of the blob as the registry served it. */
  readonly digest: Digest;
  readonly compressedSizeBytes: number;
  readonly uncompressedSizeBytes: number;
  readonly compression: LayerCompression;
  /**
   * `staged`: unpacked in the stage as number `index`; `existing`: one of those that `presentLayers` reported (a commit
   * fails with FailedPreconditionError when it has gone meanwhile).
   */
  readonly source:
    | {
      readonly kind: "staged";
      readonly index: number;
      /**
       * Whether the tar had an entry for the root directory itself (`./`): its mode, owner and times then stay as they
       * were unpacked. Otherwise mode and owner come from the parent layer's root, or 0555 root:root.
       */
      readonly hasRootEntry: boolean;
      /** User and group ids that own something in the layer, when the unpacker knows them. */
      readonly uids?: readonly number[];
      readonly gids?: readonly number[];
      /** Files, directories and links in the layer, when known: for the inode count of the image file system. */
      readonly inodes?: number;
    }
    | { readonly kind: "existing" };
}

/** A manifest with the digest that it was verified against. */
export interface ManifestBytes {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
}

/** What makes an image out of a stage. */
export interface ImageCommit {
  /** Undefined when every layer exists already. Not disposed by the commit, whatever its outcome. */
  readonly stage?: LayerStage;
  /** Names to give it; they are taken from whatever image has them. May be empty. */
  readonly names: readonly string[];
  /** The image's configuration; its SHA-256 is the image id. */
  readonly config: Uint8Array;
  readonly manifest: ManifestBytes;
  /** Signatures of the manifest, in the form of containers/image. Default none. */
  readonly signatures?: readonly Uint8Array[];
  /** The index that the manifest was chosen from, when there was one. */
  readonly index?: ManifestBytes;
  /** Base first; the diff IDs must be those of the configuration, in order (checked). */
  readonly layers: readonly LayerCommit[];
}

/**
 * Room for one pull: directories on the store's own file system that no reader of the store sees. The stage is locked
 * for as long as it lives in this process; after a crash the next open finds the lock free and sweeps it. Disposing
 * deletes what was not committed. Only paths cross to the pull process: it needs no store of its own.
 */
export interface LayerStage extends AsyncDisposable {
  /** The stage's own directory. */
  readonly directory: HostPath;
  /** Makes an empty directory to unpack layer `index` (0 to 999) into: mode 0555, root:root. Idempotent. */
  layerDirectory(index: number): Promise<HostPath>;
  /** Where to write `<layer>.tar-split.gz` of layer `index`; the file need not exist at commit. */
  tarSplitPath(index: number): HostPath;
}

/** A container as the store's index knows it. */
export interface StoredContainer {
  readonly id: string;
  readonly names: readonly string[];
  readonly imageId: string | undefined;
  /** Id of its writable layer. */
  readonly layerId: string;
  /** Opaque text of whoever made it: JSON, for podman and for us. */
  readonly metadata: string;
  /** RFC 3339. */
  readonly created: string;
  readonly mountLabel: string;
  /** Of its user namespace. */
  readonly idMaps?: IdMaps;
}

/** What a new container is. */
export interface ContainerCreation {
  /** 64 hex digits. */
  readonly id: string;
  /** Unique among containers; the first also names the layer (`<name>-layer`). */
  readonly names: readonly string[];
  /** Undefined: an empty root file system. */
  readonly imageId?: string;
  readonly metadata: string;
  /**
   * True (the default): its record need not survive a power cut, so nothing is synced, and the overlay is mounted
   * `volatile`. It lives in the `volatile-*.json` files, which containers/storage before 1.44 does not read.
   */
  readonly volatile?: boolean;
  /** SELinux labels, kept in the record; the mount label is used for the mount. */
  readonly mountLabel?: string;
  readonly processLabel?: string;
  /** Ids of its user namespace: what the image's files belong to is shown, and new files are stored, by them. */
  readonly idMaps?: IdMaps;
}

/** How to mount something whose ids are mapped. */
export interface MappedMount {
  /** Path of a user namespace with these maps; absent: one is made for the time of the mount. */
  readonly userNamespace?: string;
}

/** Space that a tree takes. */
export interface Usage {
  readonly bytes: number;
  readonly inodes: number;
  /** When it was measured, nanoseconds since the epoch. */
  readonly atNanos: bigint;
}

/** The file system of images and what the store's images take of it. */
export interface FilesystemUsage {
  /** Directory that names it for the kubelet. */
  readonly path: HostPath;
  readonly usedBytes: number;
  readonly inodesUsed: number;
  /** The file system of containers, where it is another one. */
  readonly containers?: Omit<FilesystemUsage, "containers">;
}

/** What `open` found and put right. */
export interface SweepReport {
  readonly stages: number;
  readonly orphanDirectories: number;
  readonly layers: number;
  readonly links: number;
}
