/**
 * A loopback registry in a process of its own, so that its work is not the client's: `127.0.0.1:port` on stdout, then it
 * serves until stdin ends, or with `--stay` until it is killed. Images: `bench/busybox:1`, `bench/nobody:1` (the same
 * with `USER nobody`), `bench/extra:1` (for those who remove it again), `bench/pause:1` and, with
 * `--realistic CACHE_DIR`, `bench/realistic:1`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { FakeRegistry } from "../../fakes/registry.ts";
import { buildImage } from "../../fakes/registry/content.ts";
import { BUSYBOX_CONFIG, busyboxLayer } from "./busybox_image.ts";
import { buildTar } from "../../fakes/tar.ts";
import { buildRealisticImage, randomSource, REALISTIC_VERSION } from "./realistic_image.ts";

interface CachedImage {
  readonly mediaType: string;
  readonly manifest: string;
  readonly digests: readonly string[];
}

/** Blobs come from the cache; they are built and put there the first time. */
async function addRealisticImage(registry: FakeRegistry, cacheDir: string): Promise<void> {
  const directory = `${cacheDir}/realistic-${REALISTIC_VERSION}`;
  const cached = await Deno.readTextFile(`${directory}/image.json`).catch(() => undefined) ??
    await fillCache(directory);
  const image: CachedImage = JSON.parse(cached);
  for (const digest of image.digests) {
    registry.addBlob(await Deno.readFile(`${directory}/${digest.replace(":", "-")}`), { digest });
  }
  const bytes = new TextEncoder().encode(image.manifest);
  registry.addManifest({ name: "bench/realistic", tag: "1", bytes, mediaType: image.mediaType });
}

async function fillCache(directory: string): Promise<string> {
  const image = buildRealisticImage();
  await Deno.mkdir(directory, { recursive: true });
  for (const [digest, bytes] of image.blobs) await Deno.writeFile(`${directory}/${digest.replace(":", "-")}`, bytes);
  const manifest = new TextDecoder().decode(image.manifest);
  const text = JSON.stringify({ mediaType: image.mediaType, manifest, digests: [...image.blobs.keys()] });
  // Written last: a cache without it is built again.
  await Deno.writeTextFile(`${directory}/image.json`, text);
  return text;
}

/** Enough that a pull of it takes long enough to be interrupted. */
const OWN_BYTES = 8 * 1024 * 1024;

function incompressible(bytes: number): Uint8Array {
  const random = randomSource(1);
  return new Uint8Array(bytes).map(() => random() * 256);
}

async function addBusybox(registry: FakeRegistry): Promise<void> {
  const layers = [await busyboxLayer()];
  registry.addImage({ name: "bench/busybox", tag: "1", layers, config: BUSYBOX_CONFIG });
  const user = { ...BUSYBOX_CONFIG, User: "nobody", WorkingDir: "/work/here", Volumes: { "/data": {} } };
  const own = buildTar([{ name: "srv/", type: "5", mode: 0o755 }, {
    name: "srv/data",
    body: incompressible(OWN_BYTES),
  }]);
  registry.addImage({
    name: "bench/nobody",
    tag: "1",
    layers: [...layers, own],
    config: { ...user, StopSignal: "SIGINT" },
  });
  const extra = buildTar([{ name: "extra", body: "extra\n" }]);
  registry.addImage({ name: "bench/extra", tag: "1", layers: [...layers, extra], config: BUSYBOX_CONFIG });
  const entrypoint = { ...BUSYBOX_CONFIG, Entrypoint: ["/bin/sleep", "1000000000"], Cmd: [] };
  const image = buildImage({ layers, config: entrypoint });
  for (const bytes of image.blobs.values()) registry.addBlob(bytes);
  registry.addManifest({ name: "bench/pause", tag: "1", bytes: image.manifest, mediaType: image.mediaType });
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { realistic: { type: "string" }, stay: { type: "boolean" } } });
  await using registry = await FakeRegistry.start();
  await addBusybox(registry);
  if (values.realistic !== undefined) await addRealisticImage(registry, values.realistic);
  await Deno.stdout.write(new TextEncoder().encode(`${registry.host}\n`));
  // The log of requests would grow for as long as this runs.
  const timer = setInterval(() => registry.requests.splice(0), 5000);
  if (values.stay === true) await new Promise(() => {});
  else await Deno.stdin.readable.pipeTo(new WritableStream());
  clearInterval(timer);
}
