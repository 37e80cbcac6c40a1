/** Image archives, as `docker save` and layouts of OCI have them: entries of a tar that name each other. */
import { gzipSync } from "node:zlib";
import { tarOf } from "../fakes/tar_builder.ts";
import { sha256 } from "../fakes/registry/content.ts";
import { MANIFEST_WORDS } from "./manifest_documents.ts";
import type { Random } from "./random.ts";
import { packedArchive } from "./tar_case.ts";
import { entry, type Piece } from "./tar_entries.ts";
import type { Bytes } from "./target.ts";
import { mutateTree, printJson, type Tree, type Vocabulary } from "./trees.ts";

const WORDS: Vocabulary = {
  keys: [
    ...MANIFEST_WORDS.keys,
    ...[
      "Config",
      "RepoTags",
      "Layers",
      "Parent",
      "imageLayoutVersion",
      "org.opencontainers.image.ref.name",
      "io.containerd.image.name",
    ],
  ],
  values: [
    ...MANIFEST_WORDS.values,
    "layer0.tar",
    "config.json",
    "a/b:1",
    "../../etc/passwd",
    "link",
    "1.0.0",
    "registry.example/a:1",
  ],
};
const OCI = "application/vnd.oci.image";

/** The file of one case. */
export function imageArchive(random: Random, place: string): Bytes {
  const layers = random.times(
    random.between(0, 2),
    (i) => tarOf({ name: `file${i}`, content: "x".repeat(random.below(900)) }),
  );
  const pieces = random.chance(0.5) ? dockerArchive(layers, random) : ociArchive(layers, random);
  if (random.chance(0.2)) {
    pieces.push(
      entry({
        name: "link",
        type: random.pick(["1", "2"]),
        link: random.pick(["link", "layer0.tar", "/etc/passwd", "../x"]),
      }),
    );
  }
  return packedArchive(pieces, { random, place, changes: random.pick([0, 0, 1, 2]) });
}

function document(tree: Tree, random: Random): Bytes {
  const changes = random.pick([0, 0, 0, 1, 2, 4]);
  return new TextEncoder().encode(printJson(mutateTree(tree, random, { ...WORDS, changes }), random));
}

function configOf(layers: readonly Bytes[], random: Random): Bytes {
  const rootfs = { type: "layers", diff_ids: layers.map((layer) => sha256(layer)) };
  return document({
    os: "linux",
    architecture: "amd64",
    config: { Env: ["A=b"] },
    rootfs,
    created: "2026-01-02T03:04:05Z",
  }, random);
}

function dockerArchive(layers: readonly Bytes[], random: Random): Piece[] {
  const config = configOf(layers, random);
  const name = random.chance(0.5) ? `${sha256(config).slice(7)}.json` : "config.json";
  const names = layers.map((_, i) => `layer${i}.tar`);
  const image = {
    Config: name,
    RepoTags: [random.pick(["team/app:v1", "latest", "registry.example/x:1"])],
    Layers: names,
  };
  const repeated = random.chance(0.05) ? random.below(1200) : 1;
  return [
    ...layers.map((layer, i) =>
      entry({ name: `layer${i}.tar`, content: random.chance(0.3) ? gzipSync(layer) : layer })
    ),
    entry({ name, content: config }),
    entry({ name: "manifest.json", content: document(Array<Tree>(repeated).fill(image), random) }),
  ];
}

function ociArchive(layers: readonly Bytes[], random: Random): Piece[] {
  const blobs = layers.map((layer) => random.chance(0.5) ? new Uint8Array(gzipSync(layer)) : layer);
  const config = configOf(layers, random);
  const manifest = document({
    schemaVersion: 2,
    mediaType: `${OCI}.manifest.v1+json`,
    config: described(config, `${OCI}.config.v1+json`),
    layers: blobs.map((blob) => described(blob, `${OCI}.layer.v1.tar+gzip`)),
  }, random);
  const name = { "org.opencontainers.image.ref.name": random.pick(["v1", "team/app:v1", "registry.example/x:1"]) };
  const index = document({
    schemaVersion: 2,
    manifests: [{
      ...described(manifest, `${OCI}.manifest.v1+json`),
      annotations: name,
      platform: { os: "linux", architecture: "amd64" },
    }],
  }, random);
  return [
    entry({ name: "oci-layout", content: document({ imageLayoutVersion: "1.0.0" }, random) }),
    ...[...blobs, config, manifest].map((blob) =>
      entry({ name: `blobs/sha256/${sha256(blob).slice(7)}`, content: blob })
    ),
    entry({ name: "index.json", content: index }),
  ];
}

function described(bytes: Bytes, mediaType: string): { [key: string]: Tree } {
  return { mediaType, digest: sha256(bytes), size: bytes.length };
}
