import { InvalidArgumentError, UnimplementedError } from "../base/errors.ts";
import { bindOptions, cleanPath, defaultMounts, mergeMounts } from "../oci/spec/mounts.ts";
import type { OciMount } from "../oci/spec/types.ts";
import type { PodContext } from "./ports.ts";
import type { ContainerSpec, MountRequest, ReportedMount } from "./types.ts";

/** Some nodes do not mount it: then the container mounts the queues of the node's IPC namespace itself. */
const QUEUES = "/dev/mqueue";

export interface ContainerMounts {
  readonly mounts: readonly OciMount[];
  readonly reported: readonly ReportedMount[];
  /** Propagation of the root, where a volume's needs it. */
  readonly rootPropagation: "rslave" | "rshared" | undefined;
}

/**
 * All mounts of a container: the defaults, the pod's files, and the requested volumes over them.
 *
 * @throws InvalidArgumentError for a volume that cannot be mounted as asked
 */
export async function containerMounts(
  { pod, spec }: { pod: PodContext; spec: ContainerSpec },
): Promise<ContainerMounts> {
  const { privileged, readonlyRootfs } = spec.security;
  const volumes = await Promise.all(spec.mounts.map(volume));
  const defaults = defaultMounts({
    privileged,
    shmPath: pod.shmPath,
    hostIpc: pod.namespaces.ipc === undefined && await exists(QUEUES),
  });
  const access = readonlyRootfs ? "ro" : "rw";
  const podFile = (destination: string, source: string): OciMount => ({
    destination,
    type: "bind",
    source,
    options: ["bind", "nodev", "nosuid", "noexec", access],
  });
  const files = [
    podFile("/etc/resolv.conf", pod.resolvConf),
    podFile("/etc/hostname", pod.hostnameFile),
    podFile("/etc/hosts", pod.hostsFile),
  ];
  return {
    mounts: mergeMounts(defaults, files, volumes.map(({ mount }) => mount)),
    reported: volumes.map(({ reported }) => reported),
    rootPropagation: rootPropagation(spec.mounts),
  };
}

function rootPropagation(mounts: readonly MountRequest[]): "rslave" | "rshared" | undefined {
  if (mounts.some((mount) => mount.propagation === "bidirectional")) return "rshared";
  return mounts.some((mount) => mount.propagation === "hostToContainer") ? "rslave" : undefined;
}

async function volume(request: MountRequest): Promise<{ mount: OciMount; reported: ReportedMount }> {
  if (request.image !== undefined) throw new UnimplementedError("image volumes are not supported yet");
  if (request.uidMaps.length > 0 || request.gidMaps.length > 0) {
    throw new UnimplementedError(`volume ${request.containerPath}: id-mapped volumes are not supported yet`);
  }
  if (request.recursiveReadOnly) {
    throw new UnimplementedError(`volume ${request.containerPath}: recursive read-only is not supported yet`);
  }
  if (!request.containerPath.startsWith("/")) {
    throw new InvalidArgumentError(
      `volume ${JSON.stringify(request.containerPath)}: the container path is not absolute`,
    );
  }
  const source = await resolveSource(request);
  const mount: OciMount = {
    destination: cleanPath(request.containerPath),
    type: "bind",
    source,
    options: bindOptions(request),
  };
  return { mount, reported: { ...request, hostPath: source } };
}

/** The source without symbolic links; a missing one becomes a directory, as the kubelet's users rely on. */
async function resolveSource({ hostPath, containerPath }: MountRequest): Promise<string> {
  if (!hostPath.startsWith("/")) {
    throw new InvalidArgumentError(`volume ${containerPath}: host path ${JSON.stringify(hostPath)} is not absolute`);
  }
  try {
    return await Deno.realPath(hostPath);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      throw new InvalidArgumentError(`volume ${containerPath}: host path ${hostPath} cannot be looked at`, {
        cause: error,
      });
    }
  }
  await Deno.mkdir(hostPath, { recursive: true, mode: 0o755 });
  return await Deno.realPath(hostPath);
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
