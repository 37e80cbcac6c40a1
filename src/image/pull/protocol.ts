/**
 * What the daemon and the pull process say to each other: one JSON document a line, over a socket pair. The daemon
 * trusts no answer that it can check.
 *
 * @module
 */
import type { ErrorKind } from "../../base/errors.ts";
import type { ArchivePlace, ArchiveTransport } from "../archive/archived_image.ts";
import type { Credentials } from "../auth/credentials.ts";
import type { ProxySettings } from "../distribution/proxy.ts";
import type { KeptCapability } from "../../linux/privileges.ts";
import type { LayerKey } from "../encryption/layer_keys.ts";
import type { Platform } from "../manifest/documents.ts";
import type { TrustDemand } from "../policy/requirement.ts";
import type { LayerProgress } from "../progress/pull_status.ts";
import type { Compression } from "./decompress.ts";

/** A place to ask. */
export interface PullEndpoint {
  readonly host: string;
  readonly path: string;
  readonly insecure: boolean;
  readonly mirror: boolean;
  readonly credentials?: Credentials;
  /** Why there are none, if something went wrong while they were looked for. */
  readonly credentialProblem?: string;
}

/** Where signatures are looked for, and what they have to show. */
export interface TrustJob {
  /** A registries.d directory in place of the usual ones. */
  readonly lookasideDirectory?: string;
  /** Where the user's registries.d may be. */
  readonly configHome: string;
  /** Undefined: the image needs no signature. Those that it has are fetched all the same, for a stricter policy later. */
  readonly demand?: TrustDemand;
}

/** An image of the store whose signatures are checked again; one of its manifests has to pass. All in Base64. */
export interface VerifyJob {
  readonly demand: TrustDemand;
  readonly manifests: readonly { readonly manifest: string; readonly signatures: readonly string[] }[];
}

/** One image to pull. */
export interface PullJob {
  /** For messages: what the user wrote, normalised. */
  readonly name: string;
  /** A tag or a digest. */
  readonly reference: string;
  /** Asked in order. */
  readonly endpoints: readonly PullEndpoint[];
  readonly platform: Platform;
  readonly proxy: ProxySettings;
  readonly certificateDirectories?: readonly string[];
  readonly authoritiesFile?: string;
  readonly stallTimeoutMs?: number;
  readonly retryBaseMs?: number;
  /** How often progress is told, milliseconds. Default 500. */
  readonly progressMs?: number;
  /** How long an endpoint that another one follows may keep silent at first, or be too slow. Default 20,000. */
  readonly patienceMs?: number;
  readonly trust: TrustJob;
  /** Where it is, in place of endpoints: the number of an archive that is open, and of the image in it. */
  readonly archive?: { readonly opened: number; readonly image: number };
}

/** An archive to open. */
export interface OpenRequest {
  readonly place: ArchivePlace;
  /** Where a compressed archive is unpacked to, in a file without a name. */
  readonly scratchDirectory: string;
}

/** What is in an archive that is open. */
export interface ArchiveContents {
  readonly transport: ArchiveTransport;
  readonly images: readonly { readonly names: readonly string[]; readonly label: string }[];
}

/** Where a layer goes. */
export interface LayerTarget {
  /** Place in the manifest, base is 0. */
  readonly index: number;
  /** Existing and empty. */
  readonly directory: string;
  readonly tarSplitPath: string;
  /** Of an encrypted layer. */
  readonly key?: LayerKey;
}

/** Where a file of an artifact goes. */
export interface BlobTarget {
  readonly index: number;
  /** Not there yet, in a directory that is. */
  readonly blobPath: string;
}

/** What was found in the registry, in base64. */
export interface ResolvedMessage {
  readonly manifest: string;
  readonly manifestContentType: string;
  readonly index?: string;
  readonly indexContentType?: string;
  readonly config: string;
  /** Signatures of the manifest, as they are kept beside it. */
  readonly signatures: readonly string[];
  /** Why there may be more; the image needs none. */
  readonly signatureFailure?: string;
  /** `https://host`, for the log. */
  readonly endpoint: string;
}

/** A place is asked now, or could not give what it was asked for. */
export interface EndpointMessage {
  /** `host/path:tag` or `host/path@digest`. */
  readonly endpoint: string;
  readonly mirror: boolean;
  readonly failure?: string;
}

/** A layer that was unpacked. */
export interface LayerResult {
  readonly index: number;
  readonly diffId: string;
  readonly compression: Compression;
  readonly uncompressedSizeBytes: number;
  readonly hasRootEntry: boolean;
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  readonly inodes: number;
}

/** A failure as it crosses the socket. */
export interface FailureMessage {
  readonly kind: ErrorKind;
  readonly message: string;
  readonly status?: number;
  readonly codes?: readonly string[];
}

export type ToProcess =
  | { readonly type: "open"; readonly id: number; readonly archive: OpenRequest }
  | { readonly type: "close"; readonly id: number }
  | { readonly type: "pull"; readonly id: number; readonly job: PullJob }
  | { readonly type: "verify"; readonly id: number; readonly job: VerifyJob }
  | { readonly type: "plan"; readonly id: number; readonly layers: readonly (LayerTarget | BlobTarget)[] }
  | { readonly type: "cancel"; readonly id: number };

export type FromProcess =
  | { readonly type: "opened"; readonly id: number; readonly contents: ArchiveContents }
  | { readonly type: "endpoint"; readonly id: number; readonly endpoint: EndpointMessage }
  | { readonly type: "resolved"; readonly id: number; readonly resolved: ResolvedMessage }
  | { readonly type: "progress"; readonly id: number; readonly progress: LayerProgress }
  | { readonly type: "done"; readonly id: number; readonly layers: readonly LayerResult[] }
  | { readonly type: "failed"; readonly id: number; readonly failure: FailureMessage };

/** The descriptor of the pull process that leads to the daemon. */
export const CHANNEL_FD = 3;
/** Longest line: three documents of 4 MiB in base64, and room. */
export const MAX_LINE_BYTES = 24 * 1024 * 1024;

/** What unpacking needs: owners, modes of others' files, device nodes, file capabilities, `trusted.overlay.*`. */
export const NEEDED_CAPABILITIES: readonly KeptCapability[] = [
  "chown",
  "dac_override",
  "fowner",
  "fsetid",
  "sys_admin",
  "mknod",
  "setfcap",
];
