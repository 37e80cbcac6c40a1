import type { ImageId } from "../base/ids.ts";
import { type ErrorKind, messageOf, PodError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { LocalImages } from "./images.ts";

/** Failures that say nothing about the image: no registry gave an answer that counts. */
const UNREACHABLE: ReadonlySet<ErrorKind> = new Set(["registry_unavailable", "unavailable", "deadline_exceeded"]);

export interface Sources {
  readonly local: LocalImages;
  /** What the request may mean, in the order in which it is tried. */
  readonly names: readonly string[];
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** From registries. */
  pull(): Promise<ImageId>;
}

/**
 * Brings an image from a configured place of this node, else from its registries, else, where these cannot be reached, from
 * the drop folder.
 *
 * @throws what `pull` throws
 */
export async function pullAnywhere({ local, names, log, signal, pull }: Sources): Promise<ImageId> {
  // What looks like an id prefix is one only for images that are here.
  const full = names.filter((name) => name.includes("/"));
  const fetched = await local.fetch(full, { signal });
  if (fetched !== undefined) return fetched;
  try {
    return await pull();
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof PodError) || !UNREACHABLE.has(error.kind)) throw error;
    const id = await local.provide(full, { signal });
    if (id === undefined) throw error;
    log.warn("No registry can be reached: the image of an archive of this node is used", {
      image: full[0],
      id,
      reason: messageOf(error),
    });
    return id;
  }
}
