import { DataLossError, messageOf } from "../../base/errors.ts";
import { type Digest, parseDigest, parseImageId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import { matchesDigest, MAX_DOCUMENT_BYTES } from "../distribution/repository.ts";
import { type ArtifactManifest, jsonObject, type Manifest, parseManifest, textsOf } from "../manifest/documents.ts";
import { isObject } from "../manifest/documents.ts";
import { choosePlatform, hostPlatform } from "../manifest/platform.ts";
import type { Artifact } from "./artifact.ts";
import { INDEX_DIGEST, type IndexEntry, REF_NAME } from "./_index.ts";

/** Path of a blob in a layout. */
export function blobPath(root: string, digest: Digest): string {
  return `${root}/blobs/${digest.replace(":", "/")}`;
}

/** A manifest of a layout: immutable, so it is read once. */
interface Document {
  readonly digest: Digest;
  readonly manifest: Manifest;
  readonly annotations: Readonly<Record<string, string>>;
  readonly sizeBytes: number;
}

/** Reads the manifests that an index names, and knows which blobs they need. */
export class ArtifactReader {
  readonly #documents = new Map<string, Document>();
  readonly #bad = new Set<string>();

  constructor(
    private readonly root: string,
    private readonly options: { readonly access: "read-only" | "writable"; readonly log: Logger },
  ) {}

  /** The artifacts, each once with all of its names; container images and what is damaged are left out. */
  async read(entries: readonly IndexEntry[]): Promise<readonly Artifact[]> {
    const found = new Map<string, Artifact>();
    for (const entry of entries) {
      const one = await this.#artifact(entry).catch((error: unknown) => this.#skip(entry, messageOf(error)));
      if (one === undefined) continue;
      const known = found.get(one.id);
      if (known === undefined) found.set(one.id, one);
      else {
        const names = [...new Set([...known.names, ...one.names])];
        const indexDigests = [...new Set([...known.indexDigests, ...one.indexDigests])];
        found.set(one.id, { ...known, names, indexDigests });
      }
    }
    return [...found.values()];
  }

  /** Deletes the blobs that only entries which are gone have named. @returns those that were */
  async removeUnused(before: readonly IndexEntry[], after: readonly IndexEntry[]): Promise<readonly Digest[]> {
    const left = new Set(after.map(({ digest }) => digest));
    const gone = before.filter(({ digest }) => !left.has(digest));
    if (gone.length === 0) return [];
    const needed = await this.#blobs(after);
    // What cannot be read may need any blob: nothing is deleted then.
    if (needed === undefined) return [];
    const unused = [...await this.#blobs(gone) ?? []].filter((digest) => !needed.has(digest));
    for (const digest of unused) await Deno.remove(blobPath(this.root, digest)).catch(() => {});
    for (const { digest } of gone) this.#documents.delete(digest);
    return unused;
  }

  /** Deletes blobs that no entry needs and that were written before that time. @returns how many */
  async removeStrays(entries: readonly IndexEntry[], writtenBeforeMs: number): Promise<number> {
    const needed = await this.#blobs(entries);
    if (needed === undefined) return 0;
    let removed = 0;
    for (const algorithm of ["sha256", "sha512"]) {
      const directory = `${this.root}/blobs/${algorithm}`;
      for (const { name } of await Array.fromAsync(Deno.readDir(directory)).catch(() => [])) {
        if (needed.has(`${algorithm}:${name}` as Digest)) continue;
        const { mtime } = await Deno.lstat(`${directory}/${name}`);
        if ((mtime?.getTime() ?? Infinity) >= writtenBeforeMs) continue;
        await Deno.remove(`${directory}/${name}`);
        removed++;
      }
    }
    return removed;
  }

  async #artifact(entry: IndexEntry): Promise<Artifact | undefined> {
    const top = await this.#document(entry.digest);
    const chosen = top.manifest.kind === "index"
      ? await this.#document(choosePlatform(top.manifest.manifests, await hostPlatform()).digest)
      : top;
    if (chosen.manifest.kind !== "artifact") return this.#skip(entry, "it is no artifact");
    const name = entry.annotations?.[REF_NAME];
    const index = top === chosen ? entry.annotations?.[INDEX_DIGEST] : top.digest;
    return {
      id: parseImageId(chosen.digest.slice(chosen.digest.indexOf(":") + 1)),
      digest: chosen.digest,
      names: name === undefined || name === "" ? [] : [name],
      indexDigests: index === undefined ? [] : [parseDigest(index)],
      manifest: chosen.manifest,
      annotations: chosen.annotations,
      sizeBytes: chosen.sizeBytes + contentBytes(chosen.manifest),
      root: this.root,
      readOnly: this.options.access === "read-only",
    };
  }

  #skip(entry: IndexEntry, reason: string): undefined {
    if (this.#bad.has(entry.digest)) return undefined;
    this.#bad.add(entry.digest);
    this.options.log.warn(`an artifact is left out of the list: ${reason}`, {
      directory: this.root,
      digest: entry.digest.slice(0, 160),
    });
    return undefined;
  }

  async #blobs(entries: readonly IndexEntry[]): Promise<ReadonlySet<Digest> | undefined> {
    const blobs = new Set<Digest>();
    const add = async (text: string): Promise<void> => {
      const { digest, manifest } = await this.#document(text);
      blobs.add(digest);
      if (manifest.kind !== "index") {
        for (const blob of [manifest.config, ...manifest.layers]) {
          blobs.add(blob.digest);
        }
      } else {for (const member of manifest.manifests) {
          if (await this.#isThere(member.digest)) await add(member.digest);
        }}
    };
    try {
      for (const { digest, annotations = {} } of entries) {
        await add(digest);
        const index = annotations[INDEX_DIGEST];
        if (index !== undefined) blobs.add(parseDigest(index));
      }
      return blobs;
    } catch {
      return undefined;
    }
  }

  async #isThere(digest: Digest): Promise<boolean> {
    return await Deno.lstat(blobPath(this.root, digest)).then(() => true, () => false);
  }

  async #document(text: string): Promise<Document> {
    const known = this.#documents.get(text);
    if (known !== undefined) return known;
    const digest = parseDigest(text);
    const path = blobPath(this.root, digest);
    if ((await Deno.stat(path)).size > MAX_DOCUMENT_BYTES) throw new DataLossError(`manifest ${digest} is too long`);
    const bytes = await Deno.readFile(path);
    if (!matchesDigest(bytes, digest)) throw new DataLossError(`manifest ${digest} has another digest`);
    const { annotations } = jsonObject(bytes, "manifest");
    const document = {
      digest,
      manifest: parseManifest(bytes, ""),
      annotations: isObject(annotations) ? textsOf(annotations) : {},
      sizeBytes: bytes.length,
    };
    this.#documents.set(text, document);
    return document;
  }
}

function contentBytes({ config, layers }: ArtifactManifest): number {
  const unique = new Map([config, ...layers].map(({ digest, sizeBytes }) => [digest, sizeBytes]));
  return [...unique.values()].reduce((sum, bytes) => sum + bytes, 0);
}
