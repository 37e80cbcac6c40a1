import { type Annotations, GATED_ANNOTATIONS, namesKey, spellings } from "./annotations.ts";
import type { Config, WorkloadConfig } from "./schema.ts";

/**
 * Decides which annotations of pods and containers count: those that mean something to the daemon or the runtime only where the
 * runtime handler, or a workload that the pod activates, allows them. Records keep annotations as the client sent
 * them; what acts on an annotation takes it from here.
 */
export class AnnotationGate {
  constructor(private readonly config: Pick<Config, "handlers" | "workloads">) {}

  /**
   * The annotations of a pod that count, with the handler's defaults below them.
   *
   * @param options.handler effective name of the runtime handler
   */
  forPod(annotations: Annotations, { handler }: { readonly handler: string }): Annotations {
    const defaults = this.config.handlers.get(handler)?.defaultAnnotations ?? {};
    const own = this.#filter(annotations, { handler, pod: { ...defaults, ...annotations } });
    const taken = new Set(Object.keys(own).flatMap(spellings));
    const left = Object.entries(defaults).filter(([key]) => !taken.has(key));
    return { ...Object.fromEntries(left), ...own };
  }

  /**
   * The annotations of a container that count, with its pod's below them.
   *
   * @param pod.annotations what {@link forPod} gave: the pod's annotations activate workloads
   */
  forContainer(
    annotations: Annotations,
    pod: { readonly runtimeHandler: string; readonly annotations: Annotations },
  ): Annotations {
    return {
      ...pod.annotations,
      ...this.#filter(annotations, { handler: pod.runtimeHandler, pod: pod.annotations }),
    };
  }

  /** The workload that a pod with these annotations belongs to: the first one whose annotation it has, whatever the value. */
  workloadOf(podAnnotations: Annotations): WorkloadConfig | undefined {
    for (const workload of this.config.workloads.values()) {
      if (Object.hasOwn(podAnnotations, workload.activationAnnotation)) return workload;
    }
    return undefined;
  }

  #filter(annotations: Annotations, { handler, pod }: { handler: string; pod: Annotations }): Annotations {
    const allowed = new Set([
      ...this.config.handlers.get(handler)?.allowedAnnotations ?? [],
      ...this.workloadOf(pod)?.allowedAnnotations ?? [],
    ]);
    const disallowed = GATED_ANNOTATIONS.filter((name) => !allowed.has(name));
    return Object.fromEntries(
      Object.entries(annotations).filter(([key]) => !disallowed.some((name) => namesKey(name, key))),
    );
  }
}
