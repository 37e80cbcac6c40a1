/** The drop folder: archives that are put there become images, at start and whenever one comes or changes. */
import { sleep } from "../../base/clock.ts";
import { type ErrorKind, FailedPreconditionError, messageOf, PodError } from "../../base/errors.ts";
import type { ImageId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import { abortable } from "../../base/keyed_mutex.ts";
import { Semaphore } from "../../base/semaphore.ts";
import type { StoredImage } from "../../storage/types.ts";
import type { ArchivePlace } from "../archive/archived_image.ts";
import { type ArchiveFile, archiveFiles, DirectoryEvents, look } from "./archive_files.ts";
import { type ArchiveImport, type ImportedImage, joined } from "./archive_import.ts";
import type { ImportRecords } from "./import_records.ts";

/** How far an archive is. */
export interface ArchiveStatus {
  readonly file: string;
  /** `incomplete`: somebody still writes it. `waiting`: others are imported first. */
  readonly state: "incomplete" | "waiting" | "importing" | "imported" | "failed";
  readonly sizeBytes: number;
  readonly pinned: boolean;
  readonly images: readonly ImportedImage[];
  readonly error?: string;
}

/** An archive outside of the folder that the configuration names: imported at start, pinned. */
export interface FixedArchive {
  readonly place: ArchivePlace;
  readonly label?: string;
}

export interface DropFolderOptions {
  readonly directory: string;
  readonly fixed?: readonly FixedArchive[];
  /** What failed for a reason that may pass is tried again after this. Default 30,000. */
  readonly retryMs?: number;
}

export interface DropFolderDeps {
  readonly archives: Pick<ArchiveImport, "all">;
  readonly records: ImportRecords;
  readonly store: { findImage(reference: string, options: { signal?: AbortSignal }): Promise<StoredImage | undefined> };
  readonly log: Logger;
}

interface Entry {
  file: ArchiveFile;
  readonly place: ArchivePlace;
  readonly fixed?: FixedArchive;
  readonly pinned: boolean;
  state: ArchiveStatus["state"];
  images: readonly ImportedImage[];
  error?: string;
  /** Trying again may help, from then on; of performance.now(). */
  retryAtMs?: number;
}

/** Archives that are imported at a time: one large one does not keep the small ones waiting. */
const PARALLEL = 2;
/** A file that is being written is looked at again after this, for file systems that tell of no end. */
const WRITING_MS = 2500;
/** What failed for a reason that may pass is tried again after this, and so is the watch. */
const RETRY_MS = 30_000;
const OTHERS_WRITE = 0o022;

/** See the module comment. Life: `load`, then `run` until the signal aborts. */
export class DropFolder {
  readonly #entries = new Map<string, Entry>();
  readonly #places = new Semaphore(PARALLEL);
  readonly #running = new Set<Promise<void>>();
  /** Resolves, and is replaced, whenever an entry changes. */
  #change = Promise.withResolvers<void>();
  #wasScanned = false;
  #problem = "";
  #events: DirectoryEvents | undefined;
  #signal = AbortSignal.abort();

  constructor(private readonly options: DropFolderOptions, private readonly deps: DropFolderDeps) {}

  /** What is known from before. Until the folder was looked at, its pins count. */
  async load(): Promise<void> {
    await this.deps.records.load();
  }

  /** Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#watch(signal);
      } catch (error) {
        if (signal.aborted) break;
        this.#report(messageOf(error));
        await sleep(RETRY_MS, { signal }).catch(() => {});
      }
    }
    await Promise.allSettled(this.#running);
  }

  list(): readonly ArchiveStatus[] {
    return [...this.#entries].map(([name, { file, state, pinned, images, error }]) => ({
      file: name,
      state,
      sizeBytes: file.sizeBytes,
      pinned,
      images,
      ...(error === undefined ? {} : { error }),
    }));
  }

  /** Why the folder as a whole cannot be used; empty: it can. */
  get problem(): string {
    return this.#problem;
  }

  /** Whether an archive that is there pins the image. */
  isPinned(id: ImageId): boolean {
    const has = (images: readonly ImportedImage[]): boolean => images.some((image) => image.id === id);
    for (const { pinned, images } of this.#entries.values()) if (pinned && has(images)) return true;
    if (this.#wasScanned) return false;
    for (const [name, { images }] of this.deps.records.entries()) if (asksForPin(name) && has(images)) return true;
    return false;
  }

  /**
   * The image that an archive has under one of these names. Waits for archives that are being read, and brings an image
   * back that was removed.
   */
  async provide(names: readonly string[], { signal }: { readonly signal: AbortSignal }): Promise<ImageId | undefined> {
    for (let tries = 0;; tries++) {
      const { promise: changed } = this.#change;
      const found = await this.#find(names, signal);
      if (found !== undefined) return found;
      const source = tries > 0 ? undefined : [...this.#entries].find(([, entry]) => isSource(entry, names));
      if (source !== undefined) this.#start(source[0], { entry: source[1], mode: "missing" });
      if ((this.#wasScanned || this.#problem !== "") && ![...this.#entries.values()].some(isUnderWay)) return undefined;
      await abortable(changed, signal);
    }
  }

  async #find(names: readonly string[], signal: AbortSignal): Promise<ImageId | undefined> {
    const ours = new Set([...this.#entries.values()].flatMap(({ images }) => images.map(({ id }) => id)));
    for (const name of names) {
      const stored = await this.deps.store.findImage(name, { signal });
      if (stored !== undefined && ours.has(stored.id)) return stored.id;
    }
    return undefined;
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { directory } = this.options;
    this.#signal = signal;
    await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
    await using events = new DirectoryEvents(directory);
    this.#events = events;
    while (events.isOpen) {
      await this.#scan();
      const entries = [...this.#entries.values()];
      const isWriting = entries.some(({ state }) => state === "incomplete");
      const retryAtMs = Math.min(...entries.map((entry) => entry.retryAtMs ?? Infinity));
      const waitMs = Math.min(isWriting ? WRITING_MS : Infinity, Math.max(0, retryAtMs - performance.now()));
      const timeoutMs = waitMs === Infinity ? undefined : waitMs;
      await events.next({ signal, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
    }
  }

  /** Compares what is there with what is known, and starts imports; it does not wait for them. */
  async #scan(): Promise<void> {
    const { directory, fixed = [] } = this.options;
    await refuseOpenDirectory(directory);
    const seen = new Map<string, { file: ArchiveFile; place: ArchivePlace; fixed?: FixedArchive }>();
    for (const file of await archiveFiles(directory)) {
      const path = `${directory}/${file.name}`;
      if (file.isLayout === true) this.#events?.addLayout(path);
      seen.set(file.name, { file, place: { path } });
    }
    for (const one of fixed) {
      const name = `${one.place.transport}:${one.place.path}`;
      const file = await look(one.place.path, name);
      if (file !== undefined) seen.set(name, { file, place: one.place, fixed: one });
      else if (!this.#wasScanned) {
        this.deps.log.error("An image archive that crio.conf names is not there", { file: name });
      }
    }
    for (const [name, entry] of this.#entries) if (!seen.has(name) && !isUnderWay(entry)) this.#entries.delete(name);
    const isNew = [...seen].filter(([name, { file }]) => this.#isNews(name, file));
    // Pinned ones first, then small ones: a pod that starts a node is not kept waiting by a large one.
    isNew.sort(([a, { file: first }], [b, { file: second }]) =>
      Number(asksForPin(b)) - Number(asksForPin(a)) || first.sizeBytes - second.sizeBytes
    );
    for (const [name, found] of isNew) await this.#take(name, found);
    await this.deps.records.keepOnly(new Set(seen.keys()));
    this.#wasScanned = true;
    this.#problem = "";
    this.#changed();
  }

  #isNews(name: string, file: ArchiveFile): boolean {
    const entry = this.#entries.get(name);
    if (entry === undefined) return true;
    if (isUnderWay(entry)) return false; // it is looked at again when that has ended
    return entry.file.stamp !== file.stamp || entry.state === "incomplete" ||
      (entry.retryAtMs ?? Infinity) <= performance.now();
  }

  async #take(
    name: string,
    found: { readonly file: ArchiveFile; readonly place: ArchivePlace; readonly fixed?: FixedArchive },
  ): Promise<void> {
    const pinned = asksForPin(name) || found.fixed !== undefined;
    const known = this.deps.records.get(name);
    const before = this.#entries.get(name);
    const entry: Entry = { ...found, pinned, state: "waiting", images: [] };
    this.#entries.set(name, entry);
    if (found.file.state === "incomplete") entry.state = "incomplete";
    else if (found.file.state === "refused") {
      this.#failed(name, entry, new FailedPreconditionError(found.file.reason ?? ""));
    } else if (known?.stamp !== found.file.stamp) this.#start(name, { entry, mode: "all", lastError: before?.error });
    else {
      entry.images = known.images;
      if (await this.#isComplete(known.images)) entry.state = "imported";
      else this.#start(name, { entry, mode: "missing", lastError: before?.error });
    }
  }

  /** Whether nothing is missing: each image is there, or its names belong to later ones. */
  async #isComplete(images: readonly ImportedImage[]): Promise<boolean> {
    const options = { signal: this.#signal };
    for (const { id, names } of images) {
      if (await this.deps.store.findImage(id, options) !== undefined) continue;
      const holders = await Promise.all(names.map((name) => this.deps.store.findImage(name, options)));
      if (names.length === 0 || holders.some((holder) => holder === undefined)) return false;
    }
    return true;
  }

  #start(
    name: string,
    work: { readonly entry: Entry; readonly mode: "all" | "missing"; readonly lastError?: string | undefined },
  ): void {
    work.entry.state = "waiting";
    const running = this.#import(name, work).finally(() => {
      this.#running.delete(running);
      this.#changed();
      this.#events?.touch();
    });
    this.#running.add(running);
  }

  async #import(
    name: string,
    { entry, mode, lastError }: { entry: Entry; mode: "all" | "missing"; lastError?: string | undefined },
  ): Promise<void> {
    const signal = this.#signal;
    const { label } = entry.fixed ?? {};
    try {
      using _place = await this.#places.acquire({ signal });
      entry.state = "importing";
      const nameless = entry.fixed === undefined ? "refused" as const : "taken" as const;
      const only = label === undefined ? {} : { label };
      const { images, failures } = await this.deps.archives.all(entry.place, { signal, mode, nameless, ...only });
      entry.images = images;
      // Where images come from counts for the policy, of an archive that is good in part too; that one is read again.
      const stamp = failures.length > 0 ? "" : entry.file.stamp;
      if (stamp !== "" || images.length > 0) await this.deps.records.set(name, { stamp, images });
      if (failures.length > 0) return this.#failed(name, entry, failures, lastError);
      delete entry.error;
      delete entry.retryAtMs;
      entry.state = "imported";
      const shown = images.flatMap(({ names }) => names).join(", ");
      this.deps.log.info("Imported image archive", { file: entry.place.path, images: shown, pinned: entry.pinned });
    } catch (error) {
      if (!signal.aborted) this.#failed(name, entry, error, lastError);
    }
  }

  #failed(name: string, entry: Entry, failure: unknown, lastError?: string): void {
    const failures: readonly unknown[] = Array.isArray(failure) ? failure : [failure];
    entry.state = "failed";
    entry.error = joined(failures);
    if (failures.some((error) => error instanceof PodError && TRANSIENT.has(error.kind))) {
      entry.retryAtMs = performance.now() + (this.options.retryMs ?? RETRY_MS);
    }
    if (entry.error === lastError) return;
    this.deps.log.error(`Image archive cannot be imported: ${entry.error}`, { file: name });
  }

  #report(problem: string): void {
    if (problem !== this.#problem) {
      this.deps.log.error(`Drop folder for images: ${problem}`, { directory: this.options.directory });
    }
    this.#problem = problem;
    this.#changed();
  }

  #changed(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }
}

const TRANSIENT: ReadonlySet<ErrorKind> = new Set(["unavailable", "resource_exhausted"]);

/** `base.pinned.tar.zst`, or a layout `base.pinned`. */
function asksForPin(name: string): boolean {
  return /\.pinned(?:\.|$)/.test(name);
}

function isUnderWay({ state }: Entry): boolean {
  return state === "waiting" || state === "importing";
}

function isSource(entry: Entry, wanted: readonly string[]): boolean {
  return (entry.state === "imported" || entry.state === "failed") &&
    entry.images.some(({ names }) => names.some((name) => wanted.includes(name)));
}

/** Whoever may write there may bring images: that has to be root alone. */
async function refuseOpenDirectory(directory: string): Promise<void> {
  const { mode, uid } = await Deno.stat(directory);
  if (((mode ?? 0) & OTHERS_WRITE) === 0 && (uid === 0 || uid === Deno.uid())) return;
  throw new FailedPreconditionError(
    `${directory} can be written by others than root, who could bring any image: chown root and chmod go-w it`,
  );
}
