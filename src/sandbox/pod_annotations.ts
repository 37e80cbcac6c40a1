/**
 * What annotations change in a pod. All take annotations that have passed the gate.
 *
 * @module
 */
import { InvalidArgumentError } from "../base/errors.ts";
import { parseQuantity } from "../base/quantity.ts";
import { type Annotations, annotationValue } from "../config/annotations.ts";
import type { SandboxSpec } from "./types.ts";

/** The kernel's page: tmpfs counts in them. */
const SMALLEST_SHM_BYTES = 4096;

/**
 * The size of the pod's `/dev/shm` in bytes (`shm-size.crio.io`, a Kubernetes quantity).
 *
 * @throws InvalidArgumentError
 */
export function shmSizeOf(annotations: Annotations, defaultBytes: number): number {
  const text = annotationValue(annotations, "shmSize");
  if (text === undefined) return defaultBytes;
  const bytes = parseQuantity(text);
  if (bytes !== undefined && bytes >= SMALLEST_SHM_BYTES) return bytes;
  throw new InvalidArgumentError(
    `annotation shm-size.crio.io: ${
      JSON.stringify(text)
    } is not a size of ${SMALLEST_SHM_BYTES} bytes or more, such as 128Mi`,
  );
}

/**
 * The directory of the emptyDir volume that shows the pod's logs (`link-logs.crio.io`: the volume's name); undefined: none does.
 *
 * @param options.kubeletPods where the kubelet keeps pods' volumes
 * @throws InvalidArgumentError for what is no name of a volume
 */
export function linkedLogsOf(
  annotations: Annotations,
  spec: SandboxSpec,
  { kubeletPods }: { readonly kubeletPods: string },
): string | undefined {
  const name = annotationValue(annotations, "linkLogs");
  if (name === undefined) return undefined;
  // A DNS label, as the name of a volume is: nothing else may become a part of the path.
  if (!/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(name)) {
    throw new InvalidArgumentError(`annotation link-logs.crio.io: ${JSON.stringify(name)} is not a volume's name`);
  }
  const { uid } = spec.metadata;
  if (spec.logDirectory === "" || uid === "") {
    throw new InvalidArgumentError("annotation link-logs.crio.io: the pod has no log directory or no uid");
  }
  return `${kubeletPods}/${uid}/volumes/kubernetes.io~empty-dir/${name}`;
}
