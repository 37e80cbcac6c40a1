import { canonical, type ImageReference, parseReference, pullTarget } from "./reference.ts";

/** What is known of an image's names. */
export interface NamedImage {
  readonly id: string;
  readonly names: readonly string[];
  /** `repository@digest` */
  readonly repoDigests: readonly string[];
}

/**
 * How the status of a container calls its image: as the pod's author did, where the image still has that name. Clients
 * know the image itself by its id and show people what stands here.
 *
 * @param specified what stands in the pod's manifest; may be an id or empty
 * @returns `name`, a tag if there is one, and `ref`, `repository@digest`, as CRI-O gives it; each is the id where there is
 *   nothing better
 */
export function shownName(image: NamedImage, specified: string): { readonly name: string; readonly ref: string } {
  const { id, names, repoDigests } = image;
  const meant = referenceIn(specified);
  const asked = meant === undefined ? "" : canonical(meant);
  const isAskedFor = (name: string): boolean => name === asked;
  const sameRepository = (name: string): boolean => meant !== undefined && name.startsWith(`${meant.repository}@`);
  const name = names.find(isAskedFor) ?? names.find((one) => !one.includes("@")) ?? names[0] ?? id;
  const ref = repoDigests.find(isAskedFor) ?? repoDigests.find(sameRepository) ?? repoDigests[0] ?? id;
  return { name, ref };
}

function referenceIn(text: string): ImageReference | undefined {
  try {
    return text === "" ? undefined : pullTarget(parseReference(text));
  } catch {
    return undefined; // an id of 64 digits is no reference
  }
}
