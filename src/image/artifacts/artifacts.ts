import { FailedPreconditionError, InvalidArgumentError, messageOf, NotFoundError } from "../../base/errors.ts";
import type { Digest, ImageId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import { matchesDigest } from "../distribution/repository.ts";
import type { ImageInfo } from "../images.ts";
import { pinnedMatcher } from "../pinned.ts";
import { parseReference, withDigest } from "../reference.ts";
import { type Artifact, filesOf } from "./artifact.ts";
import { ArtifactLayout } from "./layout.ts";

export interface ArtifactsOptions {
  /** The daemon's own layout. */
  readonly directory: string;
  /** `additional_artifact_stores`: roots whose `artifacts` is read first, never written. */
  readonly additional?: readonly string[];
  readonly pinnedImages?: readonly string[];
}

export interface ArtifactsDeps {
  readonly log: Logger;
  /** Whether a container has it as a volume. */
  inUse(id: string): boolean;
}

/** A file that a volume shows. */
export interface VolumeFile {
  /** Relative; see {@link filesOf}. */
  readonly name: string;
  /** The blob on the host. */
  readonly path: string;
}

/** The artifacts of this node: list, find, files, remove. */
export class Artifacts implements Disposable {
  readonly own: ArtifactLayout;
  readonly #layouts: readonly ArtifactLayout[];
  #isPinned: (names: readonly string[]) => boolean;
  /** The same object while nothing has changed: its encoding is kept by it. */
  #infos = new WeakMap<Artifact, ImageInfo>();

  constructor(options: ArtifactsOptions, private readonly deps: ArtifactsDeps) {
    const { directory, additional = [], pinnedImages = [] } = options;
    const { log } = deps;
    this.own = new ArtifactLayout(directory, { access: "writable", log });
    const others = additional.map((root) => new ArtifactLayout(`${root}/artifacts`, { access: "read-only", log }));
    this.#layouts = [...others, this.own];
    this.#isPinned = pinnedMatcher(pinnedImages);
  }

  /** Takes other patterns of artifacts that must stay; the next list has them. */
  pin(patterns: readonly string[]): void {
    this.#isPinned = pinnedMatcher(patterns);
    this.#infos = new WeakMap();
  }

  /** All artifacts; of one that is in several stores the first. */
  async list(): Promise<readonly Artifact[]> {
    const lists = await Promise.all(this.#layouts.map((layout) => layout.list()));
    if (lists.every((list) => list.length === 0)) return [];
    return [...new Map(lists.flat().toReversed().map((one) => [one.id, one])).values()].toReversed();
  }

  /** @param meanings ids, id prefixes and full names that a text may stand for, in the order in which they count */
  async find(meanings: readonly string[]): Promise<Artifact | undefined> {
    const all = await this.list();
    if (all.length === 0) return undefined;
    for (const meaning of meanings) {
      const isId = /^[0-9a-f]{3,64}$/.test(meaning);
      const found = all.find((one) =>
        (isId && one.id.startsWith(meaning)) || one.names.includes(meaning) || repoDigestsOf(one).includes(meaning)
      );
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** As CRI lists it. */
  info(artifact: Artifact): ImageInfo {
    const known = this.#infos.get(artifact);
    if (known !== undefined) return known;
    const { id, names, sizeBytes, annotations, readOnly } = artifact;
    const repoDigests = repoDigestsOf(artifact);
    const pinned = readOnly || this.#isPinned([...names, ...repoDigests]);
    const repoTags = names.filter((name) => !name.includes("@"));
    const info = { id, repoTags, repoDigests, sizeBytes, user: "", pinned, annotations };
    this.#infos.set(artifact, info);
    return info;
  }

  /**
   * What a volume of it shows.
   *
   * @throws InvalidArgumentError for hostile names, or when no file has one; FailedPreconditionError when a blob is not there
   */
  async volumeFiles(artifact: Artifact): Promise<readonly VolumeFile[]> {
    const files = filesOf(artifact.manifest);
    const { layers, artifactType } = artifact.manifest;
    if (files.length === 0) {
      throw new InvalidArgumentError(
        `none of the ${layers.length} files of the artifact (${artifactType}) has a name ` +
          "(annotation org.opencontainers.image.title), so a volume would show nothing",
      );
    }
    if (files.length < layers.length) {
      this.deps.log.warn("files of an artifact without a name are not in its volume", { artifact: artifact.id });
    }
    const layout = this.#layoutOf(artifact);
    const [gone] = await layout.missing(files.map(({ descriptor }) => descriptor));
    if (gone !== undefined) {
      throw new FailedPreconditionError(
        `blob ${gone.digest} of the artifact is not in ${artifact.root}, or is cut: pull the artifact again`,
      );
    }
    return files.map(({ name, descriptor }) => ({ name, path: layout.blob(descriptor.digest) }));
  }

  /**
   * The bytes of its first file, checked.
   *
   * @throws FailedPreconditionError when it is not there, too long, or not what it was
   */
  async readFirst(artifact: Artifact, options: { readonly maxBytes: number }): Promise<Uint8Array> {
    const [first] = artifact.manifest.layers;
    if (first === undefined) throw new FailedPreconditionError("the artifact has no file");
    if (first.sizeBytes > options.maxBytes) {
      throw new FailedPreconditionError(`its file has ${first.sizeBytes} bytes, more than ${options.maxBytes}`);
    }
    try {
      const bytes = await Deno.readFile(this.#layoutOf(artifact).blob(first.digest));
      if (matchesDigest(bytes, first.digest)) return bytes;
    } catch (error) {
      throw new FailedPreconditionError(`its file cannot be read: ${messageOf(error)}`, { cause: error });
    }
    throw new FailedPreconditionError(`its file has not the digest ${first.digest}: pull the artifact again`);
  }

  /**
   * By id: takes all names. By name: takes that one. What no name is left for is deleted.
   *
   * @throws FailedPreconditionError while a container has it as a volume, or when it is in a read-only store
   */
  async remove(artifact: Artifact, meanings: readonly string[]): Promise<void> {
    const { id, digest, indexDigests, names, readOnly } = artifact;
    const digests: readonly string[] = [digest, ...indexDigests];
    if (readOnly) {
      throw new FailedPreconditionError(`artifact ${id} is in ${artifact.root}, an additional store that is only read`);
    }
    const meant = names.filter((name) => meanings.includes(name));
    const goes = meant.length === 0 || meant.length === names.length;
    if (goes && this.deps.inUse(id)) {
      throw new FailedPreconditionError(`artifact ${id} is a volume of a container: remove the container first`);
    }
    await this.own.remove((entry) => digests.includes(entry.digest) && (goes || meant.includes(entry.name)));
    this.deps.log.info(goes ? "Removed artifact" : "Untagged artifact", { id });
  }

  [Symbol.dispose](): void {
    for (const layout of this.#layouts) layout[Symbol.dispose]();
  }

  /** The manifest of an artifact, or of an index that it was chosen from, for checks of trust. @throws NotFoundError */
  async imageManifest(id: ImageId, digest?: Digest): Promise<Uint8Array> {
    const artifact = await this.find([id]);
    if (artifact === undefined) throw new NotFoundError("artifact", id);
    try {
      return await Deno.readFile(this.#layoutOf(artifact).blob(digest ?? artifact.digest));
    } catch (error) {
      throw new NotFoundError("manifest", digest ?? artifact.digest, { cause: error });
    }
  }

  /** See {@link ArtifactLayout.signatures}. */
  async imageSignatures(id: ImageId, manifest: Digest): Promise<readonly Uint8Array[]> {
    const artifact = await this.find([id]);
    return artifact === undefined ? [] : await this.#layoutOf(artifact).signatures(manifest);
  }

  #layoutOf(artifact: Artifact): ArtifactLayout {
    return this.#layouts.find((layout) => layout.root === artifact.root) ?? this.own;
  }
}

/** Each name's repository with each digest. */
function repoDigestsOf({ names, digest, indexDigests }: Artifact): readonly string[] {
  const repositories = new Set(names.flatMap((name) => {
    try {
      return [parseReference(name).repository];
    } catch {
      return []; // a name of another program
    }
  }));
  return [...repositories].flatMap((name) => [digest, ...indexDigests].map((one) => withDigest(name, one)));
}
