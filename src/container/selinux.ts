import { type Annotations, annotationValue } from "../config/annotations.ts";
import type { OciSpec } from "../oci/spec/types.ts";
import { keepsVolumeLabels, type PodLabels, type SelinuxLabels } from "../security/selinux/labels.ts";
import { relabelVolume } from "../security/selinux/relabel.ts";
import type { PodContext } from "./ports.ts";
import { runsSystemd } from "./volumes/systemd_mounts.ts";
import type { ContainerSpec, ReportedMount } from "./types.ts";

/** The labels of a container; undefined where the node, or its pod, has none. */
export function containerLabels(
  selinux: Pick<SelinuxLabels, "forContainer"> | undefined,
  { pod, spec, args }: { readonly pod: PodContext; readonly spec: ContainerSpec; readonly args: readonly string[] },
): PodLabels | undefined {
  if (selinux === undefined || pod.selinux === undefined) return undefined;
  const { namespaces, privileged, selinux: options } = spec.security;
  return selinux.forContainer(pod.selinux.labels, {
    options,
    privileged,
    shares: { network: pod.hostNetwork, pid: namespaces.pid.kind === "node", ipc: namespaces.ipc === "node" },
    isInit: runsSystemd(args),
  });
}

/**
 * The specification with the container's labels. Volumes that ask for it, and the files that this daemon mounts from the
 * container's own directory, get the mount label.
 *
 * @throws InvalidArgumentError for a volume that may not be relabelled; ErrnoError
 */
export async function withSelinux(
  oci: OciSpec,
  { labels, pod, spec, volumes, annotations, directory }: {
    readonly labels: PodLabels | undefined;
    readonly pod: PodContext;
    readonly spec: ContainerSpec;
    readonly volumes: readonly ReportedMount[];
    readonly annotations: Annotations;
    readonly directory: string;
  },
): Promise<OciSpec> {
  if (labels === undefined) return oci;
  const { processLabel, mountLabel } = labels;
  if (mountLabel !== "") {
    const own = oci.mounts.map(({ source }) => source).filter((source) => {
      return source.startsWith(`${directory}/`) && !source.startsWith(`${directory}/image-volumes/`);
    });
    for (const path of own) await relabelVolume(path, mountLabel, { onlyIfTopDiffers: false });
    const onlyIfTopDiffers = annotationValue(annotations, "trySkipVolumeSelinuxLabel") === "true";
    const keeps = keepsVolumeLabels({ container: spec.security.selinux, pod: pod.selinux?.options });
    for (
      const { hostPath } of keeps
        ? []
        : volumes.filter(({ selinuxRelabel, image }) => selinuxRelabel && image === undefined)
    ) {
      await relabelVolume(hostPath, mountLabel, { onlyIfTopDiffers });
    }
  }
  return {
    ...oci,
    process: { ...oci.process, ...(processLabel === "" ? {} : { selinuxLabel: processLabel }) },
    linux: { ...oci.linux, ...(mountLabel === "" ? {} : { mountLabel }) },
  };
}
