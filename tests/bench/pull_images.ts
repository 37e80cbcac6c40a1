import { buildImage, type BuiltImage, type Compression } from "../fakes/registry/content.ts";
import type { FakeRegistry } from "../fakes/registry.ts";
import { buildLayers, type LayerPlan, REALISTIC_LAYERS, REALISTIC_VERSION } from "../e2e/harness/realistic_image.ts";

/** How many images the measure of pulls at once takes: `bench/many-0:1` and on. */
export const MANY_IMAGES = 10;

interface CachedImage {
  readonly mediaType: string;
  readonly manifest: string;
  readonly digests: readonly string[];
}

const BIG: readonly LayerPlan[] = [
  { top: "opt/model", files: 2400, totalBytes: 950e6, binaryShare: 0.9, filesPerDirectory: 40 },
];

/** Two layers, 15 MB packed: what a small service is. */
const MANY: readonly LayerPlan[] = [
  { top: "usr/lib", files: 500, totalBytes: 18e6, binaryShare: 0.5, filesPerDirectory: 20 },
  { top: "srv/app", files: 900, totalBytes: 18e6, binaryShare: 0.2, filesPerDirectory: 12 },
];
const SEED = 20_261_123;

/**
 * Serves the images of the pull measures: `bench/realistic:1` (gzip) and `bench/realistic-zstd:1`, `bench/big:1` (one layer of
 * 500 MB packed) and {@link MANY_IMAGES} small ones. Blobs come from the cache; they are built and put there the first time,
 * which takes minutes.
 */
export async function addPullImages(registry: FakeRegistry, cacheDir: string): Promise<void> {
  const plans: Record<string, () => BuiltImage> = {
    "realistic": () => packed(REALISTIC_LAYERS, { seed: SEED, compression: "gzip" }),
    "realistic-zstd": () => packed(REALISTIC_LAYERS, { seed: SEED, compression: "zstd" }),
    "big": () => packed(BIG, { seed: SEED + 1, compression: "gzip" }),
  };
  for (let i = 0; i < MANY_IMAGES; i++) {
    plans[`many-${i}`] = () => packed(MANY, { seed: SEED + 2 + i, compression: "gzip" });
  }
  for (const [name, build] of Object.entries(plans)) {
    await addCached(registry, { name, directory: `${cacheDir}/${name}-${REALISTIC_VERSION}`, build });
  }
}

function packed(plans: readonly LayerPlan[], options: { seed: number; compression: Compression }): BuiltImage {
  const { seed, compression } = options;
  const config = { Cmd: ["/bin/sh"], Env: ["PATH=/usr/bin:/bin"] };
  return buildImage({ layers: buildLayers(plans, seed), compression, config });
}

async function addCached(
  registry: FakeRegistry,
  image: { name: string; directory: string; build: () => BuiltImage },
): Promise<void> {
  const { name, directory, build } = image;
  const text = await Deno.readTextFile(`${directory}/image.json`).catch(() => undefined) ??
    await fillCache(directory, build());
  const cached: CachedImage = JSON.parse(text);
  for (const digest of cached.digests) {
    registry.addBlob(await Deno.readFile(`${directory}/${digest.replace(":", "-")}`), { digest });
  }
  const bytes = new TextEncoder().encode(cached.manifest);
  registry.addManifest({ name: `bench/${name}`, tag: "1", bytes, mediaType: cached.mediaType });
}

async function fillCache(directory: string, image: BuiltImage): Promise<string> {
  await Deno.mkdir(directory, { recursive: true });
  for (const [digest, bytes] of image.blobs) await Deno.writeFile(`${directory}/${digest.replace(":", "-")}`, bytes);
  const manifest = new TextDecoder().decode(image.manifest);
  const text = JSON.stringify({ mediaType: image.mediaType, manifest, digests: [...image.blobs.keys()] });
  // Written last: a cache without it is built again.
  await Deno.writeTextFile(`${directory}/image.json`, text);
  return text;
}
