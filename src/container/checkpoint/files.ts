/**
 * Names and documents of a checkpoint archive, as checkpointctl, podman and CRI-O know them.
 *
 * @module
 */
import { InvalidArgumentError, messageOf } from "../../base/errors.ts";
import { readFileInRoot } from "../../linux/rooted.ts";

/** What CRIU wrote: the memory of the processes. A directory. */
export const IMAGES = "checkpoint";
export const CONFIG_DUMP = "config.dump";
export const SPEC_DUMP = "spec.dump";
export const BIND_MOUNTS = "bind.mounts";
export const ROOTFS_DIFF = "rootfs-diff.tar";
export const DELETED_FILES = "deleted.files";
export const DUMP_LOG = "dump.log";
export const STATS_DUMP = "stats-dump";
/** The container's log until the checkpoint. */
export const CONTAINER_LOG = "io.kubernetes.cri-o.LogPath";

/** All that may be at the top of an archive; what else is there is not taken over. */
export const TOP_NAMES = [
  IMAGES,
  CONFIG_DUMP,
  SPEC_DUMP,
  BIND_MOUNTS,
  ROOTFS_DIFF,
  DELETED_FILES,
  DUMP_LOG,
  STATS_DUMP,
  CONTAINER_LOG,
] as const;

/** On the manifest of an image that holds a checkpoint: the container's name. */
export const CHECKPOINT_ANNOTATION = "io.kubernetes.cri-o.annotations.checkpoint.name";

/** Where each container has mounts of its own: their content is not the container's. */
export const OWN_MOUNTS: readonly string[] = [
  "/dev",
  "/dev/shm",
  "/proc",
  "/run",
  "/run/.containerenv",
  "/run/secrets",
  "/sys",
];

/** Files that a pod brings for each of its containers: a restored one gets those of its new pod. */
export const POD_FILES: readonly string[] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

const DOCUMENT_BYTES = 16 * 1024 * 1024;

/** `config.dump`. Times are RFC 3339. */
export interface ConfigDump {
  readonly id: string;
  readonly name: string;
  /** The image as the request named it. */
  readonly rootfsImage: string;
  /** Id of the image. */
  readonly rootfsImageRef: string;
  /** A name of the image. */
  readonly rootfsImageName: string;
  /** Runtime handler. */
  readonly runtime: string;
  readonly createdTime: string;
  readonly checkpointedTime: string;
  readonly restored: boolean;
}

/** One entry of `bind.mounts`: restoring needs a mount of the same kind there. */
export interface BindMount {
  readonly source: string;
  readonly destination: string;
  readonly file_type: "directory" | "file";
  readonly permissions: number;
}

/** What a checkpoint says of itself; texts from outside, checked as far as they are used. */
export interface CheckpointDocuments {
  /** Names of the image below the container, the best one first. */
  readonly imageNames: readonly string[];
  readonly containerName: string;
  readonly checkpointedTime: string;
  /** Destinations of mounts that a restored container must have as well. */
  readonly bindDestinations: readonly string[];
  readonly deletedFiles: readonly string[];
  /** Destination and kind of the mounts that the container had. */
  readonly annotations: Readonly<Record<string, string>>;
}

/**
 * Reads the documents of an unpacked checkpoint.
 *
 * @throws InvalidArgumentError that names the document and what is wrong with it
 */
export function readDocuments(directory: string): CheckpointDocuments {
  const config = object(document(directory, CONFIG_DUMP, { isRequired: true }), CONFIG_DUMP);
  const spec = readSpecDump(directory);
  const mounts = list(spec["mounts"]).map((entry) => object(entry, `${SPEC_DUMP}: mounts`));
  const ignored = new Set([...OWN_MOUNTS, ...POD_FILES]);
  const bindDestinations = mounts
    .filter(({ type, destination }) => type === "bind" && !ignored.has(String(destination)))
    .map(({ destination }) => text(destination));
  const deleted = document(directory, DELETED_FILES, { isRequired: false });
  return {
    imageNames: ["rootfsImageRef", "rootfsImageName", "rootfsImage"].map((key) => text(config[key])).filter(Boolean),
    containerName: text(config["name"]),
    checkpointedTime: text(config["checkpointedTime"]),
    bindDestinations: bindDestinations.filter(Boolean),
    deletedFiles: list(deleted).map(text).filter(Boolean),
    annotations: texts(spec["annotations"]),
  };
}

/**
 * The runtime configuration of the container that was written down, in an unpacked checkpoint.
 *
 * @throws InvalidArgumentError when it is not there, or damaged
 */
export function readSpecDump(directory: string): Readonly<Record<string, unknown>> {
  return object(document(directory, SPEC_DUMP, { isRequired: true }), SPEC_DUMP);
}

function document(directory: string, name: string, options: { readonly isRequired: boolean }): unknown {
  const bytes = readFileInRoot(directory, name, { maxBytes: DOCUMENT_BYTES });
  if (bytes === undefined) {
    if (!options.isRequired) return undefined;
    throw new InvalidArgumentError(`checkpoint has no ${name}: it is not a checkpoint of a container`);
  }
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new InvalidArgumentError(`checkpoint: ${name} is damaged: ${messageOf(error)}`, { cause: error });
  }
}

function object(value: unknown, name: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new InvalidArgumentError(`checkpoint: ${name} is no JSON object`);
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function texts(value: unknown): Record<string, string> {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}
