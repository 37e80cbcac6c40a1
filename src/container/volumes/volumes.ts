import { FailedPreconditionError, InvalidArgumentError, UnimplementedError } from "../../base/errors.ts";
import type { IdMaps } from "../../base/id_maps.ts";
import type { Logger } from "../../base/logger.ts";
import { isBelow, type MountEntry, mountOf, readMounts } from "../../linux/mountinfo.ts";
import type { HandlerFeatures } from "../../oci/runtime/handler_features.ts";
import { bindOptions, cleanPath } from "../../oci/spec/mounts.ts";
import type { OciMount } from "../../oci/spec/types.ts";
import { resolveHostPath } from "./host_path.ts";
import type { OpenedImageVolume } from "./image_volumes.ts";
import type { MountRules } from "./mount_rules.ts";
import type { MountRequest, ReportedMount } from "../types.ts";

/** What volumes are resolved with. */
export interface VolumeContext {
  readonly rules: MountRules;
  readonly handler: Pick<HandlerFeatures, "recursiveReadOnly">;
  readonly log: Logger;
  /** Mounts an image for the volume with this number. */
  readonly openImage: (image: ImageRequest, index: number) => Promise<OpenedImageVolume>;
  /** Mounts the source of the volume with this number as a user namespace with its maps sees it. */
  readonly mapIds: (volume: { source: string; maps: IdMaps; containerPath: string }, index: number) => Promise<string>;
}

type ImageRequest = Exclude<MountRequest["image"], undefined>;

/** Volumes as the runtime mounts them, and as ContainerStatus reports them. */
export interface Volumes {
  readonly mounts: readonly OciMount[];
  readonly reported: readonly ReportedMount[];
  /** Propagation that the container's root needs for them. */
  readonly rootPropagation: "rslave" | "rshared" | undefined;
}

type Propagation = MountRequest["propagation"];

interface Volume {
  /** The first is the volume, the others lie in it. */
  readonly mounts: readonly OciMount[];
  readonly reported: ReportedMount;
  readonly propagation: Propagation;
}

/**
 * Looks the volumes of a request up on this node. Missing sources become directories, as the kubelet's users rely on.
 *
 * @throws InvalidArgumentError, FailedPreconditionError for a volume that cannot be mounted as asked
 */
export async function resolveVolumes(requests: readonly MountRequest[], context: VolumeContext): Promise<Volumes> {
  const table = mountTable(requests);
  const volumes = await Promise.all(requests.map(async (request, index) => {
    const { image } = request;
    if (image === undefined) return await resolveVolume(request, { ...context, table, index });
    return imageVolume(request, await context.openImage(image, index));
  }));
  const has = (kind: Propagation): boolean => volumes.some(({ propagation }) => propagation === kind);
  return {
    mounts: volumes.flatMap(({ mounts }) => mounts),
    reported: volumes.map(({ reported }) => reported),
    rootPropagation: has("bidirectional") ? "rshared" : has("hostToContainer") ? "rslave" : undefined,
  };
}

/** The node's mounts; read only where a volume's propagation depends on them. */
function mountTable(requests: readonly MountRequest[]): Promise<readonly MountEntry[]> {
  return requests.some(({ propagation }) => propagation !== "private") ? readMounts() : Promise.resolve([]);
}

async function resolveVolume(
  request: MountRequest,
  context: VolumeContext & { readonly table: Promise<readonly MountEntry[]>; readonly index: number },
): Promise<Volume> {
  const { handler, table } = context;
  const { containerPath, recursiveReadOnly } = request;
  if (recursiveReadOnly && !handler.recursiveReadOnly) {
    throw new UnimplementedError(
      `volume ${containerPath}: recursive read-only needs Linux 5.12 and an OCI runtime with the mount option rro`,
    );
  }
  const source = await sourceOf(request, context);
  const propagation = await propagationOf(request, { ...context, source });
  checkPropagation(await table, { source, containerPath, propagation: request.propagation });
  const destination = cleanPath(containerPath);
  const options = bindOptions({ ...request, propagation });
  return {
    mounts: [{ destination, type: "bind", source: await mappedSource(request, { ...context, source }), options }],
    reported: { ...request, hostPath: source },
    propagation,
  };
}

/** The source itself where the volume has no maps. */
async function mappedSource(
  { uidMaps, gidMaps, containerPath }: MountRequest,
  { source, mapIds, index }: VolumeContext & { readonly source: string; readonly index: number },
): Promise<string> {
  if (uidMaps.length === 0 && gidMaps.length === 0) return source;
  if (uidMaps.length === 0 || gidMaps.length === 0) {
    throw new InvalidArgumentError(`volume ${containerPath}: it maps only one of user and group ids`);
  }
  return await mapIds({ source, maps: { uidMaps, gidMaps }, containerPath }, index);
}

function imageVolume(request: MountRequest, { source, imageId, files = [] }: OpenedImageVolume): Volume {
  const options = bindOptions({ ...request, readonly: true, propagation: "private", recursiveReadOnly: false });
  const destination = cleanPath(request.containerPath);
  return {
    mounts: [
      { destination, type: "bind", source, options },
      ...files.map(({ name, path }) => ({
        destination: `${destination}/${name}`,
        type: "bind",
        source: path,
        options,
      })),
    ],
    reported: { ...request, imageId },
    propagation: "private",
  };
}

async function sourceOf({ hostPath, containerPath }: MountRequest, { rules, log }: VolumeContext): Promise<string> {
  for (const path of [containerPath, hostPath]) {
    if (path.startsWith("/")) continue;
    throw new InvalidArgumentError(`volume ${JSON.stringify(containerPath)}: ${JSON.stringify(path)} is not absolute`);
  }
  const { bindMountPrefix, absentSourcesToReject } = rules;
  if (cleanPath(hostPath) === "/" && cleanPath(containerPath) === "/") {
    log.warn("a container mounts the node's root over its own root: this is dangerous and should be avoided");
  }
  const found = await resolveHostPath(hostPath, bindMountPrefix);
  if (found !== undefined) return found;
  const wanted = `${bindMountPrefix}${cleanPath(hostPath)}`;
  if (absentSourcesToReject.some((path) => cleanPath(path) === wanted)) {
    throw new FailedPreconditionError(
      `volume ${containerPath}: ${wanted} does not exist, and a directory in its place would harm the node ` +
        "(absent_mount_sources_to_reject)",
    );
  }
  await Deno.mkdir(wanted, { recursive: true, mode: 0o755 });
  const made = await resolveHostPath(hostPath, bindMountPrefix);
  if (made !== undefined) return made;
  throw new FailedPreconditionError(`volume ${containerPath}: ${wanted} was made and is gone again`);
}

/**
 * A private copy of the mounts of the store would keep each container's root file system busy for as long as this
 * container lives: it follows the node's unmounts then.
 */
async function propagationOf(
  { propagation, containerPath }: MountRequest,
  { rules, log, source }: VolumeContext & { readonly source: string },
): Promise<Propagation> {
  if (propagation !== "private") return propagation;
  const storageRoot = await resolveHostPath(rules.storageRoot, "") ?? rules.storageRoot;
  if (!isBelow(storageRoot, source)) return propagation;
  log.info("a volume contains the storage root: its mounts follow those of the node", { containerPath, source });
  return "hostToContainer";
}

function checkPropagation(
  table: readonly MountEntry[],
  { source, containerPath, propagation }: { source: string; containerPath: string; propagation: Propagation },
): void {
  if (propagation === "private") return;
  const mount = mountOf(table, source);
  if (mount === undefined || mount.shared !== undefined) return;
  if (propagation === "hostToContainer" && mount.master !== undefined) return;
  const [name, needed] = propagation === "bidirectional"
    ? ["Bidirectional", "shared"]
    : ["HostToContainer", "shared or slave"];
  throw new FailedPreconditionError(
    `volume ${containerPath}: ${name} propagation needs ${source} on a ${needed} mount, but ${mount.mountPoint} is ` +
      `not: run "mount --make-rshared ${mount.mountPoint}" in the mount namespace of this daemon`,
  );
}
