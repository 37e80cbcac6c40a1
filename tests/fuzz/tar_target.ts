/** Layers: whatever a blob holds, only the layer's own directory changes, and nothing is left of a layer that failed. */
import { lstatSync } from "node:fs";
import { matchesDigest } from "../../src/image/distribution/repository.ts";
import { parseDigest } from "../../src/base/ids.ts";
import { pullLayer } from "../../src/image/pull/layer.ts";
import { LayerError } from "../../src/image/unpack/layer_error.ts";
import { unpackLayer } from "../../src/image/unpack/unpack_layer.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { sha256 } from "../fakes/registry/content.ts";
import { treeSnapshot } from "../fakes/tree_snapshot.ts";
import type { Random } from "./random.ts";
import { type Bytes, Fault, type FuzzSession, type FuzzTarget, type Reached, requireTyped } from "./target.ts";
import { layerBlob } from "./tar_case.ts";

/** A layer whose files together are greater is refused: a sparse file costs nothing and may claim anything. */
const MAX_BYTES = 1 << 30;

export const TAR: FuzzTarget = {
  name: "tar",
  async open(place): Promise<FuzzSession> {
    openLibraries();
    const session = new TarSession(place);
    await session.prepare();
    return session;
  },
};

class TarSession implements FuzzSession {
  readonly #layer: string;
  readonly #split: string;
  #outside = "";
  #snapshot = "";

  constructor(private readonly place: string) {
    this.#layer = `${place}/top/layer`;
    this.#split = `${place}/split`;
  }

  /** What hostile links lead to: beside the layer, above it, and by absolute paths. */
  async prepare(): Promise<void> {
    const { place } = this;
    // Not recursively: of two runs with the same place one has to stop.
    await Deno.mkdir(place);
    for (const directory of ["top", "split", "outside", "outside/etc"]) await Deno.mkdir(`${place}/${directory}`);
    await Deno.writeTextFile(`${place}/outside/secret`, "untouched");
    await Deno.writeTextFile(`${place}/outside/etc/passwd`, "root");
    await Deno.writeTextFile(`${place}/top/sibling`, "untouched");
    await Deno.symlink("secret", `${place}/outside/link`);
    this.#outside = this.#facts();
    this.#snapshot = await this.#sentinels();
  }

  generate(random: Random): Bytes {
    return layerBlob(random, this.place);
  }

  async run(input: Bytes): Promise<Reached> {
    await Deno.mkdir(this.#layer, { mode: 0o555 });
    let reached: Reached;
    try {
      reached = await this.#pull(input);
    } finally {
      // By recursion on a small stack: whatever an archive makes, that must be possible.
      await Deno.remove(this.#layer, { recursive: true });
      for (const name of names(this.#split)) await Deno.remove(`${this.#split}/${name}`);
    }
    const facts = this.#facts();
    if (facts !== this.#outside) throw new Fault(`outside of the layer, it was\n${this.#outside}\nand is\n${facts}`);
    return reached;
  }

  async check(): Promise<void> {
    const snapshot = await this.#sentinels();
    if (snapshot !== this.#snapshot) {
      throw new Fault(`outside of the layer, it was\n${this.#snapshot}\nand is\n${snapshot}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.place, { recursive: true });
  }

  async #pull(input: Bytes): Promise<Reached> {
    const digest = parseDigest(sha256(input));
    const tarSplitPath = `${this.#split}/0.tar-split.gz`;
    let isUnpacked = false;
    try {
      await pullLayer({
        source: pieces(input),
        digest,
        diffId: digest,
        target: { index: 0, directory: this.#layer, tarSplitPath },
        // What an image configuration would say is known only afterwards.
        unpack: async (bytes, target) => {
          const unpacked = await unpackLayer(bytes, { ...target, limits: { maxUncompressedBytes: MAX_BYTES } });
          isUnpacked = true;
          return { ...unpacked, diffId: digest };
        },
        signal: new AbortController().signal,
      });
    } catch (error) {
      const typed = requireTyped(error);
      // What fails after the unpacking leaves the record to whoever removes the layer.
      const left = names(this.#split);
      if (!isUnpacked && left.length > 0) throw new Fault(`left of a layer that failed: ${left}`);
      const cause = typed.cause instanceof LayerError ? typed.cause : undefined;
      return (cause?.offset ?? 0) > 0 || names(this.#layer).length > 0 ? "past" : "refused";
    }
    if (!matchesDigest(input, digest)) throw new Fault("the input was changed");
    if (names(this.#split).length !== 1) throw new Fault("the layer has no tar-split record");
    return "accepted";
  }

  /** What a change would change, without a process for each case. */
  #facts(): string {
    const { place } = this;
    const looked = ["outside", "outside/secret", "outside/link", "outside/etc", "outside/etc/passwd", "top/sibling"];
    const facts = looked.map((name) => {
      const stat = lstatSync(`${place}/${name}`, { bigint: true, throwIfNoEntry: false });
      const { mode, uid, gid, nlink, size, mtimeNs, ctimeNs } = stat ?? {};
      return [name, mode, uid, gid, nlink, size, mtimeNs, ctimeNs].join(" ");
    });
    return [...facts, names(place), names(`${place}/top`), names(this.#split)].join("\n");
  }

  async #sentinels(): Promise<string> {
    const [outside, top] = [await treeSnapshot(`${this.place}/outside`), await treeSnapshot(`${this.place}/top`)];
    return `${outside}\n${top}`;
  }
}

function names(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
}

/** The blob in pieces of a size that the blob itself decides. */
function pieces(input: Bytes): { read(): Promise<Bytes | undefined>; [Symbol.asyncDispose](): Promise<void> } {
  const sizes = [input.length, 4096, 1000, 511, input.length < 4096 ? 61 : 2048];
  const size = Math.max(1, sizes[(input.at(-1) ?? 0) % sizes.length] ?? 1);
  let at = 0;
  return {
    read: (): Promise<Bytes | undefined> => {
      const piece = at < input.length ? input.slice(at, at + size) : undefined;
      at += size;
      return Promise.resolve(piece);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
