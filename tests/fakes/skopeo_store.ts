/** Puts layers into a containers/storage store with skopeo, to compare what it makes of them with what we make. */
import { createHash } from "node:crypto";
import { type CommandResult, commandResult } from "../../src/linux/command.ts";

/** A store below a temporary directory; disposing unmounts and removes it. */
export interface SkopeoStore extends AsyncDisposable {
  readonly root: string;
  readonly runRoot: string;
  /** `containers-storage:` name of an image in this store. */
  image(name: string): string;
  /** Copies an image of these uncompressed layers into the store; the result tells whether skopeo took it. */
  load(name: string, layers: readonly Uint8Array[]): Promise<CommandResult>;
  /** Directory that holds the content of the layer with this diff ID; undefined when there is none. */
  layer(diffId: string): { readonly diff: string; readonly tarSplit: string } | undefined;
}

/** Makes an empty store. */
export function skopeoStore(base: string): SkopeoStore {
  const root = `${base}/store`;
  const runRoot = `${base}/run`;
  const image = (name: string): string => `containers-storage:[overlay@${root}+${runRoot}]localhost/${name}`;
  return {
    root,
    runRoot,
    image,
    load: async (name, layers) => {
      const directory = `${base}/image-${name.replace(/[^a-z0-9]/g, "-")}`;
      writeImage(directory, layers);
      return await commandResult(["/usr/bin/skopeo", "--insecure-policy", "copy", `dir:${directory}`, image(name)], {
        env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: base },
      });
    },
    layer: (diffId) => {
      const records = JSON.parse(Deno.readTextFileSync(`${root}/overlay-layers/layers.json`)) as Record<
        string,
        string
      >[];
      const id = records.find((record) => record["diff-digest"] === diffId)?.["id"];
      if (id === undefined) return undefined;
      return { diff: `${root}/overlay/${id}/diff`, tarSplit: `${root}/overlay-layers/${id}.tar-split.gz` };
    },
    [Symbol.asyncDispose]: async () => {
      await commandResult(["/bin/umount", `${root}/overlay`]);
      await Deno.remove(base, { recursive: true });
    },
  };
}

/** An image in skopeo's `dir:` form. */
function writeImage(directory: string, layers: readonly Uint8Array[]): void {
  Deno.mkdirSync(directory, { recursive: true });
  const blob = (bytes: Uint8Array): { digest: string; size: number } => {
    const hex = createHash("sha256").update(bytes).digest("hex");
    Deno.writeFileSync(`${directory}/${hex}`, bytes);
    return { digest: `sha256:${hex}`, size: bytes.length };
  };
  const blobs = layers.map(blob);
  const config = {
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: blobs.map((layer) => layer.digest) },
    config: {},
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      ...blob(new TextEncoder().encode(JSON.stringify(config))),
    },
    layers: blobs.map((layer) => ({ mediaType: "application/vnd.oci.image.layer.v1.tar", ...layer })),
  };
  Deno.writeTextFileSync(`${directory}/manifest.json`, JSON.stringify(manifest));
  Deno.writeTextFileSync(`${directory}/version`, "Directory Transport Version: 1.1\n");
}
