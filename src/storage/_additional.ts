import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { checkRoot } from "./layout.ts";
import { type RawRecord, readRecords } from "./_records.ts";
import { codeOf } from "./_trees.ts";

/** Records that can be read. */
export interface Records {
  read(options?: { readonly signal?: AbortSignal }): Promise<ReadonlyMap<string, RawRecord>>;
}

/** A read-only image store: made by podman, skopeo or another CRI-O, perhaps on another machine. Never written. */
export interface AdditionalStore {
  readonly root: string;
  /** Directory of the images' documents. */
  readonly images: string;
  readonly imageRecords: Records;
  readonly layerRecords: Records;
}

/** @throws InvalidArgumentError for a root that cannot stand in mount options */
export function openAdditional(root: string, logger: Logger): AdditionalStore {
  checkRoot("additional image store", root);
  const images = `${root}/overlay-images`;
  const layers = `${root}/overlay-layers`;
  return {
    root,
    images,
    imageRecords: new FrozenRecords([`${images}/images.json`], logger),
    layerRecords: new FrozenRecords([`${layers}/layers.json`, `${layers}/volatile-layers.json`], logger),
  };
}

interface Known {
  readonly stamp: string;
  readonly records: ReadonlyMap<string, RawRecord>;
}

/**
 * Record files that others write, if anybody does. No lock is taken: the place may be read-only, and files are replaced
 * whole. They are read again when their inode, size or time changed. What is missing or damaged counts as empty, and is
 * told once: a share that is away must not take the node's own images along.
 */
class FrozenRecords implements Records {
  #known: Known | undefined;
  #told = "";

  constructor(private readonly paths: readonly string[], private readonly logger: Logger) {}

  async read(options: { readonly signal?: AbortSignal } = {}): Promise<ReadonlyMap<string, RawRecord>> {
    options.signal?.throwIfAborted();
    try {
      const stamp = (await Promise.all(this.paths.map(stampOf))).join(" ");
      if (this.#known?.stamp === stamp) return this.#known.records;
      const lists = await Promise.all(this.paths.map(readRecords));
      const records = new Map(lists.flat().map((record) => [record["id"] as string, record]));
      this.#known = { stamp, records };
      if (stamp.startsWith("-")) this.#tell("there are no records");
      return records;
    } catch (error) {
      this.#tell(messageOf(error));
      return this.#known?.records ?? NONE;
    }
  }

  #tell(reason: string): void {
    if (this.#told === reason) return;
    this.#told = reason;
    this.logger.warn("an additional image store cannot be read now", { path: this.paths[0], reason });
  }
}

const NONE: ReadonlyMap<string, RawRecord> = new Map();

async function stampOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtime } = await Deno.stat(path);
    return `${dev}:${ino}:${size}:${mtime?.getTime()}`;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return "-";
    throw error;
  }
}
