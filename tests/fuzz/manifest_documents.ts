/** Manifests, indexes and configurations as trees that refer to each other, and what they are changed by. */
import { sha256 } from "../fakes/registry/content.ts";
import type { Random } from "./random.ts";
import { mutateText, mutateTree, printJson, type Tree, type Vocabulary } from "./trees.ts";

/** What a registry serves for one case. */
export interface Served {
  /** Every document, in text; the last is what the tag names. */
  readonly documents: readonly { readonly text: string; readonly contentType: string }[];
  readonly by: "tag" | "digest";
}

const OCI = "application/vnd.oci.image";
const DOCKER = "application/vnd.docker";
const TYPES = [
  ...([
    `${OCI}.manifest.v1+json`,
    `${OCI}.index.v1+json`,
    `${OCI}.config.v1+json`,
    `${OCI}.layer.v1.tar+gzip`,
  ] as const),
  ...[`${OCI}.layer.v1.tar+zstd`, `${OCI}.layer.v1.tar+gzip+encrypted`, `${OCI}.layer.nondistributable.v1.tar`],
  ...[
    `${DOCKER}.distribution.manifest.v2+json`,
    `${DOCKER}.distribution.manifest.list.v2+json`,
    `${DOCKER}.container.image.v1+json`,
  ],
  ...[
    `${DOCKER}.image.rootfs.diff.tar.gzip`,
    `${DOCKER}.image.rootfs.foreign.diff.tar.gzip`,
    "application/vnd.oci.empty.v1+json",
  ],
  ...[
    `${DOCKER}.distribution.manifest.v1+prettyjws`,
    "application/octet-stream",
    "",
    "text/html",
    "application/vnd.cncf.helm",
  ],
] as const;
const DIGESTS = [
  `sha256:${"0".repeat(64)}`,
  `sha256:${"A".repeat(64)}`,
  `sha512:${"b".repeat(128)}`,
  "sha256:",
  "md5:0",
  "sha256:../../x",
] as const;
/** What stands in such documents. */
export const MANIFEST_WORDS: Vocabulary = {
  keys: [
    ...([
      "schemaVersion",
      "mediaType",
      "config",
      "layers",
      "manifests",
      "digest",
      "size",
      "urls",
      "annotations",
      "platform",
    ] as const),
    ...[
      "os",
      "architecture",
      "variant",
      "artifactType",
      "subject",
      "fsLayers",
      "rootfs",
      "diff_ids",
      "type",
      "history",
      "created",
    ],
    ...[
      "Env",
      "Cmd",
      "Entrypoint",
      "User",
      "WorkingDir",
      "Volumes",
      "Labels",
      "StopSignal",
      "container_config",
      "moby.buildkit.cache.v0",
    ],
    ...[
      "org.opencontainers.image.enc.keys.jwe",
      "org.opencontainers.image.enc.pubopts",
      "org.opencontainers.image.title",
    ],
  ],
  values: [
    ...TYPES,
    ...DIGESTS,
    ...[
      1,
      2,
      -1,
      2 ** 53,
      0,
      "linux",
      "windows",
      "amd64",
      "arm64",
      "v2",
      "2026-01-02T03:04:05Z",
      "yesterday",
      "root",
      "0:0",
    ],
    ...[
      "http://127.0.0.1:1/x",
      "file:///etc/passwd",
      "https://[",
      "e30=",
      "bnVsbA==",
      "../../etc/passwd",
      "/a",
      "a\0b",
    ],
    ...[[], {}, [[]], [{}], null, true, { "": {} }],
  ],
};

export function anyImage(random: Random): Served {
  const layers = random.between(0, 3);
  const config = changed(configOf(layers, random), random);
  const manifest = changed(manifestOf(layers, config, random), random);
  const documents = [config, manifest];
  if (random.chance(0.4)) documents.push(changed(indexOf(manifest, random), random));
  return {
    documents: documents.map((text) => ({ text, contentType: random.chance(0.7) ? "" : random.pick(TYPES) })),
    by: random.pick(["tag", "digest"]),
  };
}

function changed(tree: Tree, random: Random): string {
  const changes = random.pick([0, 0, 0, 1, 1, 2, 4]);
  const text = printJson(mutateTree(tree, random, { ...MANIFEST_WORDS, changes }), random);
  return random.chance(0.06)
    ? mutateText(text, random, ['"', "{", "]", ",", "\\u0000", "\ufeff", "1e9999", "\n"])
    : text;
}

function configOf(layers: number, random: Random): Tree {
  return {
    created: "2026-01-02T03:04:05.678Z",
    os: "linux",
    architecture: "amd64",
    config: {
      User: random.pick(["", "1000", "app:app"]),
      Env: ["PATH=/bin"],
      Cmd: ["/bin/sh"],
      Volumes: { "/data": {} },
      Labels: { a: "b" },
      WorkingDir: "/",
      StopSignal: "SIGTERM",
    },
    rootfs: { type: "layers", diff_ids: random.times(layers, (i) => `sha256:${String(i).repeat(64)}`) },
    history: random.times(layers, () => ({ created_by: "x" })),
  };
}

function manifestOf(layers: number, config: string, random: Random): Tree {
  const family = random.chance(0.5) ? OCI : DOCKER;
  const isOci = family === OCI;
  const layerType = random.pick([TYPES[3], TYPES[4], TYPES[5], TYPES[6], TYPES[10], TYPES[11]]);
  return {
    schemaVersion: 2,
    mediaType: isOci ? TYPES[0] : TYPES[7],
    config: { ...described(config, isOci ? TYPES[2] : TYPES[9]) },
    layers: random.times(layers, (i) => ({
      mediaType: layerType,
      digest: `sha256:${String(i + 1).repeat(64)}`,
      size: random.pick([0, 100, 2 ** 40]),
      ...(random.chance(0.2) ? { urls: ["https://blobs.example/layer", "http://127.0.0.1:1/x"] } : {}),
      ...(layerType === TYPES[5] ? { annotations: encrypted(random) } : {}),
      ...(random.chance(0.1)
        ? { annotations: { "org.opencontainers.image.title": random.pick(["a.bin", "../x", "/", ""]) } }
        : {}),
    })),
    ...(random.chance(0.1) ? { artifactType: "application/vnd.example" } : {}),
  };
}

function encrypted(random: Random): Tree {
  const jwe = { protected: "e30", recipients: [{ encrypted_key: "AA" }], iv: "AA", ciphertext: "AA", tag: "AA" };
  return {
    "org.opencontainers.image.enc.keys.jwe": btoa(random.pick([JSON.stringify(jwe), "{}", "[]", "x"])),
    "org.opencontainers.image.enc.pubopts": btoa('{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":"AA=="}'),
  };
}

function indexOf(manifest: string, random: Random): Tree {
  const platform = { os: "linux", architecture: random.pick(["amd64", "arm64"]) };
  const others = random.times(random.below(3), () => ({
    mediaType: TYPES[0],
    digest: random.pick(DIGESTS),
    size: 5,
    platform: {
      os: "linux",
      architecture: random.pick(["s390x", "arm64", "unknown"]),
      variant: random.pick(["v8", "", "v2"]),
    },
  }));
  return {
    schemaVersion: 2,
    mediaType: TYPES[1],
    manifests: [{ ...described(manifest, TYPES[0]), platform }, ...others],
  };
}

function described(text: string, mediaType: string): { [key: string]: Tree } {
  const bytes = new TextEncoder().encode(text);
  return { mediaType, digest: sha256(bytes), size: bytes.length };
}
