import type { AnnotationGate } from "../config/annotation_gate.ts";
import type { Annotations } from "../config/annotations.ts";
import type { WorkloadConfig } from "../config/schema.ts";
import type { PodContext } from "./ports.ts";
import type { ContainerSpec } from "./types.ts";

/** What a container's annotations, and those of its pod, come to. */
export interface Annotated {
  /** Those of the container that count, with the pod's below them. */
  readonly annotations: Annotations;
  /** What the pod belongs to, if anything. */
  readonly workload: WorkloadConfig | undefined;
}

export function annotatedOf(
  gate: Pick<AnnotationGate, "forContainer" | "workloadOf">,
  { pod, spec }: { readonly pod: PodContext; readonly spec: ContainerSpec },
): Annotated {
  return { annotations: gate.forContainer(spec.annotations, pod), workload: gate.workloadOf(pod.annotations) };
}
