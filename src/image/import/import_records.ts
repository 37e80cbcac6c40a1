/** What was imported from which file, over restarts: a file that is known is not read again. */
import { messageOf } from "../../base/errors.ts";
import { type ImageId, parseImageId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import { writeFileAtomic } from "../../linux/atomic_file.ts";
import { isObject } from "../manifest/documents.ts";
import { ARCHIVE_TRANSPORTS } from "../archive/archived_image.ts";
import type { ImportedImage } from "./archive_import.ts";

/** One archive that was imported whole. */
export interface ImportRecord {
  /** Changes with the file. */
  readonly stamp: string;
  readonly images: readonly ImportedImage[];
}

/** See the module comment. */
export class ImportRecords {
  readonly #records = new Map<string, ImportRecord>();
  /** Images of other places, by id. */
  readonly #fetched = new Map<string, ImportedImage>();
  #writing: Promise<void> = Promise.resolve();

  constructor(private readonly path: string, private readonly log: Logger) {}

  /** Reads the file; one that is missing or damaged means that nothing is known. */
  async load(): Promise<void> {
    try {
      const document: unknown = JSON.parse(await Deno.readTextFile(this.path));
      const archives = isObject(document) && document["version"] === 1 ? document["archives"] : undefined;
      if (!isObject(archives)) throw new TypeError("it is not version 1");
      for (const [name, record] of Object.entries(archives)) this.#records.set(name, recordOf(record));
      const { images: fetched } = recordOf({ stamp: "", images: isObject(document) ? document["fetched"] : [] });
      for (const image of fetched) this.#fetched.set(image.id, image);
    } catch (error) {
      this.#records.clear();
      this.#fetched.clear();
      if (error instanceof Deno.errors.NotFound) return;
      this.log.warn("The list of imported archives is damaged: they are read again", {
        file: this.path,
        reason: messageOf(error),
      });
    }
  }

  get(name: string): ImportRecord | undefined {
    return this.#records.get(name);
  }

  entries(): IterableIterator<[string, ImportRecord]> {
    return this.#records.entries();
  }

  /** @throws Deno's file errors */
  async set(name: string, record: ImportRecord): Promise<void> {
    this.#records.set(name, record);
    await this.#write();
  }

  /** An image was taken from a place outside of the folder. @throws Deno's file errors */
  async noteFetched(image: ImportedImage): Promise<void> {
    this.#fetched.delete(image.id);
    this.#fetched.set(image.id, image);
    for (const id of this.#fetched.keys()) {
      if (this.#fetched.size <= MAX_FETCHED) break;
      this.#fetched.delete(id);
    }
    await this.#write();
  }

  /** Where an image of this node came from, as far as that is known. */
  originsOf(id: ImageId): readonly ImportedImage[] {
    const archived = [...this.#records.values()].flatMap(({ images }) => images);
    return [...archived, ...this.#fetched.values()].filter((image) => image.id === id);
  }

  /** Forgets archives that are not there any more. @throws Deno's file errors */
  async keepOnly(names: ReadonlySet<string>): Promise<void> {
    const gone = [...this.#records.keys()].filter((name) => !names.has(name));
    for (const name of gone) this.#records.delete(name);
    if (gone.length > 0) await this.#write();
  }

  /** One write at a time; each writes what is known then. */
  async #write(): Promise<void> {
    const write = async (): Promise<void> => {
      const document = {
        version: 1,
        archives: Object.fromEntries(this.#records),
        fetched: [...this.#fetched.values()],
      };
      await writeFileAtomic(this.path, new TextEncoder().encode(JSON.stringify(document)), { durable: false });
    };
    this.#writing = this.#writing.catch(() => {}).then(write);
    await this.#writing;
  }
}

/** Images that are remembered of places outside of the folder. */
const MAX_FETCHED = 1000;

function importedOf(image: Readonly<Record<string, unknown>>, names: readonly string[]): ImportedImage {
  const { id, path, label } = image;
  const transport = ARCHIVE_TRANSPORTS.find((name) => name === image["transport"]);
  if (transport === undefined || typeof path !== "string" || typeof label !== "string") {
    throw new TypeError("an image lacks its origin");
  }
  return { id: parseImageId(String(id)), names, transport, path, label };
}

function recordOf(value: unknown): ImportRecord {
  if (!isObject(value)) throw new TypeError("a record is not an object");
  const { stamp, images } = value;
  if (typeof stamp !== "string" || !Array.isArray(images)) throw new TypeError("a record lacks its stamp or images");
  return {
    stamp,
    images: images.map((image: unknown) => {
      if (!isObject(image) || !Array.isArray(image["names"])) throw new TypeError("an image is damaged");
      return importedOf(image, image["names"].filter((name) => typeof name === "string"));
    }),
  };
}
