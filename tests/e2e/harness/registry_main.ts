/**
 * A loopback registry in a process of its own, so that its work is not the client's: `127.0.0.1:port` on stdout, then it
 * serves until stdin ends, or with `--stay` until it is killed. Images: `bench/busybox:1`, `bench/nobody:1` (the same
 * with `USER nobody`), `bench/extra:1` (for those who remove it again), `bench/pause:1` and, with
 * `--pull-images CACHE_DIR`, those of `tests/bench/pull_images.ts`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { FakeRegistry } from "../../fakes/registry.ts";
import { buildImage } from "../../fakes/registry/content.ts";
import { BUSYBOX_CONFIG, busyboxLayer } from "./busybox_image.ts";
import { buildTar } from "../../fakes/tar.ts";
import { randomSource } from "./realistic_image.ts";
import { addPullImages } from "../../bench/pull_images.ts";

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
  const { values } = parseArgs({ options: { "pull-images": { type: "string" }, stay: { type: "boolean" } } });
  await using registry = await FakeRegistry.start();
  await addBusybox(registry);
  const cacheDir = values["pull-images"];
  if (cacheDir !== undefined) await addPullImages(registry, cacheDir);
  await Deno.stdout.write(new TextEncoder().encode(`${registry.host}\n`));
  // The log of requests would grow for as long as this runs.
  const timer = setInterval(() => registry.requests.splice(0), 5000);
  if (values.stay === true) await new Promise(() => {});
  else await Deno.stdin.readable.pipeTo(new WritableStream());
  clearInterval(timer);
}
