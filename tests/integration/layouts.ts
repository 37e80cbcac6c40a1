/** OCI layouts that skopeo reads and writes, and their way into a registry of the test. */
import { runCommand } from "../../src/linux/command.ts";
import { buildImage, sha256 } from "../fakes/registry/content.ts";
import type { FakeRegistry } from "../fakes/registry.ts";

/** What is looked at of a manifest. */
interface LayoutManifest {
  readonly mediaType?: string;
  readonly config: { readonly digest: string; readonly mediaType: string };
  readonly layers: ReadonlyArray<
    { readonly digest: string; readonly mediaType: string; readonly annotations?: Record<string, string> }
  >;
}

/** A layout in a directory of its own, which goes with it. */
export class Layout implements AsyncDisposable {
  constructor(readonly path: string) {}

  /** The manifest that has this `org.opencontainers.image.ref.name`, as bytes. */
  async bytes(ref: string): Promise<Uint8Array<ArrayBuffer>> {
    const index = JSON.parse(await Deno.readTextFile(`${this.path}/index.json`));
    const entry = index.manifests.find((one: { annotations?: Record<string, string> }) =>
      one.annotations?.["org.opencontainers.image.ref.name"] === ref
    );
    return await this.blob(entry.digest);
  }

  async manifest(ref: string): Promise<LayoutManifest> {
    return JSON.parse(new TextDecoder().decode(await this.bytes(ref)));
  }

  async blob(digest: string): Promise<Uint8Array<ArrayBuffer>> {
    return await Deno.readFile(`${this.path}/blobs/${digest.replace(":", "/")}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** A layout with one image of these layers, not compressed, called `plain`. */
export async function layoutOf(layers: readonly Uint8Array[]): Promise<Layout> {
  const layout = new Layout(await Deno.makeTempDir({ prefix: "layout-" }));
  const image = buildImage({ layers, compression: "none" });
  await Deno.mkdir(`${layout.path}/blobs/sha256`, { recursive: true });
  const write = (bytes: Uint8Array): Promise<void> =>
    Deno.writeFile(`${layout.path}/blobs/${sha256(bytes).replace(":", "/")}`, bytes);
  for (const bytes of [...image.blobs.values(), image.manifest]) await write(bytes);
  await Deno.writeTextFile(`${layout.path}/oci-layout`, JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  const { mediaType, digest, manifest } = image;
  const annotations = { "org.opencontainers.image.ref.name": "plain" };
  const manifests = [{ mediaType, digest, size: manifest.length, annotations }];
  await Deno.writeTextFile(`${layout.path}/index.json`, JSON.stringify({ schemaVersion: 2, manifests }));
  return layout;
}

/** Puts an image of a layout into a registry. @returns its reference */
export async function addLayout(
  registry: FakeRegistry,
  { layout, ref, name }: { readonly layout: Layout; readonly ref: string; readonly name: string },
): Promise<string> {
  const bytes = await layout.bytes(ref);
  const manifest: LayoutManifest = JSON.parse(new TextDecoder().decode(bytes));
  for (const { digest } of [manifest.config, ...manifest.layers]) registry.addBlob(await layout.blob(digest));
  const mediaType = manifest.mediaType ?? "application/vnd.oci.image.manifest.v1+json";
  registry.addManifest({ name, tag: "1", bytes, mediaType });
  return `${registry.host}/${name}:1`;
}

/** Runs skopeo. @throws CommandError with what it said */
export async function skopeo(...args: readonly string[]): Promise<void> {
  await runCommand(["/usr/bin/skopeo", "--insecure-policy", ...args], {
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/nonexistent" },
  });
}
