import { lstat } from "node:fs/promises";
import { type UnpackedLayer, unpackLayer, type UnpackLayerOptions } from "../../src/image/unpack/unpack_layer.ts";
import { nativeCrc64 } from "../../src/linux/checksums.ts";
import { treeSnapshot } from "./tree_snapshot.ts";

// A library that opens inside a test counts as a leak.
nativeCrc64();

/** A directory for one layer, with things beside it that must never change. Disposing removes all. */
export interface LayerBench extends AsyncDisposable {
  /** The directory that a layer is unpacked into. */
  readonly layer: string;
  readonly tarSplit: string;
  /** Unpacks an archive that comes in chunks of `chunkBytes` (default: all at once). */
  unpack(archive: Uint8Array<ArrayBuffer>, options?: BenchOptions): Promise<UnpackedLayer>;
  /** All that was unpacked, as text. */
  tree(): Promise<string>;
  /** Throws if anything outside of the layer was changed. */
  checkOutside(): Promise<void>;
}

export interface BenchOptions extends Partial<UnpackLayerOptions> {
  readonly chunkBytes?: number;
}

/** Makes the directory. */
export async function layerBench(): Promise<LayerBench> {
  const base = await Deno.makeTempDir({ prefix: "layer-" });
  const layer = `${base}/top/layer`;
  const tarSplit = `${base}/split/layer.tar-split.gz`;
  await Deno.mkdir(layer, { recursive: true });
  await Deno.mkdir(`${base}/split`);
  await Deno.mkdir(`${base}/outside/etc`, { recursive: true });
  await Deno.writeTextFile(`${base}/outside/secret`, "untouched");
  await Deno.writeTextFile(`${base}/outside/etc/passwd`, "root");
  await Deno.writeTextFile(`${base}/top/sibling`, "untouched");
  const outside = async (): Promise<string> => (await facts(`${base}/outside`)).join("\n");
  const before = await outside();
  return {
    layer,
    tarSplit,
    unpack: (archive, options = {}) => {
      const { chunkBytes = archive.length, ...rest } = options;
      return unpackLayer(chunksOf(archive, chunkBytes), { directory: layer, tarSplitPath: tarSplit, ...rest });
    },
    tree: () => treeSnapshot(layer),
    checkOutside: async () => {
      const after = await outside();
      if (after !== before) throw new Error(`changed outside:\n${before}\n---\n${after}`);
      const names = (await Array.fromAsync(Deno.readDir(`${base}/top`))).map((entry) => entry.name).sort().join();
      if (names !== "layer,sibling") throw new Error(`beside the layer: ${names}`);
      if (await Deno.readTextFile(`${base}/top/sibling`) !== "untouched") throw new Error("sibling was changed");
    },
    [Symbol.asyncDispose]: () => Deno.remove(base, { recursive: true }),
  };
}

/** What any change of a small tree would change, without starting a process: property tests ask thousands of times. */
async function facts(path: string): Promise<string[]> {
  const { mode, uid, gid, nlink, mtimeNs, ctimeNs } = await lstat(path, { bigint: true });
  const own = [path, mode, uid, gid, nlink, mtimeNs, ctimeNs].join(" ");
  if ((await Deno.lstat(path)).isFile) return [`${own} ${await Deno.readTextFile(path)}`];
  const names = (await Array.fromAsync(Deno.readDir(path))).map((entry) => entry.name).sort();
  return [own, ...(await Promise.all(names.map((name) => facts(`${path}/${name}`)))).flat()];
}

/** An archive in pieces. */
export async function* chunksOf(archive: Uint8Array<ArrayBuffer>, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < archive.length; i += chunkBytes) {
    yield await Promise.resolve(archive.subarray(i, i + chunkBytes));
  }
}
