import { tarBlocks, type TarEntry } from "../../fakes/tar.ts";

/** Changes whenever the bytes of the image do: names the cache. */
export const REALISTIC_VERSION = 1;

/** What one layer holds. */
export interface LayerPlan {
  readonly top: string;
  readonly files: number;
  readonly totalBytes: number;
  /** Share of files that are like programs: compress to about a half. The others are text: to about a quarter. */
  readonly binaryShare: number;
  readonly filesPerDirectory: number;
}

/** Base system, libraries, language runtime, documentation, dependencies, application: 23,000 entries, 270 MB. */
export const REALISTIC_LAYERS: readonly LayerPlan[] = [
  { top: "usr/share", files: 1600, totalBytes: 22e6, binaryShare: 0.2, filesPerDirectory: 12 },
  { top: "usr/lib", files: 900, totalBytes: 60e6, binaryShare: 0.85, filesPerDirectory: 40 },
  { top: "usr/lib/runtime", files: 4200, totalBytes: 48e6, binaryShare: 0.15, filesPerDirectory: 14 },
  { top: "usr/share/doc", files: 3000, totalBytes: 28e6, binaryShare: 0.05, filesPerDirectory: 4 },
  { top: "srv/modules", files: 9000, totalBytes: 88e6, binaryShare: 0.03, filesPerDirectory: 9 },
  { top: "srv/app", files: 700, totalBytes: 24e6, binaryShare: 0.3, filesPerDirectory: 20 },
];
const MEAN_FILE_SPREAD = 2.2;

/**
 * Builds layer tars: the same bytes on every machine, for everything is derived from the seed. The realistic image takes
 * about 20 s and 700 MB; cache it.
 */
export function buildLayers(plans: readonly LayerPlan[], seed: number): Uint8Array[] {
  const random = randomSource(seed);
  const words = vocabulary(random);
  return plans.map((plan) => layerTar(plan, { random, words }));
}

export type Random = () => number;

interface Sources {
  readonly random: Random;
  readonly words: readonly Uint8Array[];
}

/** mulberry32: small, fast, the same everywhere. Gives [0, 1). */
export function randomSource(seed: number): Random {
  let state = seed >>> 0;
  return (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function vocabulary(random: Random): Uint8Array[] {
  const WORDS = 6000;
  const letters = "etaoinshrdlucmfwypvbgkjqxz";
  return Array.from({ length: WORDS }, (_, i) => {
    const length = 2 + Math.floor(random() * 9);
    const word = Array.from({ length }, () => letters[Math.floor(random() ** 2 * letters.length)]).join("");
    const end = [" ", " ", " ", ", ", ";\n", "\n    ", "(", ") "][i % 8] ?? " ";
    return new TextEncoder().encode(word + end);
  });
}

function layerTar(plan: LayerPlan, sources: Sources): Uint8Array {
  const out = new Growing(plan.totalBytes + plan.files * 2048);
  for (const entry of layerEntries(plan, sources)) for (const block of tarBlocks(entry)) out.add(block);
  const END_BYTES = 1024;
  out.add(new Uint8Array(END_BYTES));
  return out.bytes();
}

function* layerEntries(plan: LayerPlan, sources: Sources): Generator<TarEntry> {
  const { random } = sources;
  const parts = plan.top.split("/");
  for (let i = 1; i <= parts.length; i++) yield { name: `${parts.slice(0, i).join("/")}/`, type: "5" };
  const sizes = fileSizes(plan, random);
  let directory = plan.top;
  let packageNumber = 0;
  for (const [i, sizeBytes] of sizes.entries()) {
    if (i % plan.filesPerDirectory === 0) {
      const nested = random() < 0.4 && directory !== plan.top && directory.split("/").length < 8;
      directory = nested ? `${directory}/lib` : `${plan.top}/package-${String(packageNumber++).padStart(4, "0")}`;
      yield { name: `${directory}/`, type: "5", mode: random() < 0.02 ? 0o2775 : 0o755 };
    }
    yield* fileEntries(`${directory}/${fileName(i, random)}`, { plan, sources, sizeBytes, index: i });
  }
}

function* fileEntries(
  name: string,
  options: { plan: LayerPlan; sources: Sources; sizeBytes: number; index: number },
): Generator<TarEntry> {
  const { plan, sources, sizeBytes, index } = options;
  const binary = sources.random() < plan.binaryShare;
  const body = binary ? binaryBody(sizeBytes, sources.random) : textBody(sizeBytes, sources);
  const owner = plan.top === "srv/app" ? 1000 : 0;
  const mode = binary ? 0o755 : index % 50 === 0 ? 0o600 : 0o644;
  yield { name, body, mode, uid: owner, gid: owner, mtime: 1_700_000_000 + index };
  const base = name.slice(name.lastIndexOf("/") + 1);
  if (index % 17 === 0) yield { name: `${name}.link`, type: "2", linkName: base, mode: 0o777 };
  if (index % 150 === 0) yield { name: `${name}.hard`, type: "1", linkName: name, mode };
}

/** Many small files and a few large ones, as real trees have; they add up to the plan's total. */
function fileSizes(plan: LayerPlan, random: Random): number[] {
  const raw = Array.from({ length: plan.files }, () => Math.exp(MEAN_FILE_SPREAD * 2 * (random() + random() - 1)));
  const scale = plan.totalBytes / raw.reduce((total, size) => total + size, 0);
  return raw.map((size) => Math.floor(size * scale));
}

function fileName(index: number, random: Random): string {
  const suffixes = ["js", "json", "md", "h", "py", "so.1", "d.ts", "txt", "map", "conf"];
  return `file-${index.toString(36)}${Math.floor(random() * 1e6).toString(36)}.${suffixes[index % suffixes.length]}`;
}

function textBody(sizeBytes: number, { random, words }: Sources): Uint8Array {
  const body = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes;) {
    // A quarter of all text repeats something shortly before it, as code and prose do.
    if (at > 400 && random() < 0.02) {
      const length = Math.min(20 + Math.floor(random() * 120), sizeBytes - at);
      const from = at - 200 - Math.floor(random() * 190);
      body.copyWithin(at, from, from + length);
      at += length;
      continue;
    }
    const word = words[Math.floor(random() ** 4 * words.length)] ?? new Uint8Array([32]);
    body.set(word.subarray(0, sizeBytes - at), at);
    at += word.length;
  }
  return body;
}

function binaryBody(sizeBytes: number, random: Random): Uint8Array {
  const body = new Uint8Array(sizeBytes);
  const RUN_BYTES = 64;
  for (let at = 0; at < sizeBytes; at += RUN_BYTES) {
    const end = Math.min(at + RUN_BYTES, sizeBytes);
    const kind = random();
    // Zeros, code that was seen before, and noise.
    if (kind < 0.2) continue;
    const seen = kind < 0.55 && at > 4096;
    if (seen) {
      const from = at - 4096 + Math.floor(random() * 2000);
      body.copyWithin(at, from, from + (end - at));
    }
    for (let i = seen ? end - 6 : at; i < end; i++) body[i] = Math.floor(random() * 200);
  }
  return body;
}

/** A byte buffer that grows by doubling. */
class Growing {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
  }

  add(more: Uint8Array): void {
    if (this.#length + more.length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(more, this.#length);
    this.#length += more.length;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}
