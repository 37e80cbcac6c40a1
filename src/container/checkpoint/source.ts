import { atStage, FailedPreconditionError, InvalidArgumentError, NotFoundError } from "../../base/errors.ts";
import type { OperationContext } from "../../base/joint_operations.ts";
import { unpackLayer } from "../../image/unpack/unpack_layer.ts";
import { runCommand } from "../../linux/command.ts";
import { removeIfThere } from "../../linux/remove.ts";
import { removeInRoot } from "../../linux/rooted.ts";
import type { ContainerDeps } from "../deps.ts";
import type { ContainerImage } from "../ports.ts";
import type { ContainerSpec } from "../types.ts";
import {
  CHECKPOINT_ANNOTATION,
  type CheckpointDocuments,
  CONFIG_DUMP,
  IMAGES,
  readDocuments,
  ROOTFS_DIFF,
  TOP_NAMES,
} from "./files.ts";

const CHUNK_BYTES = 1024 * 1024;
/** Entries of a checkpoint beside its root file system: CRIU writes a few for each process. */
const MAX_ENTRIES = 100_000;

/** A checkpoint that was taken out of its archive or image, checked, and waits for its container. */
export interface ImportedCheckpoint extends AsyncDisposable {
  /** Holds {@link IMAGES} and the documents; regular files and directories only. */
  readonly directory: string;
  readonly documents: CheckpointDocuments;
  /** The image below the container. */
  readonly image: ContainerImage;
  /** The archive or image that it came from. */
  readonly from: string;
}

/** What a container is made from: an image, and the state that it goes on from where it is a checkpoint. */
export interface ContainerSource {
  readonly image: ContainerImage;
  readonly checkpoint?: ImportedCheckpoint;
}

/**
 * Looks up what a create request names as its image: an image, the path of a checkpoint archive on this node, or an
 * image that holds a checkpoint.
 *
 * @throws NotFoundError when the image is not on this node; FailedPreconditionError where restoring is not offered, or
 *   when the image below a checkpoint is not here; InvalidArgumentError for a checkpoint that cannot be restored so
 */
export async function sourceOf(
  deps: ContainerDeps,
  { spec, namespace }: { readonly spec: ContainerSpec; readonly namespace: string },
  context: OperationContext,
): Promise<ContainerSource> {
  const from = spec.image.image;
  const isArchive = from.startsWith("/") && await isFile(from);
  const asked = { signal: context.signal, specified: spec.image.userSpecifiedImage, namespace };
  const image = isArchive ? undefined : await deps.images.resolve(from, asked);
  if (image !== undefined && image.annotations[CHECKPOINT_ANNOTATION] === undefined) return { image };
  const checkpoint = await importCheckpoint(deps, { spec, image, namespace }, context);
  return { image: checkpoint.image, checkpoint };
}

async function importCheckpoint(
  deps: ContainerDeps,
  { spec, image, namespace }: {
    readonly spec: ContainerSpec;
    readonly image: ContainerImage | undefined;
    readonly namespace: string;
  },
  context: OperationContext,
): Promise<ImportedCheckpoint> {
  const from = spec.image.image;
  const refusal = deps.checkpoints.refusal("restore");
  if (refusal !== undefined) throw new FailedPreconditionError(`restore ${from}: ${refusal}`);
  context.stage("unpacking the checkpoint");
  const directory = `${deps.checkpoints.stagingDirectory}/${crypto.randomUUID()}`;
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  await using undo = new AsyncDisposableStack();
  undo.defer(() => removeIfThere(directory));
  try {
    if (image === undefined) await unpackArchive(from, { directory, signal: context.signal });
    else await copyFromImage(deps, image.id, { directory, context });
    await keepPlainFiles(directory);
    const documents = readDocuments(directory);
    refuseMissingMounts(documents, spec);
    const below = await imageBelow(deps, { ...documents, namespace }, context);
    undo.move();
    return { directory, documents, image: below, from, [Symbol.asyncDispose]: () => removeIfThere(directory) };
  } catch (error) {
    throw atStage(`restore ${from}`, error);
  }
}

/** Brings a fresh root file system, mounted, to the state that it had at the checkpoint. */
export async function applyRootfs(
  { directory, documents }: Pick<ImportedCheckpoint, "directory" | "documents">,
  options: { readonly rootfs: string; readonly signal: AbortSignal },
): Promise<void> {
  const { rootfs, signal } = options;
  const archive = `${directory}/${ROOTFS_DIFF}`;
  if (await isFile(archive)) await unpackLayer(chunksOf(archive), { directory: rootfs, signal });
  for (const path of documents.deletedFiles) removeInRoot(rootfs, path);
}

async function unpackArchive(
  path: string,
  options: { readonly directory: string; readonly signal: AbortSignal },
): Promise<void> {
  await unpackLayer(chunksOf(path), { ...options, limits: { maxEntries: MAX_ENTRIES } });
}

/** An image holds the files of an archive at its root. */
async function copyFromImage(
  deps: ContainerDeps,
  imageId: string,
  { directory, context }: { readonly directory: string; readonly context: OperationContext },
): Promise<void> {
  await deps.rootfs.withImage(imageId, async (root) => {
    const present: string[] = [];
    for await (const { name } of Deno.readDir(root)) {
      if ((TOP_NAMES as readonly string[]).includes(name)) present.push(name);
    }
    if (!present.includes(CONFIG_DUMP)) throw new InvalidArgumentError(`image holds no ${CONFIG_DUMP} at its root`);
    // Links are copied as links, and refused afterwards.
    const sources = present.map((name) => `${root}/${name}`);
    await runCommand(
      ["/usr/bin/env", "cp", "--archive", "--no-dereference", "--target-directory", directory, "--", ...sources],
      context,
    );
  });
}

/** CRIU opens by name what is in there: a link would lead it to a file of the node. */
async function keepPlainFiles(directory: string): Promise<void> {
  for await (const { name, isDirectory, isFile } of Deno.readDir(directory)) {
    const path = `${directory}/${name}`;
    if (!(TOP_NAMES as readonly string[]).includes(name)) await Deno.remove(path, { recursive: true });
    else if (name === IMAGES && isDirectory) await keepPlainFilesOnly(path);
    else if (name === IMAGES || !isFile) {
      throw new InvalidArgumentError(`checkpoint: ${name} is not a plain ${name === IMAGES ? "directory" : "file"}`);
    }
  }
}

async function keepPlainFilesOnly(directory: string): Promise<void> {
  for await (const { name, isDirectory, isFile } of Deno.readDir(directory)) {
    if (isDirectory) await keepPlainFilesOnly(`${directory}/${name}`);
    else if (!isFile) throw new InvalidArgumentError(`checkpoint: ${IMAGES}/${name} is neither a file nor a directory`);
  }
}

/** A process that had a volume open cannot go on without it. */
function refuseMissingMounts({ bindDestinations }: CheckpointDocuments, spec: ContainerSpec): void {
  const given = new Set(spec.mounts.map(({ containerPath }) => containerPath));
  const missing = bindDestinations.filter((destination) => !given.has(destination));
  if (missing.length === 0) return;
  throw new InvalidArgumentError(
    `the container had mounts that the request does not have: ${missing.join(", ")}; add a mount for each`,
  );
}

async function imageBelow(
  deps: ContainerDeps,
  { imageNames, namespace }: { readonly imageNames: readonly string[]; readonly namespace: string },
  { signal }: OperationContext,
): Promise<ContainerImage> {
  for (const name of imageNames) {
    try {
      return await deps.images.resolve(name, { signal, namespace });
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
  }
  throw new FailedPreconditionError(
    `the image that the container was made from (${
      imageNames.join(", ") || "not named"
    }) is not on this node: pull it first`,
  );
}

async function* chunksOf(path: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  using file = await Deno.open(path);
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (let got = await file.read(buffer); got !== null; got = await file.read(buffer)) yield buffer.subarray(0, got);
}

async function isFile(path: string): Promise<boolean> {
  return await Deno.lstat(path).then((info) => info.isFile, () => false);
}
