import { parseDigest } from "../../src/base/ids.ts";
import type { ArtifactCommit, ArtifactLayout } from "../../src/image/artifacts/layout.ts";
import { sha256 } from "../fakes/registry/content.ts";

/** `old`: is there. `new`: another one, which shares a blob. `moved`: the name of `old` for other content. */
export type CrashedArtifact = "old" | "new" | "moved";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Puts the missing blobs of an artifact into a stage, as the pull process does. */
export async function commitOf(
  which: CrashedArtifact,
  { layout, stage }: { readonly layout: ArtifactLayout; readonly stage: string },
): Promise<ArtifactCommit> {
  const layers = ["shared by all", `only of ${which}`].map(encode).map((bytes) => ({
    mediaType: "text/plain",
    digest: parseDigest(sha256(bytes)),
    sizeBytes: bytes.length,
    urls: [],
    bytes,
  }));
  const config = encode("{}");
  const describe = (bytes: Uint8Array, mediaType: string): object => ({
    mediaType,
    digest: sha256(bytes),
    size: bytes.length,
  });
  const manifest = encode(JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    artifactType: "application/vnd.test",
    config: describe(config, "application/vnd.oci.empty.v1+json"),
    layers: layers.map(({ bytes, mediaType }) => describe(bytes, mediaType)),
  }));
  const staged = new Map<ArtifactCommit["layers"][number]["digest"], string>();
  const missing = await layout.missing(layers);
  for (const { digest, bytes } of layers) {
    if (!missing.some((one) => one.digest === digest)) continue;
    const path = `${stage}/${digest.replace(":", "-")}`;
    await Deno.writeFile(path, bytes);
    staged.set(digest, path);
  }
  return {
    name: `registry.example/${which === "new" ? "new" : "old"}:1`,
    manifest: { digest: parseDigest(sha256(manifest)), bytes: manifest },
    config: { digest: parseDigest(sha256(config)), bytes: config },
    layers,
    signatures: [encode("signature")],
    staged,
  };
}
