/**
 * A store of artifacts: an OCI image layout (image-layout.md), as CRI-O's and podman's is, with podman's lock file.
 *
 * @module
 */
import { DataLossError, FailedPreconditionError, messageOf } from "../../base/errors.ts";
import { type Digest, type ImageId, parseImageId, randomHex } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import { Semaphore } from "../../base/semaphore.ts";
import { syncDirectory, writeFileAtomic } from "../../linux/atomic_file.ts";
import { RecordLockFile } from "../../linux/record_lock.ts";
import type { Descriptor } from "../manifest/documents.ts";
import { OCI_MANIFEST } from "../manifest/documents.ts";
import type { Artifact } from "./artifact.ts";
import { INDEX_DIGEST, type IndexEntry, parseIndex, REF_NAME, renderIndex } from "./_index.ts";
import { ArtifactReader, blobPath } from "./_reader.ts";

/** What makes an artifact out of blobs. */
export interface ArtifactCommit {
  readonly name: string;
  readonly manifest: { readonly digest: Digest; readonly bytes: Uint8Array };
  readonly index?: { readonly digest: Digest; readonly bytes: Uint8Array };
  readonly config: { readonly digest: Digest; readonly bytes: Uint8Array };
  readonly layers: readonly Descriptor[];
  /** Of the manifest, in c/image's form. */
  readonly signatures: readonly Uint8Array[];
  /** Files that become blobs. */
  readonly staged: ReadonlyMap<Digest, string>;
}

const FILE_MODE = 0o644;
const STAGING = ".crio-staging";
const STRAY_MS = 24 * 3_600_000;
const SIGNATURES = ".crio-signatures";

/** One layout. Reading a read-only one takes no lock: nobody writes it. */
export class ArtifactLayout implements Disposable {
  readonly #reader: ArtifactReader;
  readonly #queue = new Semaphore(1);
  #lock: RecordLockFile | undefined;
  #known: { readonly stamp: string; readonly artifacts: readonly Artifact[] } | undefined;

  constructor(
    readonly root: string,
    private readonly options: { readonly access: "read-only" | "writable"; readonly log: Logger },
  ) {
    this.#reader = new ArtifactReader(root, options);
  }

  /** What is in it; read again only when somebody has changed the index. */
  async list(): Promise<readonly Artifact[]> {
    const stamp = await this.#stamp();
    if (stamp === undefined) return [];
    if (this.#known?.stamp === stamp) return this.#known.artifacts;
    try {
      const artifacts = await this.#reader.read(await this.#entries());
      this.#known = { stamp, artifacts };
      return artifacts;
    } catch (error) {
      this.options.log.warn(`artifacts cannot be listed: ${messageOf(error)}`, { directory: this.root });
      return this.#known?.artifacts ?? [];
    }
  }

  /** Those of the blobs that are not there, each once. */
  async missing(blobs: readonly Descriptor[]): Promise<readonly Descriptor[]> {
    const unique = [...new Map(blobs.map((blob) => [blob.digest, blob])).values()];
    const there = await Promise.all(unique.map((blob) => this.#has(blob)));
    return unique.filter((_, i) => !there[i]);
  }

  /** A directory for blobs that are on their way; disposing removes what is in it. */
  async stage(): Promise<{ readonly directory: string } & AsyncDisposable> {
    const directory = `${this.root}/${STAGING}/${randomHex(8)}`;
    await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
    return {
      directory,
      [Symbol.asyncDispose]: async (): Promise<void> => await Deno.remove(directory, { recursive: true }),
    };
  }

  /**
   * Removes what a crash left: on its way, or as blobs that nothing names and nobody has written for a day (podman writes
   * blobs before it takes the lock). Before the first pull only.
   */
  async sweep(): Promise<void> {
    await Deno.remove(`${this.root}/${STAGING}`, { recursive: true }).catch(() => {});
    if (await this.#stamp() === undefined) return;
    using _lock = await this.#acquire();
    const removed = await this.#reader.removeStrays(await this.#entries(), Date.now() - STRAY_MS);
    if (removed > 0) this.options.log.info("Removed blobs of artifacts that nothing names", { blobs: removed });
  }

  /**
   * Records an artifact under a name, which is taken from whatever has it.
   *
   * @throws FailedPreconditionError when a blob that was there has gone meanwhile
   */
  async commit(commit: ArtifactCommit): Promise<ImageId> {
    const { manifest, index, config, staged, name } = commit;
    using _lock = await this.#acquire();
    await this.#putBlobs(commit);
    for (const document of [config, manifest, ...(index === undefined ? [] : [index])]) {
      await this.#putDocument(document);
    }
    await this.#putSignatures(commit);
    const entry: IndexEntry = {
      mediaType: OCI_MANIFEST,
      digest: manifest.digest,
      size: manifest.bytes.length,
      annotations: { [REF_NAME]: name, ...(index === undefined ? {} : { [INDEX_DIGEST]: index.digest }) },
    };
    await this.#write((entries) => [...entries.filter((one) => one.annotations?.[REF_NAME] !== name), entry]);
    this.options.log.debug("Stored an artifact", { name, digest: manifest.digest, blobs: staged.size });
    return parseImageId(manifest.digest.slice(manifest.digest.indexOf(":") + 1));
  }

  /** Takes entries out of the index, and blobs that nothing names any more. */
  async remove(isMeant: (entry: { readonly name: string; readonly digest: string }) => boolean): Promise<void> {
    using _lock = await this.#acquire();
    await this.#write((entries) =>
      entries.filter(({ annotations = {}, digest }) => !isMeant({ name: annotations[REF_NAME] ?? "", digest }))
    );
  }

  /** What was found of signatures when it was pulled; empty for what other programs put here. */
  async signatures(manifest: Digest): Promise<readonly Uint8Array[]> {
    try {
      const list: unknown = JSON.parse(await Deno.readTextFile(this.#signatureFile(manifest)));
      return Array.isArray(list) ? list.map((one) => Uint8Array.fromBase64(String(one))) : [];
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw new DataLossError(`the signatures of artifact ${manifest} are damaged: pull it again`, { cause: error });
    }
  }

  /** Path of a blob. */
  blob(digest: Digest): string {
    return blobPath(this.root, digest);
  }

  [Symbol.dispose](): void {
    this.#lock?.[Symbol.dispose]();
  }

  async #has({ digest, sizeBytes }: Descriptor): Promise<boolean> {
    try {
      const { isFile, size } = await Deno.lstat(this.blob(digest));
      return isFile && size === sizeBytes;
    } catch {
      return false;
    }
  }

  async #putBlobs({ staged, layers }: ArtifactCommit): Promise<void> {
    for (const algorithm of ["sha256", "sha512"]) {
      await Deno.mkdir(`${this.root}/blobs/${algorithm}`, { recursive: true, mode: 0o755 });
    }
    for (const [digest, path] of staged) await Deno.rename(path, this.blob(digest));
    for (const algorithm of ["sha256", "sha512"]) await syncDirectory(`${this.root}/blobs/${algorithm}`);
    const [gone] = await this.missing(layers);
    if (gone === undefined) return;
    throw new FailedPreconditionError(
      `blob ${gone.digest} was there and is gone: somebody removed an artifact meanwhile`,
    );
  }

  async #putDocument({ digest, bytes }: { readonly digest: Digest; readonly bytes: Uint8Array }): Promise<void> {
    await writeFileAtomic(this.blob(digest), bytes, { mode: FILE_MODE });
  }

  /** Beside the layout: it has no place of its own for them. */
  async #putSignatures({ manifest, signatures }: ArtifactCommit): Promise<void> {
    const path = this.#signatureFile(manifest.digest);
    if (signatures.length === 0) return await Deno.remove(path).catch(() => {});
    await Deno.mkdir(`${this.root}/${SIGNATURES}`, { recursive: true, mode: 0o755 });
    const text = JSON.stringify(signatures.map((one) => one.toBase64()));
    await writeFileAtomic(path, new TextEncoder().encode(text), { mode: FILE_MODE });
  }

  #signatureFile(manifest: Digest): string {
    return `${this.root}/${SIGNATURES}/${manifest.replace(":", "-")}.json`;
  }

  async #write(change: (entries: readonly IndexEntry[]) => readonly IndexEntry[]): Promise<void> {
    const before = await this.#entries();
    const after = change(before);
    const layout = `${this.root}/oci-layout`;
    const text = (path: string, content: string): Promise<void> =>
      writeFileAtomic(path, new TextEncoder().encode(content), { mode: FILE_MODE });
    await Deno.lstat(layout).catch(() => text(layout, '{"imageLayoutVersion":"1.0.0"}'));
    await text(`${this.root}/index.json`, renderIndex(after));
    this.#known = undefined;
    for (const digest of await this.#reader.removeUnused(before, after)) {
      await Deno.remove(this.#signatureFile(digest)).catch(() => {});
    }
  }

  async #entries(): Promise<readonly IndexEntry[]> {
    try {
      return parseIndex(await Deno.readFile(`${this.root}/index.json`));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  async #stamp(): Promise<string | undefined> {
    try {
      const { ino, size, mtime } = await Deno.stat(`${this.root}/index.json`);
      return `${ino} ${size} ${mtime?.getTime()}`;
    } catch {
      return undefined;
    }
  }

  /** Other programs by the lock file, this one by a queue. */
  async #acquire(): Promise<Disposable> {
    const permit = await this.#queue.acquire();
    try {
      await Deno.mkdir(this.root, { recursive: true, mode: 0o700 });
      const lock = this.#lock ??= RecordLockFile.open(`${this.root}/index.lock`);
      await lock.lock("write");
      return {
        [Symbol.dispose]: (): void => {
          lock.unlock();
          permit[Symbol.dispose]();
        },
      };
    } catch (error) {
      permit[Symbol.dispose]();
      throw error;
    }
  }
}
