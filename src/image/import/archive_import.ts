/** Images from archives and directories of this node into the store. */
import { atStage, FailedPreconditionError, messageOf, NotFoundError, PodError } from "../../base/errors.ts";
import type { ImageId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { StoredImage } from "../../storage/types.ts";
import type { ArchivePlace, ArchiveTransport } from "../archive/archived_image.ts";
import { proxySettings } from "../distribution/proxy.ts";
import type { Transfer } from "../image_pull.ts";
import type { TrustDemand } from "../policy/requirement.ts";
import { pathSubject, type PolicySubject } from "../policy/scopes.ts";
import { parseReference } from "../reference.ts";
import { hostPlatform } from "../manifest/platform.ts";
import type { PullTracker } from "../progress/pull_tracker.ts";
import type { RunningPulls } from "../progress/running_pulls.ts";
import type { ArchiveContents, OpenRequest } from "../pull/protocol.ts";
import type { OpenedArchive } from "../pull_client.ts";

/** Where an image of this node was taken from. */
export interface ImageOrigin {
  readonly transport: ArchiveTransport;
  /** Absolute, without symbolic links. */
  readonly path: string;
  /** What the archive calls it; may be empty. */
  readonly label: string;
}

/** An image that an archive has, and that is in the store now. */
export interface ImportedImage extends ImageOrigin {
  readonly id: ImageId;
  readonly names: readonly string[];
}

/** The same for the policy. */
export function subjectOf({ transport, path, label, names }: Omit<ImportedImage, "id">): PolicySubject {
  const [name] = names;
  return pathSubject(transport, path, {
    image: label,
    ...(name === undefined ? {} : { reference: parseReference(name) }),
  });
}

export interface ImportResult {
  readonly images: readonly ImportedImage[];
  /** Of the images that are not. */
  readonly failures: readonly PodError[];
}

/** What an import needs of the rest. */
export interface ArchiveImportDeps {
  readonly puller: { openArchive(archive: OpenRequest, options: { signal: AbortSignal }): Promise<OpenedArchive> };
  readonly pull: { transfer(what: Transfer, pull: PullTracker): Promise<ImageId> };
  readonly store: { findImage(reference: string, options: { signal?: AbortSignal }): Promise<StoredImage | undefined> };
  readonly pulls: RunningPulls;
  readonly log: Logger;
  /** What the policy asks of its signatures, if it lets it in. @throws PolicyError */
  allow(subject: PolicySubject): Promise<TrustDemand | undefined>;
}

export interface ImportOptions {
  readonly signal: AbortSignal;
  /**
   * `all`: images get their names, whoever has them. `missing`: only images that are gone, and whose names nobody has:
   * a later pull is not undone.
   */
  readonly mode: "all" | "missing";
  /** Whether images without a name are taken. Default: no, since nobody could ask for them. */
  readonly nameless?: "refused" | "taken";
  /** Only the image that the archive calls so. Default: all. */
  readonly label?: string;
}

/** See the module comment. */
export class ArchiveImport {
  constructor(private readonly scratchDirectory: string, private readonly deps: ArchiveImportDeps) {}

  /**
   * All images of an archive; one that cannot be had does not keep the others away.
   *
   * @throws PodError when the archive cannot be opened; the signal's reason
   */
  async all(where: ArchivePlace, options: ImportOptions): Promise<ImportResult> {
    const place = await resolved(where);
    const { signal, nameless = "refused", label: wanted } = options;
    using archive = await this.#open(place, signal);
    const images: ImportedImage[] = [];
    const failures: PodError[] = [];
    for (const [index, { names, label }] of archive.contents.images.entries()) {
      if (wanted !== undefined && label !== wanted && !names.includes(wanted)) continue;
      try {
        if (names.length === 0 && nameless === "refused") throw namelessImage(place, index);
        images.push(await this.#one({ place, archive, index, names }, options));
      } catch (error) {
        signal.throwIfAborted();
        failures.push(error instanceof PodError ? error : atStage(`import image ${index} of ${place.path}`, error));
      }
    }
    return { images, failures };
  }

  /**
   * The image of an archive that is meant by a name.
   *
   * @param wanted.tag how archives may call it, in place of the whole name
   * @param wanted.label what it has to be called there
   * @param wanted.only the archive is for this image, whatever it is called there
   * @throws NotFoundError when it is not there; as {@link all}
   */
  async named(
    where: ArchivePlace,
    wanted: { readonly name: string; readonly tag: string; readonly label?: string; readonly only: boolean },
    options: { readonly signal: AbortSignal },
  ): Promise<ImportedImage> {
    const place = await resolved(where);
    using archive = await this.#open(place, options.signal);
    const index = indexOf(archive.contents, wanted);
    if (index < 0) throw new NotFoundError(`image of ${place.path}`, wanted.label ?? wanted.name);
    return await this.#one({ place, archive, index, names: [wanted.name] }, { ...options, mode: "all" });
  }

  async #open(place: ArchivePlace, signal: AbortSignal): Promise<OpenedArchive> {
    const { scratchDirectory } = this;
    return await this.deps.puller.openArchive({ place, scratchDirectory }, { signal });
  }

  async #one(
    source: {
      readonly place: ArchivePlace;
      readonly archive: OpenedArchive;
      readonly index: number;
      readonly names: readonly string[];
    },
    options: ImportOptions,
  ): Promise<ImportedImage> {
    const { place: { path }, archive, index, names } = source;
    const { transport, images } = archive.contents;
    const found = { transport, path, names, label: images[index]?.label ?? "" };
    const demand = await this.deps.allow(subjectOf(found));
    const name = names[0] ?? `image ${index} of ${path}`;
    const pull = this.deps.pulls.beginImport(name, options.signal);
    try {
      const job = {
        ...{
          name,
          reference: "",
          endpoints: [],
          trust: { configHome: "", ...(demand === undefined ? {} : { demand }) },
        },
        platform: await hostPlatform(),
        proxy: proxySettings({}),
      };
      const id = await this.deps.pull.transfer({
        title: names[0]?.replace(/:[^/:]*$/, "") ?? `${transport}:${path}`,
        names,
        job,
        puller: { pull: (job, hooks) => archive.pull(index, job, hooks) },
        isThere: (image) => this.#isThere(image.id, { names, mode: options.mode, signal: pull.signal }),
      }, pull);
      pull.succeeded(id);
      return { ...found, id };
    } catch (error) {
      pull.failed(error);
      throw error instanceof PodError ? atStage(`import ${name} from ${path}`, error) : error;
    }
  }

  async #isThere(
    id: ImageId,
    { names, mode, signal }: { readonly names: readonly string[]; readonly mode: string; readonly signal: AbortSignal },
  ): Promise<boolean> {
    const stored = await this.deps.store.findImage(id, { signal });
    if (mode === "all" || stored !== undefined) {
      return stored !== undefined && (mode === "missing" || names.every((name) => stored.names.includes(name)));
    }
    const holders = await Promise.all(names.map((name) => this.deps.store.findImage(name, { signal })));
    return names.length > 0 && holders.every((holder) => holder !== undefined);
  }
}

/** The policy's scopes are paths without links. */
async function resolved(place: ArchivePlace): Promise<ArchivePlace> {
  try {
    return { ...place, path: await Deno.realPath(place.path) };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new NotFoundError("image archive", place.path, { cause: error });
    throw error;
  }
}

function indexOf(
  { images }: ArchiveContents,
  wanted: { readonly name: string; readonly tag: string; readonly label?: string; readonly only: boolean },
): number {
  const { name, tag, label: asked, only } = wanted;
  if (asked !== undefined) return images.findIndex(({ names, label }) => label === asked || names.includes(asked));
  const byName = images.findIndex(({ names }) => names.includes(name));
  if (byName >= 0) return byName;
  const byTag = images.findIndex(({ names, label }) => names.length === 0 && label === tag);
  if (byTag >= 0) return byTag;
  const [first] = images;
  const isTheOne = images.length === 1 && (only || (first?.names.length === 0 && first.label === ""));
  return isTheOne ? 0 : -1;
}

function namelessImage({ path }: ArchivePlace, index: number): FailedPreconditionError {
  return new FailedPreconditionError(
    `image ${index} of ${path} has no name, so that no pod could ask for it: write the archive with one, such as ` +
      "skopeo copy … oci-archive:FILE:registry.example/app:1",
  );
}

/** One text of several failures. */
export function joined(failures: readonly unknown[]): string {
  return failures.map(messageOf).join("; ");
}
