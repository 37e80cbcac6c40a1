/** Places on this node that images are taken from before any registry is asked: the option `image_sources`. */
import { InvalidArgumentError, messageOf, NotFoundError } from "../../base/errors.ts";
import type { ImageId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import { ARCHIVE_TRANSPORTS, type ArchivePlace, type ArchiveTransport } from "../archive/archived_image.ts";
import { canonical, type ImageReference, parseReference, withDefaultTag } from "../reference.ts";
import type { ArchiveImport } from "./archive_import.ts";
import type { ImportRecords } from "./import_records.ts";

/** A place, as `oci-archive:/path/to/file.tar` or with `:name` of the image there. */
export interface NamedPlace {
  readonly place: ArchivePlace & { readonly transport: ArchiveTransport };
  /** What the image is called there. */
  readonly label?: string;
}

/** One line of the option. */
export interface ImageSource extends NamedPlace {
  /** A repository, a part of one, or one image with its tag or digest. */
  readonly prefix: string;
}

/**
 * A text such as `oci:/srv/layout:v1`. As in containers-transports(5) the path ends at the first colon.
 *
 * @returns undefined for what has no transport of a file
 * @throws InvalidArgumentError for one with a path that is not absolute
 */
export function parsePlace(text: string): NamedPlace | undefined {
  const transport = ARCHIVE_TRANSPORTS.find((name) => text.startsWith(`${name}:`));
  if (transport === undefined) return undefined;
  const rest = text.slice(transport.length + 1);
  const colon = transport === "dir" ? -1 : rest.indexOf(":");
  const path = (colon < 0 ? rest : rest.slice(0, colon)).replace(/(.)\/+$/, "$1");
  if (!path.startsWith("/") || path.includes("/../") || path.includes("\0")) {
    throw new InvalidArgumentError(`${JSON.stringify(text)}: the path has to be absolute, and without ..`);
  }
  return { place: { transport, path }, ...(colon < 0 ? {} : { label: rest.slice(colon + 1) }) };
}

/**
 * A line such as `registry.example/team=dir:/media/images`.
 *
 * @throws InvalidArgumentError
 */
export function parseSource(line: string): ImageSource {
  const equals = line.indexOf("=");
  const prefix = line.slice(0, Math.max(0, equals)).trim().replace(/\/+$/, "");
  const place = parsePlace(line.slice(equals + 1).trim());
  if (prefix === "" || place === undefined) {
    throw new InvalidArgumentError(
      `image source ${JSON.stringify(line)} is not PREFIX=TRANSPORT:PATH; transports are ${
        ARCHIVE_TRANSPORTS.join(", ")
      }`,
    );
  }
  return { prefix, ...place };
}

/** What is wrong with a list of them, for the configuration. */
export function sourcesProblem(lines: readonly string[]): string | undefined {
  try {
    for (const line of lines) parseSource(line);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** See the module comment. */
export class ImageSources {
  readonly #sources: readonly ImageSource[];

  /** @throws InvalidArgumentError for a line that is none */
  constructor(
    lines: readonly string[],
    private readonly deps: {
      readonly archives: Pick<ArchiveImport, "named">;
      readonly records: Pick<ImportRecords, "noteFetched">;
      readonly log: Logger;
    },
  ) {
    this.#sources = lines.map(parseSource).sort((a, b) => b.prefix.length - a.prefix.length);
  }

  /**
   * The image from the most particular place that is for it.
   *
   * @returns undefined when no place is for it, or the place does not have it; what else is wrong is logged
   */
  async fetch(names: readonly string[], options: { readonly signal: AbortSignal }): Promise<ImageId | undefined> {
    for (const name of names) {
      const source = this.#sources.find(({ prefix }) => restOf(name, prefix) !== undefined);
      if (source === undefined) continue;
      const reference = parseReference(name);
      const { place, only } = placeOf(source, reference);
      try {
        const tag = reference.tag ?? "";
        const label = source.label === undefined ? {} : { label: source.label };
        const wanted = { name: canonical(reference), tag, only, ...label };
        const image = await this.deps.archives.named(place, wanted, options);
        const { id } = image;
        await this.deps.records.noteFetched(image);
        this.deps.log.info(`Took the image from ${place.transport}:${place.path}`, { image: name, id });
        return id;
      } catch (error) {
        options.signal.throwIfAborted();
        const isMissing = error instanceof NotFoundError || (error as { readonly kind?: string }).kind === "not_found";
        const fields = { image: name, place: `${place.transport}:${place.path}`, reason: messageOf(error) };
        if (isMissing) this.deps.log.debug("The image source does not have it", fields);
        else this.deps.log.warn("The image source cannot be used; registries are asked", fields);
      }
    }
    return undefined;
  }
}

/** What of a name is behind a prefix: empty when they are the same. */
function restOf(name: string, prefix: string): string | undefined {
  if (name === prefix) return "";
  return name.startsWith(prefix) && /^[/:@]/.test(name.slice(prefix.length)) ? name.slice(prefix.length) : undefined;
}

/**
 * Directories are one for each image, as `skopeo sync` writes them: what is behind the prefix is added to the path. A
 * layout has its tags inside, and an archive has everything.
 */
function placeOf(
  { place, prefix, label }: ImageSource,
  reference: ImageReference,
): { readonly place: NamedPlace["place"]; readonly only: boolean } {
  const { repository } = reference;
  const name = canonical(withDefaultTag(reference));
  const isExact = name === prefix || label !== undefined;
  if (isExact || place.transport.endsWith("-archive")) return { place, only: isExact };
  const rest = place.transport === "dir" ? restOf(name, prefix) : restOf(repository, prefix);
  return { place: { ...place, path: `${place.path}${rest ?? ""}` }, only: true };
}
