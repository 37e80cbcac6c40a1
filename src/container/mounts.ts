import { cleanPath, defaultMounts, mergeMounts, uncovered } from "../oci/spec/mounts.ts";
import { rootOwner } from "../base/id_maps.ts";
import type { OciMount } from "../oci/spec/types.ts";
import { writesCgroups } from "./annotation_effects.ts";
import { userNamespaceMounts } from "./user_namespace.ts";
import type { BundleInput } from "./bundle_spec.ts";
import { copyDefaultMounts } from "./volumes/default_mounts.ts";
import { runsSystemd, systemdMounts } from "./volumes/systemd_mounts.ts";
import type { ReportedMount } from "./types.ts";
import { resolveVolumes } from "./volumes/volumes.ts";
import { resolves } from "../linux/exists.ts";

/** Some nodes do not mount it: then the container mounts the queues of the node's IPC namespace itself. */
const QUEUES = "/dev/mqueue";

export interface ContainerMounts {
  readonly mounts: readonly OciMount[];
  readonly reported: readonly ReportedMount[];
  /** Propagation of the root, where a volume's needs it. */
  readonly rootPropagation: "rslave" | "rshared" | undefined;
}

/**
 * All mounts of a container: the defaults, what the image and the node add, the pod's files, and the requested volumes
 * over them.
 *
 * @param args the command line: systemd gets mounts of its own
 * @throws InvalidArgumentError, FailedPreconditionError for a volume that cannot be mounted as asked
 */
export async function containerMounts(input: BundleInput, args: readonly string[]): Promise<ContainerMounts> {
  const { pod, spec, node, handler, record, log, openImage, mapIds } = input;
  const { rules } = node;
  const owner = rootOwner(pod.userMaps);
  const { privileged, readonlyRootfs } = spec.security;
  const [volumes, declared, shared] = await Promise.all([
    resolveVolumes(spec.mounts, { rules, handler, log, openImage, mapIds }),
    declaredVolumes(input),
    copyDefaultMounts(rules.defaultMountsFiles, { directory: `${record.runDirectory}/default-mounts`, log, owner }),
  ]);
  const defaults = defaultMounts({
    privileged,
    readonlySysfs: handler.readonlySysfs,
    shmPath: pod.shmPath,
    hostIpc: pod.namespaces.ipc === undefined && await resolves(QUEUES),
    writableCgroups: node.cgroupNamespaces && writesCgroups(input.annotations),
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
    mounts: mergeMounts(
      uncovered(
        userNamespaceMounts(defaults, { pod, nodePid: spec.security.namespaces.pid.kind === "node" }),
        volumes.mounts,
      ),
      rules.readOnly ? READ_ONLY_ROOT_MOUNTS : [],
      runsSystemd(args) ? systemdMounts({ cgroupV2: node.cgroupNamespaces }) : [],
      declared,
      shared,
      files,
      volumes.mounts,
    ),
    reported: volumes.reported,
    rootPropagation: volumes.rootPropagation,
  };
}

/** What stays writable where the node's root file systems are read-only. */
const READ_ONLY_ROOT_MOUNTS: readonly OciMount[] = [["/run", "0755"], ["/tmp", "1777"], ["/var/tmp", "1777"]].map((
  [destination = "", mode],
) => ({
  destination,
  type: "tmpfs",
  source: "tmpfs",
  options: ["rw", "noexec", "nosuid", "nodev", "tmpcopyup", `mode=${mode}`],
}));

/** With `image_volumes = "bind"`: an empty directory of the container's own for each volume that the image declares. */
async function declaredVolumes({ image, node, record, pod }: BundleInput): Promise<OciMount[]> {
  if (node.rules.imageVolumes !== "bind") return [];
  const paths = [...new Set(image.defaults.volumes.map(cleanPath))];
  return await Promise.all(paths.map(async (destination, index) => {
    const source = `${record.runDirectory}/mounts/${index}`;
    await Deno.mkdir(source, { recursive: true, mode: 0o755 });
    const { uid, gid } = rootOwner(pod.userMaps);
    await Deno.chown(source, uid, gid);
    return { destination, type: "bind", source, options: ["bind", "private", "rw"] };
  }));
}
