import type { ContainerId } from "../base/ids.ts";
import type { PodContext } from "./ports.ts";
import type { ContainerSpec } from "./types.ts";

/**
 * Where a container's log is found by its id, in a pod that shows its logs in a volume; absent in others. The link is relative (to the
 * log's place in the directory), so that it leads to the log inside the volume as well.
 */
export function logLinkOf(
  pod: PodContext,
  { spec, id }: { spec: ContainerSpec; id: ContainerId },
): { logLink?: string } {
  const isLinked = pod.linkedLogs !== undefined && pod.logDirectory !== "" && spec.logPath !== "";
  return isLinked ? { logLink: `${pod.logDirectory}/${id}.log` } : {};
}

/** Mounts of the volume that shows the pod's logs are read-only: crun would make a writable mount of the read-only one. */
export function protectLogs(spec: ContainerSpec, { linkedLogs }: PodContext): ContainerSpec {
  if (linkedLogs === undefined) return spec;
  const isBelow = (path: string): boolean => path === linkedLogs || path.startsWith(`${linkedLogs}/`);
  return {
    ...spec,
    mounts: spec.mounts.map((mount) => isBelow(mount.hostPath) ? { ...mount, readonly: true } : mount),
  };
}
