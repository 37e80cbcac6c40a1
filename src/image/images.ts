import { systemClock } from "../base/clock.ts";
import { FailedPreconditionError, messageOf, NotFoundError } from "../base/errors.ts";
import type { Digest, ImageId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import { Singleflight } from "../base/singleflight.ts";
import type { FilesystemUsage, StoredImage } from "../storage/types.ts";
import type { ArtifactLayout } from "./artifacts/layout.ts";
import { ImageDocuments } from "./image_documents.ts";
import { ImagePull, type Puller, type PullRequest, type PullSettings, type PullStore } from "./image_pull.ts";
import type { ImageConfig } from "./manifest/image_config.ts";
import { pinnedMatcher } from "./pinned.ts";
import { ImageTrust, type TrustDeps, type TrustStore, type Verifier } from "./policy/trust.ts";
import { pullAnywhere } from "./pull_anywhere.ts";
import { RunningPulls } from "./progress/running_pulls.ts";
import { canonical, type ImageReference, isShortName, parseReference, pullTarget, withDigest } from "./reference.ts";
import { candidates } from "./registries/endpoints.ts";
import { Registries } from "./registries/registries.ts";
import { shownName } from "./shown_name.ts";

/** An image on this node. Immutable. */
export interface ImageInfo {
  /** 64 hex digits. */
  readonly id: ImageId;
  readonly repoTags: readonly string[];
  /** Never empty while a digest of the image is known. */
  readonly repoDigests: readonly string[];
  readonly sizeBytes: number;
  /** The configuration's user: empty, a name or a number, either with `:group`. */
  readonly user: string;
  readonly pinned: boolean;
  /** Of the manifest. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** An image as a container takes it over. */
export interface ContainerImage {
  readonly id: ImageId;
  /** What ContainerStatus gives as `image_ref`: a repository with the digest there, else the id. */
  readonly ref: string;
  /** A name for people, the one that was asked for if it has it; the id when it has none. */
  readonly name: string;
  readonly defaults: ImageConfig;
  /** Of its manifest. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** Disk use of one file system. */
export interface FilesystemUse {
  readonly mountpoint: string;
  readonly usedBytes: number;
  readonly inodesUsed: number;
  readonly timestampNanos: bigint;
}

interface Cancellable {
  readonly signal?: AbortSignal;
}

/** What this class needs of the store. */
export interface ImageStore extends PullStore, TrustStore {
  images(options: Cancellable): Promise<readonly StoredImage[]>;
  findImage(reference: string, options: Cancellable): Promise<StoredImage | undefined>;
  imageConfig(id: ImageId): Promise<Uint8Array>;
  imageManifest(id: ImageId, digest?: Digest): Promise<Uint8Array>;
  removeNames(id: ImageId, names: readonly string[], options: Cancellable): Promise<void>;
  deleteImage(id: ImageId, options: Cancellable): Promise<void>;
  imageFilesystem(): Promise<FilesystemUsage>;
}

export interface ImagesOptions extends PullSettings {
  /** registries.conf and its drop-in directory; default: those of containers-registries.conf(5). */
  readonly registriesFile?: string;
  readonly registriesDirectory?: string;
  /** Patterns: exact, `glob*`, `*keyword*`. */
  readonly pinnedImages?: readonly string[];
}

/** Images that come from files of this node. */
export interface LocalImages {
  /** Whether an archive pins the image. */
  isPinned(id: ImageId): boolean;
  /** The image from a place that the configuration names, before registries are asked. */
  fetch(names: readonly string[], options: { readonly signal: AbortSignal }): Promise<ImageId | undefined>;
  /** The image from the drop folder, when no registry could be reached. */
  provide(names: readonly string[], options: { readonly signal: AbortSignal }): Promise<ImageId | undefined>;
}

export interface ImagesDeps extends Pick<TrustDeps, "originsOf"> {
  readonly store: ImageStore;
  readonly puller: Puller & Verifier;
  readonly log: Logger;
  /** Where pulls tell how they get on. Default: nobody is told. */
  readonly pulls?: RunningPulls;
  /** Files of this node that images may come from. Default: there are none. */
  readonly local?: (pull: Pick<ImagePull, "transfer">) => LocalImages;
  /** Whether a container of this daemon uses the image. */
  inUse(imageId: string): boolean;
  /** Where artifacts go; absent: they are refused. */
  readonly artifacts?: ArtifactLayout;
}

/** The images of this node: list, find, pull, remove. */
export class Images {
  readonly #documents: ImageDocuments;
  readonly #registries: Registries;
  readonly #pull: ImagePull;
  readonly #trust: ImageTrust;
  readonly #pulls = new Singleflight<string, ImageId>();
  readonly #local: LocalImages | undefined;
  #isPinned: (names: readonly string[]) => boolean;
  /** What was last said of each image: the same object while nothing has changed, so that others can keep its encoding. */
  readonly #infos = new Map<ImageId, { readonly info: ImageInfo; readonly text: string }>();

  constructor(private readonly options: ImagesOptions, private readonly deps: ImagesDeps) {
    this.#documents = new ImageDocuments(deps.store);
    const { environment, registriesFile: file, registriesDirectory: dropInDirectory } = options;
    this.#registries = new Registries({
      environment,
      ...(file === undefined ? {} : { file }),
      ...(dropInDirectory === undefined ? {} : { dropInDirectory }),
    }, deps.log);
    this.#trust = new ImageTrust(options, { ...deps, verifier: deps.puller });
    const parts = { registries: this.#registries, trust: this.#trust };
    this.#pull = new ImagePull(options, { pulls: new RunningPulls(), ...deps, ...parts });
    this.#isPinned = pinnedMatcher(options.pinnedImages ?? []);
    this.#local = deps.local?.(this.#pull);
  }

  /** Takes other patterns of images that must stay; the next list has them. */
  pin(patterns: readonly string[]): void {
    this.#isPinned = pinnedMatcher(patterns);
  }

  /** Reads the registries configuration. @throws InvalidArgumentError naming the file and the line or key */
  async checkRegistries(): Promise<void> {
    await this.#registries.check();
  }

  /** All images, those without a name too. */
  async list(options: Cancellable = {}): Promise<readonly ImageInfo[]> {
    const stored = await this.deps.store.images(options);
    const ids = new Set(stored.map((image) => image.id));
    this.#documents.keepOnly(ids);
    for (const id of this.#infos.keys()) if (!ids.has(id)) this.#infos.delete(id);
    const infos = await Promise.all(stored.map((image) => this.#info(image)));
    return infos.filter((info) => info !== undefined);
  }

  /**
   * @param reference an id (`sha256:` before it is allowed), an id prefix, a name, `name@digest`, or a short name, which
   *   may mean any search registry
   */
  async find(reference: string, options: Cancellable = {}): Promise<ImageInfo | undefined> {
    const stored = await this.#findStored(reference, options);
    return stored === undefined ? undefined : await this.#info(stored);
  }

  /**
   * An image that is about to be used: the policy is asked again.
   *
   * @param options.specified what stands in the pod's manifest, where `reference` is an id
   * @param options.namespace of the pod, which may have a policy of its own
   * @throws NotFoundError when the image is not on this node; DataLossError when its configuration is damaged; what
   *   {@link ImageTrust.check} throws when it may not be used
   */
  async resolve(
    reference: string,
    options: Cancellable & { readonly specified?: string; readonly namespace?: string } = {},
  ): Promise<ContainerImage> {
    const stored = await this.#findStored(reference, options);
    if (stored === undefined) throw new NotFoundError("image", reference);
    const { namespace, signal = new AbortController().signal } = options;
    const meant = await this.#namesOf(stored, options.specified || reference);
    await this.#trust.check(stored, { meant, namespace, signal });
    const { id, names } = stored;
    const { config, annotations } = await this.#documents.details(id, stored.digest);
    const shown = shownName({ id, names, repoDigests: repoDigestsOf(stored) }, options.specified || reference);
    return { id, ...shown, defaults: config, annotations };
  }

  /**
   * Pulls, or joins a pull of the same image with the same credentials for the same namespace and cgroup. It goes on
   * while one of its callers waits.
   *
   * @returns the image's id
   * @throws what {@link ImagePull.run} throws
   */
  async pull(request: PullRequest, options: Cancellable = {}): Promise<ImageId> {
    return await this.#pulls.run(await pullKey(request), options, (signal) => this.#pullNow(request, signal));
  }

  async #pullNow(request: PullRequest, signal: AbortSignal): Promise<ImageId> {
    const pull = (): Promise<ImageId> => this.#pull.run(request, signal);
    if (this.#local === undefined) return await pull();
    const names = await this.meanings(request.image);
    return await pullAnywhere({ local: this.#local, names, log: this.deps.log, signal, pull });
  }

  /**
   * By id: takes all names and deletes. By name: takes the name, and deletes with the last one. Succeeds when there is
   * no such image.
   *
   * @throws FailedPreconditionError while a container uses the image that would be deleted
   */
  async remove(reference: string, options: Cancellable = {}): Promise<void> {
    const stored = await this.#findStored(reference, options);
    if (stored === undefined) return;
    const names = namesMeant(stored, reference);
    const keeps = stored.names.length > names.length && names.length > 0;
    if (!keeps && this.deps.inUse(stored.id)) {
      throw new FailedPreconditionError(
        `image ${reference} (${stored.id}) is used by a container: remove the container first`,
      );
    }
    try {
      if (keeps) await this.deps.store.removeNames(stored.id, names, options);
      else await this.deps.store.deleteImage(stored.id, options);
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
    this.deps.log.info(keeps ? "Untagged image" : "Removed image", { image: reference, id: stored.id });
  }

  /** Images and containers share one file system, unless there is an image store. */
  async fsInfo(): Promise<
    { readonly images: readonly FilesystemUse[]; readonly containers: readonly FilesystemUse[] }
  > {
    const { containers, ...images } = await this.deps.store.imageFilesystem();
    const timestampNanos = systemClock.nowNanos();
    const use = ({ path, usedBytes, inodesUsed }: FilesystemUsage): FilesystemUse[] => [
      { mountpoint: path, usedBytes, inodesUsed, timestampNanos },
    ];
    const shown = use(images);
    return { images: shown, containers: containers === undefined ? shown : use(containers) };
  }

  /** The whole configuration document. @throws NotFoundError; DataLossError */
  async config(reference: string, options: Cancellable = {}): Promise<unknown> {
    const stored = await this.#findStored(reference, options);
    if (stored === undefined) throw new NotFoundError("image", reference);
    return JSON.parse(new TextDecoder().decode(await this.deps.store.imageConfig(stored.id)));
  }

  async #info(stored: StoredImage): Promise<ImageInfo | undefined> {
    const { id, names, sizeBytes } = stored;
    try {
      const { config, annotations } = await this.#documents.details(id, stored.digest);
      const repoDigests = repoDigestsOf(stored);
      // What is in a read-only store cannot be removed: the kubelet's collection need not try.
      const pinned = stored.readOnlyStore !== undefined || this.#isPinned([...names, ...repoDigests]) ||
        this.#local?.isPinned(id) === true;
      const repoTags = names.filter(isTagName);
      return this.#unchanged({ id, repoTags, repoDigests, sizeBytes, user: config.user, pinned, annotations });
    } catch (error) {
      // Removed between the list and the look, or damaged: one bad image must not hide the others.
      if (!(error instanceof NotFoundError)) {
        this.deps.log.warn("Image left out of the list", { id, reason: messageOf(error) });
      }
      return undefined;
    }
  }

  #unchanged(info: ImageInfo): ImageInfo {
    const text = JSON.stringify(info);
    const known = this.#infos.get(info.id);
    if (known?.text === text) return known.info;
    this.#infos.set(info.id, { info, text });
    return info;
  }

  async #findStored(reference: string, options: Cancellable): Promise<StoredImage | undefined> {
    for (const name of await this.meanings(reference)) {
      const found = await this.deps.store.findImage(name, options);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** What a text may mean, in the order in which it is tried. An id that looks like a name is an id first. */
  async meanings(reference: string): Promise<readonly string[]> {
    const hex = /^(?:sha256:)?([0-9a-f]{64})$/.exec(reference)?.[1];
    if (hex !== undefined) return [hex];
    const ids = /^[0-9a-f]{3,63}$/.test(reference) ? [reference] : [];
    try {
      const names = [canonical(pullTarget(parseReference(reference)))];
      if (isShortName(reference)) {
        names.push(...await this.#searched(reference), canonical(pullTarget(parseReference(`localhost/${reference}`))));
      }
      return [...ids, ...names];
    } catch {
      // What is no reference names no image: that is an answer, not an error.
      return ids;
    }
  }

  async #namesOf({ id, names, repoDigests }: StoredImage, text: string): Promise<readonly ImageReference[]> {
    return namesIn(await this.meanings(text), { id, names: [...names, ...repoDigests] });
  }

  async #searched(reference: string): Promise<readonly string[]> {
    const config = await this.#registries.current();
    if (config.searchRegistries.length === 0 && config.aliases.size === 0) return [];
    return candidates(reference, { config, shortNameMode: "disabled" }).map(canonical);
  }
}

/**
 * What somebody who wrote a text means by it, given the image that it is; empty for an id or a part of one, which has no name
 * that a policy could be asked about in place of the image's own.
 */
export function namesIn(
  meanings: readonly string[],
  image: { readonly id: string; readonly names: readonly string[] },
): readonly ImageReference[] {
  const known = meanings.filter((name) => image.names.includes(name));
  const isId = meanings.some((meaning) => image.id.startsWith(meaning));
  return (known.length > 0 || isId ? known : meanings.slice(0, 1)).map(parseReference);
}

/** The stored names that a request to remove is about; none when it names the image by id. */
function namesMeant(stored: StoredImage, reference: string): readonly string[] {
  if (stored.id.startsWith(reference) || reference === `sha256:${stored.id}`) return [];
  let meant: ReturnType<typeof pullTarget>;
  try {
    meant = pullTarget(parseReference(reference));
  } catch {
    return [];
  }
  const literal = stored.names.filter((name) =>
    name === canonical(meant) || (isShortName(reference) && name.endsWith(`/${shortTarget(reference)}`))
  );
  if (literal.length > 0 || meant.digest === undefined) return literal;
  return stored.names.filter((name) =>
    name.startsWith(`${meant.repository}:`) || name.startsWith(`${meant.repository}@`)
  );
}

/** A short name with its tag: `app` is `app:latest`. */
function shortTarget(reference: string): string {
  return /[:@]/.test(reference) ? reference : `${reference}:latest`;
}

function isTagName(name: string): boolean {
  return !name.includes("@");
}

/** Names with digests; for an untagged image those that it had. */
function repoDigestsOf(stored: StoredImage): readonly string[] {
  if (stored.repoDigests.length > 0) return stored.repoDigests;
  const previous = stored.namesHistory[0];
  const { digest } = stored;
  if (previous === undefined || digest === undefined) return [];
  try {
    return [withDigest(parseReference(previous).repository, digest)];
  } catch {
    return [];
  }
}

/** Secrets stay out of memory that lives longer than the pull: the key holds their hash. */
async function pullKey(request: PullRequest): Promise<string> {
  const { image, credentials, serverAddress = "", pod, cgroupParent = "" } = request;
  const secret = new TextEncoder().encode(JSON.stringify([credentials ?? null, serverAddress]));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", secret)).toHex();
  return JSON.stringify([image, hash, pod?.namespace ?? "", cgroupParent]);
}
