import { atStage } from "../base/errors.ts";
import { type Annotations, annotationValue } from "../config/annotations.ts";
import type { AnnotationGate } from "../config/annotation_gate.ts";
import type { ContainerImage, PodContext } from "./ports.ts";
import type { ContainerSpec } from "./types.ts";

/** Gets seccomp profiles that are artifacts. */
export interface SeccompArtifacts {
  /** The profile's JSON; pulls the artifact when it is not on this node. */
  seccompProfile(
    reference: string,
    options: { readonly namespace: string; readonly signal: AbortSignal },
  ): Promise<string>;
}

export interface SeccompArtifactRequest {
  readonly pod: PodContext;
  readonly spec: ContainerSpec;
  readonly image: ContainerImage;
  /** Of the container, with its pod's below, that count. */
  readonly annotations: Annotations;
  readonly signal: AbortSignal;
}

/** A profile that an annotation names, for a container that has none of its own. */
export interface SeccompArtifact {
  readonly ref: string;
  /** Its JSON, not parsed. */
  readonly text: string;
}

/**
 * The profile that `seccomp-profile.crio.io` asks for. It counts only where the request leaves the container unconfined, so
 * it can take rights away but not give any.
 *
 * @throws StageError naming the artifact
 */
export async function seccompArtifactOf(
  { seccompArtifacts, annotations: gate }: {
    readonly seccompArtifacts?: SeccompArtifacts;
    readonly annotations: Pick<AnnotationGate, "forContainer">;
  },
  request: SeccompArtifactRequest,
): Promise<SeccompArtifact | undefined> {
  const { pod, spec: { security, metadata }, image, annotations, signal } = request;
  const isOpen = security.seccomp === undefined || security.seccomp.kind === "unconfined";
  if (seccompArtifacts === undefined || security.privileged || !isOpen) return undefined;
  // An image's annotations count where the handler allows them, as a pod's do.
  const own = gate.forContainer(image.annotations, { runtimeHandler: pod.runtimeHandler, annotations: {} });
  const ref = profileReference({ container: metadata.name, annotations, image: own });
  if (ref === undefined || ref === "") return undefined;
  try {
    return { ref, text: await seccompArtifacts.seccompProfile(ref, { namespace: pod.namespace, signal }) };
  } catch (error) {
    throw atStage(`seccomp profile from the artifact ${ref} (annotation seccomp-profile.crio.io)`, error);
  }
}

/** The container's annotation, the pod's, then those of the image: plain, for a container of this name, for all of a pod. */
export function profileReference(
  { container, annotations, image }: {
    readonly container: string;
    readonly annotations: Annotations;
    readonly image: Annotations;
  },
): string | undefined {
  return annotationValue(annotations, "seccompProfile", { container }) ??
    annotationValue(annotations, "seccompProfile", { container: "POD" }) ??
    annotationValue(image, "seccompProfile") ??
    annotationValue(image, "seccompProfile", { container }) ??
    annotationValue(image, "seccompProfile", { container: "POD" });
}
