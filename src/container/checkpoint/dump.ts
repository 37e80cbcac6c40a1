import { atStage, FailedPreconditionError, InvalidArgumentError, messageOf } from "../../base/errors.ts";
import type { OperationContext } from "../../base/joint_operations.ts";
import { runCommand } from "../../linux/command.ts";
import { removeIfThere } from "../../linux/remove.ts";
import type { ContainerDeps } from "../deps.ts";
import type { ContainerRecord } from "../types.ts";
import { rootfsChanges } from "./changes.ts";
import {
  BIND_MOUNTS,
  type BindMount,
  CONFIG_DUMP,
  type ConfigDump,
  CONTAINER_LOG,
  DELETED_FILES,
  IMAGES,
  OWN_MOUNTS,
  ROOTFS_DIFF,
  SPEC_DUMP,
  TOP_NAMES,
} from "./files.ts";

const RESUME_LIMIT_MS = 30_000;
const PERMISSION_BITS = 0o777;

interface SpecDump {
  readonly mounts?: ReadonlyArray<{ readonly type?: string; readonly source: string; readonly destination: string }>;
}

/**
 * Writes a running container with the memory of its processes into an archive; the container goes on running. It is
 * frozen meanwhile, so that memory and files fit each other. The archive appears at `location` when it is whole,
 * readable for root alone: it holds every secret that the processes had in memory.
 *
 * @throws FailedPreconditionError unless it runs; RuntimeError when the runtime or CRIU cannot; InvalidArgumentError
 */
export async function checkpointContainer(
  deps: ContainerDeps,
  record: ContainerRecord,
  request: { readonly location: string; readonly context: OperationContext },
): Promise<void> {
  const { location, context } = request;
  if (record.state !== "running") {
    throw new FailedPreconditionError(`checkpoint: container ${record.id} is ${record.state}, not running`);
  }
  const parent = location.slice(0, location.lastIndexOf("/")) || "/";
  if (!await isDirectory(parent)) {
    throw new InvalidArgumentError(`checkpoint: ${parent} is not a directory; make it first`);
  }
  const work = workDirectory(record);
  await removeIfThere(work);
  await Deno.mkdir(`${work}/${IMAGES}`, { recursive: true, mode: 0o700 });
  await using undo = new AsyncDisposableStack();
  undo.defer(() => removeIfThere(work));
  // Written before the container is frozen: a daemon that ends now lets it go on at its next start.
  await deps.records.update(record.id, (now) => ({ ...now, isCheckpointing: true }));
  undo.defer(() => letGoOn(deps, record));
  const runtime = deps.runtimes.find(record.runtimeHandler);
  try {
    context.stage("freezing the container");
    await runtime.pause(record.id, context);
    context.stage("CRIU dumps the processes");
    await runtime.checkpoint(record.id, { imagePath: `${work}/${IMAGES}`, workPath: work }, context);
    context.stage("packing the root file system");
    const spec = await writeDocuments(deps, record, work);
    await packRootfs(deps, record, { work, spec, signal: context.signal });
    context.stage("writing the archive");
    const names = await presentNames(work);
    const partial = `${location}.${crypto.randomUUID().slice(0, 8)}.partial`;
    undo.defer(() => removeIfThere(partial));
    await Deno.writeFile(partial, new Uint8Array(), { mode: 0o600, createNew: true });
    await runCommand(
      [
        "/usr/bin/env",
        "tar",
        "--create",
        `--file=${partial}`,
        "--numeric-owner",
        `--directory=${work}`,
        "--",
        ...names,
      ],
      context,
    );
    await Deno.rename(partial, location);
    const checkpointedAtNanos = String(deps.clock.nowNanos());
    await deps.records.update(record.id, (now) => ({ ...now, checkpointedAtNanos }));
  } catch (error) {
    throw atStage(`checkpoint container ${record.id}`, error);
  }
}

/** Lets a container go on that a checkpoint has frozen; also one that a former process left so. */
export async function letGoOn(deps: ContainerDeps, record: ContainerRecord): Promise<void> {
  const runtime = deps.runtimes.find(record.runtimeHandler);
  try {
    await runtime.resume(record.id, { signal: AbortSignal.timeout(RESUME_LIMIT_MS) });
  } catch (error) {
    // The runtime may have let it go on by itself, or it has ended.
    deps.log.debug(`resume after a checkpoint: ${messageOf(error)}`, { container: record.id });
  }
  await deps.records.update(record.id, ({ isCheckpointing: _, ...now }) => now);
  await removeIfThere(workDirectory(record));
}

function workDirectory(record: ContainerRecord): string {
  return `${record.directory}/checkpointing`;
}

/** @returns the runtime configuration that the container has */
async function writeDocuments(deps: ContainerDeps, record: ContainerRecord, work: string): Promise<SpecDump> {
  const specText = await Deno.readTextFile(`${record.runDirectory}/config.json`);
  const spec = JSON.parse(specText) as SpecDump;
  const config: ConfigDump = {
    id: record.id,
    name: record.spec.metadata.name,
    rootfsImage: record.spec.image.userSpecifiedImage === ""
      ? record.spec.image.image
      : record.spec.image.userSpecifiedImage,
    rootfsImageRef: record.imageId,
    rootfsImageName: record.imageName,
    runtime: record.runtimeHandler,
    createdTime: timeOf(record.createdAtNanos),
    checkpointedTime: timeOf(String(deps.clock.nowNanos())),
    restored: record.restoredFrom !== undefined,
  };
  const write = (name: string, value: string): Promise<void> =>
    Deno.writeTextFile(`${work}/${name}`, value, { mode: 0o600 });
  await write(SPEC_DUMP, specText);
  await write(CONFIG_DUMP, JSON.stringify(config, undefined, 2));
  await write(BIND_MOUNTS, JSON.stringify(await bindMounts(spec), undefined, 2));
  if (record.logFile !== "") {
    await Deno.copyFile(record.logFile, `${work}/${CONTAINER_LOG}`).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
  return spec;
}

async function bindMounts({ mounts = [] }: SpecDump): Promise<BindMount[]> {
  const own = mounts.filter(({ type, destination }) => type === "bind" && !OWN_MOUNTS.includes(destination));
  return await Promise.all(own.map(async ({ source, destination }) => {
    const info = await Deno.stat(source);
    const permissions = (info.mode ?? 0) & PERMISSION_BITS;
    return { source, destination, file_type: info.isDirectory ? "directory" as const : "file" as const, permissions };
  }));
}

/** The writable layer as an archive, and the list of what is gone. */
async function packRootfs(
  deps: ContainerDeps,
  record: ContainerRecord,
  { work, spec, signal }: { readonly work: string; readonly spec: SpecDump; readonly signal: AbortSignal },
): Promise<void> {
  const layers = await deps.rootfs.layers(record.id);
  const mountPoints = (spec.mounts ?? []).map(({ destination }) => destination);
  const { kept, deleted } = await rootfsChanges(layers, { mountPoints, signal });
  await Deno.writeTextFile(`${work}/${DELETED_FILES}`, JSON.stringify(deleted), { mode: 0o600 });
  // NUL between the names: a container may call a file whatever it likes. (tar reads lists of exceptions by lines only.)
  const list = `${work}/names`;
  await Deno.writeTextFile(list, kept.map((path) => `./${path}\0`).join(""), { mode: 0o600 });
  await runCommand([
    ...["/usr/bin/env", "tar", "--create", `--file=${work}/${ROOTFS_DIFF}`, `--directory=${layers.upper}`],
    ...["--numeric-owner", "--sparse", "--xattrs", "--xattrs-include=*", "--xattrs-exclude=trusted.overlay.*"],
    ...["--no-recursion", "--null", "--verbatim-files-from", `--files-from=${list}`],
  ], { signal });
}

async function presentNames(work: string): Promise<string[]> {
  const present = new Set<string>();
  for await (const { name } of Deno.readDir(work)) present.add(name);
  return TOP_NAMES.filter((name) => present.has(name));
}

function timeOf(nanos: string): string {
  return new Date(Number(BigInt(nanos) / 1_000_000n)).toISOString();
}

async function isDirectory(path: string): Promise<boolean> {
  return await Deno.stat(path).then((info) => info.isDirectory, () => false);
}
