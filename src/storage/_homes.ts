import { NotFoundError } from "../base/errors.ts";
import type { AdditionalStore, Records } from "./_additional.ts";
import type { Layout } from "./layout.ts";
import { type RawRecord, type RecordTable, text } from "./_records.ts";

/** A place that images are looked for in. */
export interface ImageHome {
  /** Of the images' documents: one directory per image. */
  readonly directory: string;
  readonly records: Records;
  /** The table to write to; undefined in a read-only store. */
  readonly table: RecordTable | undefined;
  /** Root of the store, for messages. */
  readonly root: string;
}

interface Waiting {
  readonly signal?: AbortSignal;
}

/**
 * Images and layers of all stores: the own ones first, then those of read-only stores. Where two have the same id, the
 * first counts.
 */
export class Homes {
  readonly all: readonly ImageHome[];
  readonly #layers: readonly Records[];
  #memo: { readonly parts: readonly unknown[]; readonly whole: ReadonlyMap<string, RawRecord> } | undefined;

  constructor(
    layout: Layout,
    tables: {
      readonly images: RecordTable;
      readonly formerImages: RecordTable | undefined;
      readonly layers: RecordTable;
    },
    additional: readonly AdditionalStore[],
  ) {
    const { images, formerImages, layers } = tables;
    const own = { directory: layout.images, records: images, table: images, root: layout.forImages.root };
    const former = formerImages === undefined || layout.formerImages === undefined ? [] : [{
      directory: layout.formerImages,
      records: formerImages,
      table: formerImages,
      root: layout.graphRoot,
    }];
    const others = additional.map(({ root, images: directory, imageRecords: records }) => {
      return { directory, records, table: undefined, root };
    });
    this.all = [own, ...former, ...others];
    this.#layers = [layers, ...additional.map((store) => store.layerRecords)];
  }

  /** Layers of all stores; the same object while nothing has changed. */
  async layers(options: Waiting = {}): Promise<ReadonlyMap<string, RawRecord>> {
    const parts = await Promise.all(this.#layers.map((records) => records.read(options)));
    const [only, ...more] = parts;
    if (only !== undefined && more.length === 0) return only;
    const memo = this.#memo;
    if (memo !== undefined && parts.every((part, i) => part === memo.parts[i])) return memo.whole;
    const whole = new Map(parts.toReversed().flatMap((part) => [...part]));
    this.#memo = { parts, whole };
    return whole;
  }

  /** Layers of the read-only stores. */
  async foreignLayers(options: Waiting = {}): Promise<ReadonlyMap<string, RawRecord>> {
    const parts = await Promise.all(this.#layers.slice(1).map((records) => records.read(options)));
    return new Map(parts.toReversed().flatMap((part) => [...part]));
  }

  /** The first place that has an image. */
  async find(
    id: string,
    options: Waiting = {},
  ): Promise<{ readonly record: RawRecord; readonly home: ImageHome } | undefined> {
    for (const home of this.all) {
      const record = (await home.records.read(options)).get(id);
      if (record !== undefined) return { record, home };
    }
    return undefined;
  }

  /** @throws NotFoundError when the image is not there; undefined when it has no layers */
  async topLayer(imageId: string, options: Waiting = {}): Promise<string | undefined> {
    const found = await this.find(imageId, options);
    if (found === undefined) throw new NotFoundError("image", imageId);
    return text(found.record, "layer");
  }
}
