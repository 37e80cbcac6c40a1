import { ImageSpec } from "../../src/cri/gen/api.ts";
import { message } from "../e2e/harness/cri_client.ts";
import { mib, type Subject } from "./context.ts";
import { MANY_IMAGES } from "./pull_images.ts";
import { percentile } from "./statistics.ts";

/** What is measured of pulls. */
export const PULL_MEASURES: Readonly<Record<string, (subject: Subject) => Promise<void>>> = {
  pull: measureRealistic,
  zstd: measureZstd,
  big: async (subject) => void await measurePull(subject, { name: "big", label: "one layer of 500 MB" }),
  many: measureMany,
  pulls20: measureMemory,
};

/** Left out by `--quick` where they are not asked for. */
export const LONG: readonly string[] = ["zstd", "big", "many", "pulls20"];

const PULL_TIMEOUT_MS = 300_000;

interface PulledImage {
  readonly name: string;
  readonly label: string;
}

/** The realistic image, and the physical yardstick beside it: its layers by `curl | tar`, all at once. */
async function measureRealistic(subject: Subject): Promise<void> {
  const wallS = await measurePull(subject, { name: "realistic", label: "realistic" });
  const memory = subject.daemon.memory();
  subject.results.add(
    "PSS after a pull: daemon + helpers, MiB",
    subject.peer,
    mib(memory.daemonBytes + memory.helperBytes),
  );
  const yardstickS = await curlAndTar(subject);
  subject.results.add("curl | tar of the same layers at once, wall s", subject.peer, yardstickS);
  subject.results.add("PullImage realistic, times curl | tar", subject.peer, wallS / yardstickS);
}

/** The realistic image packed by zstd, just after the one packed by gzip. */
async function measureZstd(subject: Subject): Promise<void> {
  const gzipS = await measurePull(subject, { name: "realistic", label: "realistic" });
  const zstdS = await measurePull(subject, { name: "realistic-zstd", label: "realistic zstd" });
  subject.results.add("PullImage realistic zstd, times gzip", subject.peer, zstdS / gzipS);
}

/**
 * Pulls an image into a store that does not have it, and removes it: wall time, and CPU of all processes of the runtime.
 *
 * @returns seconds of wall time
 */
async function measurePull(subject: Subject, { name, label }: PulledImage): Promise<number> {
  const { daemon, results, peer } = subject;
  const image = message(ImageSpec, { image: `${subject.registryHost}/bench/${name}:1` });
  await daemon.client.call("removeImage", { image }, { timeoutMs: PULL_TIMEOUT_MS });
  await settleDisk();
  const cpuBefore = daemon.cpuMs();
  const startMs = performance.now();
  await daemon.client.call("pullImage", { image }, { timeoutMs: PULL_TIMEOUT_MS });
  const wallS = (performance.now() - startMs) / 1000;
  results.add(`PullImage ${label}, wall s`, peer, wallS);
  results.add(`PullImage ${label}, CPU s`, peer, (daemon.cpuMs() - cpuBefore) / 1000);
  await daemon.client.call("removeImage", { image }, { timeoutMs: PULL_TIMEOUT_MS });
  await settleDisk();
  return wallS;
}

/** What was written and deleted must not slow down the next one's disk. */
async function settleDisk(): Promise<void> {
  await new Deno.Command("sync").output();
}

/** Seconds that curl, gzip and tar need for the realistic image's layers, one pipe for each layer, all at the same time. */
async function curlAndTar(subject: Subject): Promise<number> {
  const origin = `http://${subject.registryHost}/v2/bench/realistic`;
  const headers = { accept: "application/vnd.oci.image.manifest.v1+json" };
  const manifest: unknown = await (await fetch(`${origin}/manifests/1`, { headers })).json();
  const digests = layerDigests(manifest);
  const directory = await Deno.makeTempDir({ dir: subject.workDir });
  const startMs = performance.now();
  const codes = await Promise.all(digests.map(async (digest, i) => {
    const script = `set -o pipefail; mkdir "$1" && curl -sSf "$2" | tar -xz --numeric-owner -C "$1"`;
    const args = ["-c", script, "bash", `${directory}/${i}`, `${origin}/blobs/${digest}`];
    return (await new Deno.Command("/bin/bash", { args }).spawn().status).code;
  }));
  const wallS = (performance.now() - startMs) / 1000;
  if (codes.some((code) => code !== 0)) throw new Error(`curl | tar ended with ${codes.join(", ")}`);
  await Deno.remove(directory, { recursive: true });
  await settleDisk();
  return wallS;
}

function layerDigests(manifest: unknown): string[] {
  if (typeof manifest !== "object" || manifest === null || !("layers" in manifest)) throw new Error("no manifest");
  const { layers } = manifest;
  if (!Array.isArray(layers)) throw new Error("a manifest without layers");
  return layers.map((layer: { digest: string }) => layer.digest);
}

/** Ten images at the same time, and how long small requests take meanwhile. */
async function measureMany(subject: Subject): Promise<void> {
  const { daemon, results, peer } = subject;
  const images = manyImages(subject);
  await removeAll(subject, images);
  const cpuBefore = daemon.cpuMs();
  const startMs = performance.now();
  const pulling = new AbortController();
  const asking = askMeanwhile(subject, pulling.signal);
  await Promise.all(images.map((image) => daemon.client.call("pullImage", { image }, { timeoutMs: PULL_TIMEOUT_MS })));
  results.add("PullImage 10 at once, wall s", peer, (performance.now() - startMs) / 1000);
  results.add("PullImage 10 at once, CPU s", peer, (daemon.cpuMs() - cpuBefore) / 1000);
  pulling.abort();
  const samples = await asking;
  results.add("Version + ListContainers during 10 pulls, p99", peer, percentile(samples, 0.99));
  await removeAll(subject, images);
}

async function askMeanwhile(subject: Subject, pulling: AbortSignal): Promise<number[]> {
  const samples: number[] = [];
  const PAUSE_MS = 5;
  while (!pulling.aborted) {
    const startMs = performance.now();
    await subject.daemon.client.call("version", {});
    await subject.daemon.client.call("listContainers", {});
    samples.push(performance.now() - startMs);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  return samples;
}

/** The daemon's own memory after 20 pulls, as a multiple of what it was after the first. */
async function measureMemory(subject: Subject): Promise<void> {
  const ROUNDS = 2;
  const images = manyImages(subject);
  const [first] = images;
  if (first === undefined) throw new Error("no images");
  await removeAll(subject, images);
  await pullAndRemove(subject, first);
  const before = await settledPss(subject);
  for (let round = 0; round < ROUNDS; round++) for (const image of images) await pullAndRemove(subject, image);
  const after = await settledPss(subject);
  subject.results.add("daemon PSS after 20 pulls, MiB", subject.peer, mib(after));
  subject.results.add("daemon PSS after 20 pulls, times before", subject.peer, after / before);
}

async function pullAndRemove(subject: Subject, image: ImageSpec): Promise<void> {
  const { client } = subject.daemon;
  await client.call("pullImage", { image }, { timeoutMs: PULL_TIMEOUT_MS });
  await client.call("removeImage", { image }, { timeoutMs: PULL_TIMEOUT_MS });
}

async function settledPss(subject: Subject): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, subject.effort.settleMs));
  return subject.daemon.memory().daemonBytes;
}

function manyImages(subject: Subject): ImageSpec[] {
  return Array.from(
    { length: MANY_IMAGES },
    (_, i) => message(ImageSpec, { image: `${subject.registryHost}/bench/many-${i}:1` }),
  );
}

async function removeAll(subject: Subject, images: readonly ImageSpec[]): Promise<void> {
  for (const image of images) {
    await subject.daemon.client.call("removeImage", { image }, { timeoutMs: PULL_TIMEOUT_MS });
  }
  await settleDisk();
}
