import type { Annotations } from "../config/annotations.ts";

/** The class of block I/O or cache that a container is to be in; the same names as for other runtimes (goresctrl). */
export function classOf(
  kind: "blockio" | "rdt",
  { container, annotations }: { readonly container: string; readonly annotations: Annotations },
): string | undefined {
  const keys = [
    `io.kubernetes.cri.${kind}-class`,
    `${kind}.resources.beta.kubernetes.io/container.${container}`,
    `${kind}.resources.beta.kubernetes.io/pod`,
  ];
  const key = keys.find((name) => Object.hasOwn(annotations, name));
  return key === undefined ? undefined : annotations[key];
}
