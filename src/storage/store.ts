import { lowerDirectories } from "./_overlay.ts";
import { NotFoundError } from "../base/errors.ts";
import { type Digest, type HostPath, type ImageId, parseHostPath } from "../base/ids.ts";
import type { CheckReport, RepairReport } from "./check_types.ts";
import { commitImage } from "./_commit.ts";
import { createContainer, deleteContainer, describeContainer } from "./_containers.ts";
import { ImageCatalog, MANIFEST_KEY } from "./_images.ts";
import { openAdditional } from "./_additional.ts";
import { findChain, type Index, openArea, openIndex } from "./_index.ts";
import { Layout } from "./layout.ts";
import { mountContainer, mountImage, mountImageMapped, unmountContainer, unmountImage } from "./_mounts.ts";
import { prepareRoots } from "./_open.ts";
import { number, text } from "./_records.ts";
import { addNames, removeNames } from "./_image_names.ts";
import { deleteImage } from "./_removal.ts";
import { Stage } from "./_stage.ts";
import { sweep } from "./_sweep.ts";
import { codeOf } from "./_trees.ts";
import type {
  ContainerCreation,
  FilesystemUsage,
  ImageCommit,
  LayerStage,
  MappedMount,
  PresentLayer,
  StoredContainer,
  StoredImage,
  StoreOptions,
  SweepReport,
  Usage,
} from "./types.ts";
import { UsageMeter } from "./usage_meter.ts";

interface Waiting {
  readonly signal?: AbortSignal;
}

/**
 * A containers/storage overlay store, shared with podman, buildah, skopeo and CRI-O: their locks are honoured, their
 * writes are seen, and what they put into records is kept.
 *
 * Life cycle: `open` prepares directories and sweeps what crashes left; `[Symbol.asyncDispose]` waits for deletions in
 * the background and closes the lock files; mounts of containers stay. Methods may run at the same time; every one that
 * writes waits for locks, which `signal` ends.
 */
export class Store implements AsyncDisposable {
  /** What `open` found and put right. */
  readonly swept: SweepReport;
  private readonly meter: UsageMeter;
  readonly #catalog: ImageCatalog;
  readonly #held: AsyncDisposableStack;

  private constructor(
    private readonly options: StoreOptions,
    private readonly index: Index,
    private readonly session: Stage,
    opened: { readonly meter: UsageMeter; readonly swept: SweepReport; readonly held: AsyncDisposableStack },
  ) {
    this.#catalog = new ImageCatalog(index);
    this.meter = opened.meter;
    this.swept = opened.swept;
    this.#held = opened.held;
  }

  /**
   * @throws InvalidArgumentError for unusable roots; FailedPreconditionError when another driver's store is there;
   *   DataLossError for a damaged index, naming the file
   */
  static async open(options: StoreOptions, waiting: Waiting = {}): Promise<Store> {
    const { logger } = options;
    const layout = new Layout(options.graphRoot, options.runRoot, options.imageStore);
    await prepareRoots(layout, { logger, ...waiting });
    await using stack = new AsyncDisposableStack();
    const own = await openArea(stack, layout.own, logger);
    const imageArea = layout.forImages === layout.own ? own : await openArea(stack, layout.forImages, logger);
    const additional = (options.additionalStores ?? []).map((path) => openAdditional(path, logger));
    const meter = stack.use(new UsageMeter(logger));
    const index = openIndex(layout, { own, imageArea, additional, logger });
    stack.defer(() => index[Symbol.dispose]());
    const swept = await sweep(index, waiting);
    if (Object.values(swept).some((count) => count > 0)) {
      logger.info("removed what an unclean stop left in the store", { ...swept });
    }
    return new Store(options, index, own.session, { meter, swept, held: stack.move() });
  }

  /** All images; from memory while no other program writes. */
  images(options: Waiting = {}): Promise<readonly StoredImage[]> {
    return this.#catalog.list(options);
  }

  /**
   * @param reference an id, a unique id prefix of at least 3 digits, a full name (`docker.io/library/x:tag`), or
   *   `repository@digest` (also with a tag, which is passed over)
   */
  findImage(reference: string, options: Waiting = {}): Promise<StoredImage | undefined> {
    return this.#catalog.find(reference, options);
  }

  /** @throws NotFoundError for an unknown image; DataLossError when the file is gone */
  imageConfig(id: ImageId): Promise<Uint8Array> {
    return this.#catalog.bigData(id, `sha256:${id}`);
  }

  /** The platform's manifest, or the one with this digest. Throws like {@link imageConfig}. */
  imageManifest(id: ImageId, digest?: Digest): Promise<Uint8Array> {
    return this.#catalog.bigData(id, digest === undefined ? MANIFEST_KEY : `${MANIFEST_KEY}-${digest}`);
  }

  /** Signatures of a manifest of the image, in the form of containers/image. Throws like {@link imageConfig}. */
  imageSignatures(id: ImageId, manifest: Digest): Promise<readonly Uint8Array[]> {
    return this.#catalog.signatures(id, manifest);
  }

  /** The leading layers of a chain of diff IDs (base first) that are here already and need no download. */
  async presentLayers(chain: readonly Digest[], options: Waiting = {}): Promise<readonly PresentLayer[]> {
    const { homes, places } = this.index;
    const found = await findChain(await homes.layers(options), chain);
    const exist = await Promise.all(found.map(async ({ id }) => await this.#exists(`${await places.layer(id)}/diff`)));
    const lost = exist.findIndex((there) => !there);
    return lost === -1 ? found : found.slice(0, lost);
  }

  /** Room for one pull, on the store's own file system. */
  stage(): Promise<LayerStage> {
    return Stage.create(this.index.imageArea.root);
  }

  /**
   * Makes an image out of staged and present layers, all or nothing. An image with this id that is there already gets
   * the names and manifests in addition.
   *
   * @throws DataLossError when configuration, manifest and layers do not fit; FailedPreconditionError when a layer
   *   that was present has gone
   */
  commitImage(commit: ImageCommit, options: Waiting = {}): Promise<ImageId> {
    return commitImage(this.index, commit, options);
  }

  /** Gives names to an image, taking them from any other. @throws NotFoundError */
  addNames(id: ImageId, names: readonly string[], options: Waiting = {}): Promise<void> {
    return addNames(this.index, id, { ...options, names });
  }

  /** Takes names away; the image stays. @throws NotFoundError */
  removeNames(id: ImageId, names: readonly string[], options: Waiting = {}): Promise<void> {
    return removeNames(this.index, id, { ...options, names });
  }

  /** @throws NotFoundError; FailedPreconditionError while a container uses the image or it is mounted */
  deleteImage(id: ImageId, options: Waiting = {}): Promise<void> {
    return deleteImage(this.index, id, { ...options, session: this.session });
  }

  /** Containers of this and other programs. */
  async containers(options: Waiting = {}): Promise<readonly StoredContainer[]> {
    return [...(await this.index.containers.read(options)).values()].map(describeContainer);
  }

  /** @throws AlreadyExistsError for a taken id or name; NotFoundError when the image is not there */
  createContainer(creation: ContainerCreation, options: Waiting = {}): Promise<StoredContainer> {
    const lasting = this.options.volatile === false ? { volatile: false } : {};
    return createContainer(this.index, { ...creation, ...lasting }, { ...options, session: this.session });
  }

  /** Mounts the root file system, or counts one more user of the mount. @throws NotFoundError */
  async mountContainer(id: string, options: Waiting & MappedMount = {}): Promise<HostPath> {
    const { mountOptions = [], mapsIds = true } = this.options;
    return parseHostPath(await mountContainer(this.index, id, { ...options, mountOptions, mapsIds }));
  }

  /**
   * Counts one user less; the last one unmounts. Succeeds when nothing is mounted.
   *
   * @param options.force unmounts whatever the count, even a busy mount
   * @returns whether it is unmounted now
   */
  unmountContainer(id: string, options: Waiting & { readonly force?: boolean } = {}): Promise<boolean> {
    return unmountContainer(this.index, id, options);
  }

  /** Unmounts and deletes; succeeds when there is no such container. Idempotent. */
  async deleteContainer(id: string, options: Waiting = {}): Promise<void> {
    await deleteContainer(this.index, id, options);
  }

  /** Mounts an image read-only and gives the path; counted like a container's mount. @throws NotFoundError */
  async mountImage(id: ImageId, options: Waiting = {}): Promise<HostPath> {
    const mountOptions = (this.options.mountOptions ?? []).filter((option) => option !== "volatile");
    return parseHostPath(await mountImage(this.index, id, { ...options, mountOptions }));
  }

  /**
   * Mounts an image that is mounted already once more, read-only on `target`, with owners as a user namespace has them.
   *
   * @returns false when its file system cannot show mapped ids: owners are then those of the node
   */
  async mountImageMapped(
    id: ImageId,
    options: Waiting & { readonly target: string; readonly userNamespace: string },
  ): Promise<boolean> {
    const mountOptions = (this.options.mountOptions ?? []).filter((option) => option !== "volatile");
    return await mountImageMapped(this.index, id, { ...options, mountOptions });
  }

  /** The counterpart of {@link mountImage}; see {@link unmountContainer}. */
  unmountImage(id: ImageId, options: Waiting & { readonly force?: boolean } = {}): Promise<boolean> {
    return unmountImage(this.index, id, options);
  }

  /** Persistent directory of a container for its maker's files. */
  containerDirectory(id: string): HostPath {
    return parseHostPath(`${this.index.layout.container(id)}/userdata`);
  }

  /** Volatile directory of a container. */
  containerRunDirectory(id: string): HostPath {
    return parseHostPath(`${this.index.layout.containerRun(id)}/userdata`);
  }

  /** Where a container's root file system is mounted when it is. @throws NotFoundError */
  async mountPoint(containerId: string): Promise<string> {
    const { upper } = await this.layerDirectories(containerId);
    return upper.replace(/diff$/, "merged");
  }

  /** Of a container: its writable layer, and what that stands on, the upper ones first. @throws NotFoundError */
  async layerDirectories(containerId: string): Promise<{ readonly upper: string; readonly lowers: readonly string[] }> {
    const container = (await this.index.containers.read()).get(containerId);
    const layerId = container === undefined ? undefined : text(container, "layer");
    if (layerId === undefined) throw new NotFoundError("container", containerId);
    const { layout } = this.index;
    const upper = `${layout.layer(layerId)}/diff`;
    return { upper, lowers: await lowerDirectories(this.index.places, layerId) };
  }

  /** What the writable layer takes on disk, at most about ten seconds old. @throws NotFoundError */
  async layerUsage(containerId: string): Promise<Usage> {
    const container = (await this.index.containers.read()).get(containerId);
    const layerId = container === undefined ? undefined : text(container, "layer");
    if (layerId === undefined) throw new NotFoundError("container", containerId);
    return await this.meter.measure(`${this.index.layout.layer(layerId)}/diff`);
  }

  /**
   * What the images take: sizes as recorded, inodes as measured in the background (a layer that is not measured yet
   * counts as none).
   */
  async imageFilesystem(): Promise<FilesystemUsage> {
    const { layout, places } = this.index;
    let usedBytes = 0;
    let inodesUsed = 0;
    const paths = new Set<string>();
    for (const [id, layer] of await this.index.layers.read()) {
      const path = `${await places.layer(id)}/diff`;
      paths.add(path);
      const sizeBytes = number(layer, "diff-size");
      if (sizeBytes === undefined) continue;
      usedBytes += Math.max(0, sizeBytes);
      inodesUsed += this.meter.peek(path)?.inodes ?? 0;
    }
    this.meter.retain(paths);
    return { path: parseHostPath(layout.images), usedBytes, inodesUsed, ...await this.#containerFilesystem() };
  }

  /** Where there is an image store, containers are on another file system than images. */
  async #containerFilesystem(): Promise<Pick<FilesystemUsage, "containers">> {
    const { layout } = this.index;
    if (layout.own === layout.forImages) return {};
    const { bytes, inodes } = await this.meter.measure(layout.overlay);
    return { containers: { path: parseHostPath(layout.containers), usedBytes: bytes, inodesUsed: inodes } };
  }

  /** Puts right what {@link checkStore} found; see `_repair.ts`. Damaged containers stay unless that is asked for. */
  async repair(
    report: CheckReport,
    options: Waiting & { readonly removeContainers?: boolean } = {},
  ): Promise<RepairReport> {
    const { removeContainers = false } = options;
    const { repair } = await import("./_repair.ts");
    return await repair(this.index, report, { ...options, removeContainers, session: this.session });
  }

  /** Waits until everything that was deleted is off the disk. */
  async settle(): Promise<void> {
    await this.index.trash.settle();
    await this.index.imageArea.trash.settle();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held.disposeAsync();
  }

  async #exists(path: string): Promise<boolean> {
    try {
      return (await Deno.lstat(path)).isDirectory;
    } catch (error) {
      if (codeOf(error) === "ENOENT") return false;
      throw error;
    }
  }
}
