/**
 * Manifests, indexes and configurations from a registry: each image is refused, or is taken for the same by the pull process and
 * by the daemon, which checks what that one found.
 */
import { filesOf } from "../../src/image/artifacts/artifact.ts";
import { Transports } from "../../src/image/distribution/transports.ts";
import { openLayerKeys } from "../../src/image/encryption/layer_keys.ts";
import { parseDigest } from "../../src/base/ids.ts";
import { type Descriptor, parseManifest } from "../../src/image/manifest/documents.ts";
import { parseConfigSummary, parseImageConfig } from "../../src/image/manifest/image_config.ts";
import { Attempts } from "../../src/image/pull/attempts.ts";
import { placesOf } from "../../src/image/pull/layer_sources.ts";
import type { PullJob } from "../../src/image/pull/protocol.ts";
import { type ResolvedImage, resolveImage } from "../../src/image/pull/resolve.ts";
import { SilentHosts } from "../../src/image/pull/silent_hosts.ts";
import { checkResolved } from "../../src/image/resolved_image.ts";
import { FakeRegistry } from "../fakes/registry.ts";
import { makeTestCa, type TestCa } from "../fakes/registry/ca.ts";
import { sha256 } from "../fakes/registry/content.ts";
import { anyImage, type Served } from "./manifest_documents.ts";
import type { Random } from "./random.ts";
import {
  type Bytes,
  Fault,
  type FuzzSession,
  type FuzzTarget,
  type Reached,
  refusable,
  requireSame,
} from "./target.ts";

export const MANIFEST: FuzzTarget = {
  name: "manifest",
  open: (place) => ManifestSession.open(place),
};

const NAME = "team/app";
const TAG = "v1";
/** Of what storage keeps as one document, and what a registry may send as one, bytes. */
const MAX_DOCUMENT_BYTES = 4 << 20;

class ManifestSession implements FuzzSession {
  #transports: Transports;

  private constructor(
    private registry: FakeRegistry,
    private readonly trust: { readonly ca: TestCa; readonly file: string },
  ) {
    this.#transports = new Transports({ authoritiesFile: trust.file });
  }

  /** Over TLS that is trusted, or each case would have to find out how the registry is spoken to. */
  static async open(place: string): Promise<ManifestSession> {
    const [ca, file] = [await makeTestCa(), `${place}.pem`];
    await Deno.writeTextFile(file, ca.caPem, { createNew: true });
    return new ManifestSession(await FakeRegistry.start({ tls: ca }), { ca, file });
  }

  generate(random: Random): Bytes {
    return new TextEncoder().encode(JSON.stringify(anyImage(random)));
  }

  async run(input: Bytes): Promise<Reached> {
    const served = JSON.parse(new TextDecoder().decode(input)) as Served;
    const top = this.#serve(served);
    const isManifest = await refusable(() => parseManifest(top.bytes, top.contentType)) !== undefined;
    const resolved = await refusable(() => this.#resolve(served.by === "tag" ? TAG : top.digest));
    if (resolved === undefined) return isManifest ? "past" : "refused";
    if (!isManifest) throw new Fault("it is no manifest, and was taken");
    return await requireTaken(resolved, served.by === "tag" ? undefined : top.digest);
  }

  /** What the registry keeps grows with each case: another one from time to time. */
  async check(): Promise<void> {
    await this.#close();
    this.#transports = new Transports({ authoritiesFile: this.trust.file });
    this.registry = await FakeRegistry.start({ tls: this.trust.ca });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
    await Deno.remove(this.trust.file);
  }

  async #close(): Promise<void> {
    this.#transports[Symbol.dispose]();
    await this.registry[Symbol.asyncDispose]();
  }

  #serve({ documents }: Served): { readonly bytes: Bytes; readonly digest: string; readonly contentType: string } {
    let top = { bytes: new Uint8Array(), digest: "", contentType: "" };
    for (const { text, contentType } of documents) {
      const bytes = new TextEncoder().encode(text);
      this.registry.addBlob(bytes);
      top = {
        bytes,
        contentType,
        digest: this.registry.addManifest({ name: NAME, tag: TAG, bytes, mediaType: contentType }),
      };
    }
    this.registry.requests.length = 0;
    return top;
  }

  async #resolve(reference: string): Promise<ResolvedImage> {
    const job: PullJob = {
      name: `${this.registry.host}/${NAME}:${TAG}`,
      reference,
      endpoints: [{ host: this.registry.host, path: NAME, insecure: false, mirror: false }],
      platform: { os: "linux", architecture: "amd64", variant: "v3" },
      proxy: {},
      retryBaseMs: 1,
      trust: { configHome: "/nonexistent" },
    };
    return await resolveImage(job, {
      transports: this.#transports,
      attempts: new Attempts(job, () => {}),
      silent: new SilentHosts(),
      signal: new AbortController().signal,
    });
  }
}

/** The daemon's part, and what later reads of the image. */
async function requireTaken(found: ResolvedImage, wanted: string | undefined): Promise<Reached> {
  const { manifest, index, config, layers } = found;
  for (const bytes of [manifest.bytes, config, index?.bytes ?? new Uint8Array()]) {
    if (bytes.length > MAX_DOCUMENT_BYTES) throw new Fault(`a document of ${bytes.length} bytes was taken`);
  }
  const message = {
    manifest: manifest.bytes.toBase64(),
    manifestContentType: manifest.contentType,
    config: config.toBase64(),
    endpoint: "",
    signatures: [],
    ...(index === undefined ? {} : { index: index.bytes.toBase64(), indexContentType: index.contentType }),
  };
  const checked = await refusable(() => checkResolved(message, wanted === undefined ? undefined : parseDigest(wanted)));
  // As the pull process does it before it says that it has found something.
  const summary = found.kind === "image" ? await refusable(() => parseConfigSummary(config, layers.length)) : undefined;
  if (checked === undefined) {
    // The size of an index's entry is looked at by the daemon only.
    if (index === undefined && (found.kind === "artifact" || summary !== undefined)) {
      throw new Fault("the two disagree");
    }
    return "past";
  }
  if ("content" in checked) return await refusable(() => filesOf(checked.content)) === undefined ? "past" : "accepted";
  requireSame(checked.layers, layers, "layers");
  requireSame(checked.diffIds, summary?.diffIds, "diff IDs");
  requireSame(
    [checked.layers.length, checked.digest],
    [checked.diffIds.length, (index ?? manifest).digest],
    "counts and digest",
  );
  requireSame(sha256(config), `sha256:${checked.id}`, "image id");
  for (const layer of layers) requirePlaces(layer, found);
  requireDefaults(config);
  return await refusable(() => openLayerKeys(layers, "/nonexistent/keys")) === undefined ? "past" : "accepted";
}

/** The registry comes first; further places are those that the descriptor names, five at most, by http or https. */
function requirePlaces(layer: Descriptor, found: ResolvedImage): void {
  const [first, ...foreign] = placesOf(layer, found);
  requireSame(first.endpoint.host, found.places[0].endpoint.host, "the first place of a layer");
  if (foreign.length > 5) throw new Fault(`${foreign.length} foreign places`);
  for (const { endpoint } of foreign) {
    if (!/^https?:\/\//.test(endpoint.host)) throw new Fault(`a layer is asked for at ${endpoint.host}`);
  }
}

function requireDefaults(config: Bytes): void {
  const { env, cmd, entrypoint, volumes, labels, user, workingDir, stopSignal } = parseImageConfig(config);
  const texts = [...env, ...cmd, ...entrypoint, ...volumes, ...Object.values(labels), user, workingDir, stopSignal];
  if (texts.some((text) => typeof text !== "string")) throw new Fault("a default of the image is no text");
}
