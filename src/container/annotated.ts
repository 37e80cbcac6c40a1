import type { ResourceLimits } from "../base/resources.ts";
import type { Annotations } from "../config/annotations.ts";
import type { WorkloadConfig } from "../config/schema.ts";
import type { PerformancePlan } from "../performance/plan.ts";
import type { ContainerDeps } from "./deps.ts";
import { initialLimits } from "./limits.ts";
import { withSharedCpus } from "./performance.ts";
import type { PodContext } from "./ports.ts";
import { startingLimits } from "./starting_limits.ts";
import type { ContainerSpec } from "./types.ts";

/** What a container's annotations, and those of its pod, come to. */
export interface Annotated {
  /** Those of the container that count, with the pod's below them. */
  readonly annotations: Annotations;
  /** What the pod belongs to, if anything. */
  readonly workload: WorkloadConfig | undefined;
  /** What the container starts with. */
  readonly limits: ResourceLimits;
  /** How its CPUs are to be tuned, if at all. */
  readonly performance: PerformancePlan | undefined;
}

/** @throws InvalidArgumentError for an annotation that is wrong */
export async function annotatedOf(
  { annotations: gate, node, performance }: Pick<ContainerDeps, "annotations" | "node" | "performance">,
  { pod, spec }: { readonly pod: PodContext; readonly spec: ContainerSpec },
): Promise<Annotated> {
  const annotations = gate.forContainer(spec.annotations, pod);
  const workload = gate.workloadOf(pod.annotations);
  const container = spec.metadata.name;
  const limits = startingLimits(spec.resources, { annotations, workload, container });
  const plan = await performance?.plan({
    annotations,
    container,
    limits,
    handler: pod.runtimeHandler,
    cgroupParent: pod.cgroupParent,
    sharedCpuset: node.sharedCpuset,
    execCpuAffinity: node.handlers.get(pod.runtimeHandler)?.execCpuAffinity ?? "",
  });
  return { annotations, workload, limits: initialLimits(withSharedCpus(limits, plan), node), performance: plan };
}
