/** Files with images: opened and read to the last layer, or refused; nothing of them is left beside the file. */
import { openArchive } from "../../src/image/archive/open_archive.ts";
import { TarTree } from "../../src/image/archive/tar_tree.ts";
import type { LoadedImage } from "../../src/image/archive/archived_image.ts";
import { digestOf } from "../../src/image/distribution/repository.ts";
import { parseConfigSummary } from "../../src/image/manifest/image_config.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { imageArchive } from "./archive_documents.ts";
import type { Random } from "./random.ts";
import {
  type Bytes,
  Fault,
  type FuzzSession,
  type FuzzTarget,
  type Reached,
  refusable,
  requireSame,
} from "./target.ts";

/** Of an archive that has more, these are read. */
const MAX_IMAGES = 3;
const PLATFORM = { os: "linux", architecture: "amd64", variant: "v2" };

export const ARCHIVE: FuzzTarget = {
  name: "archive",
  async open(place): Promise<FuzzSession> {
    openLibraries();
    await Deno.mkdir(place);
    return new ArchiveSession(place);
  },
};

class ArchiveSession implements FuzzSession {
  constructor(private readonly place: string) {}

  generate(random: Random): Bytes {
    return imageArchive(random, this.place);
  }

  async run(input: Bytes): Promise<Reached> {
    const path = `${this.place}/archive`;
    await Deno.writeFile(path, input);
    const reached = await this.#read(path);
    const names = [...Deno.readDirSync(this.place)].map(({ name }) => name).join();
    if (names !== "archive") throw new Fault(`beside the archive: ${names}`);
    return reached;
  }

  async #read(path: string): Promise<Reached> {
    const { signal } = new AbortController();
    using archive = await refusable(() => openArchive({ path }, { scratchDirectory: this.place, signal }));
    if (archive === undefined) return await isTar(path, this.place) ? "past" : "refused";
    let images = 0;
    for (const image of archive.images.slice(0, MAX_IMAGES)) {
      const loaded = await refusable(() => image.load(PLATFORM));
      if (loaded !== undefined && await requireImage(loaded)) images += 1;
    }
    return images > 0 ? "accepted" : "past";
  }

  check(): Promise<void> {
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.place, { recursive: true });
  }
}

/** Whether the first parser takes it. */
async function isTar(path: string, scratchDirectory: string): Promise<boolean> {
  const { signal } = new AbortController();
  using tree = await refusable(() => TarTree.open(path, { scratchDirectory, signal }));
  return tree !== undefined;
}

/** @returns whether all of its layers can be read */
async function requireImage({ manifest, config, layers, layer }: LoadedImage): Promise<boolean> {
  if (manifest.digest.startsWith("sha256:")) {
    requireSame(digestOf(manifest.bytes, "sha256"), manifest.digest, "the manifest's digest");
  }
  if (await refusable(() => parseConfigSummary(config, layers.length)) === undefined) return false;
  for (const descriptor of layers) {
    const read = await refusable(async () => {
      await using reader = await layer(descriptor);
      let size = 0;
      for (let piece = await reader.read(); piece !== undefined; piece = await reader.read()) size += piece.length;
      return size;
    });
    if (read === undefined) return false;
    requireSame(read, descriptor.sizeBytes, "the size of a layer that was read");
  }
  return true;
}
