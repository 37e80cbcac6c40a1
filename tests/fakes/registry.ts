import { Gate, json, type RegistryAuth } from "./registry/auth.ts";
import { makeTestCa, type TestCa } from "./registry/ca.ts";
import {
  buildImage,
  buildIndex,
  type BuiltImage,
  type Dialect,
  type ImageSpec,
  indexMediaType,
  sha256,
} from "./registry/content.ts";
import { type Fault, FaultPlan } from "./registry/faults.ts";
import { type HttpReply, type HttpRequest, HttpServer } from "./registry/http.ts";

/** Which of the three origins a request reached: the registry, its token endpoint, or where blobs are redirected. */
export type Origin = "registry" | "token" | "storage";

export interface LoggedRequest {
  readonly origin: Origin;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** The Authorization header as it came, or undefined. */
  readonly authorization: string | undefined;
  readonly range: string | undefined;
  readonly headers: ReadonlyMap<string, string>;
  /** The status of the answer that was planned (a fault may cut it). */
  readonly status: number;
}

export interface FakeRegistryOptions {
  /** HTTPS: `true` makes an authority, or bring one (many registries can share it). */
  readonly tls?: boolean | TestCa;
  readonly auth?: RegistryAuth;
  /** Answer blob requests with this redirect to another origin, which refuses any Authorization header as S3 does. */
  readonly redirectBlobs?: 301 | 302 | 303 | 307 | 308;
  /** Whether Range is honoured. Default true. */
  readonly ranges?: boolean;
  readonly faults?: readonly Fault[];
  /** Default: one that the kernel chooses. */
  readonly port?: number;
}

interface Manifest {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
}

/** What {@link FakeRegistry.addImage} stored. */
export interface StoredImage extends BuiltImage {
  /** `127.0.0.1:port/name:tag` */
  readonly reference: string;
  /** `127.0.0.1:port/name@sha256:…` */
  readonly digestReference: string;
}

/**
 * A read-only OCI distribution registry inside the test, on a loopback port of its own.
 *
 * ```ts
 * await using registry = await FakeRegistry.start({ auth: { kind: "bearer" } });
 * const image = registry.addImage({ name: "team/app", layers: [tar] });
 * registry.fail({ path: "/blobs/", nth: 1, effect: { kind: "truncate", afterBytes: 100 } });
 * … pull image.reference …
 * assert(registry.requests.every((r) => r.origin !== "storage" || r.authorization === undefined));
 * ```
 */
export class FakeRegistry implements AsyncDisposable {
  /** Everything that was asked, in order. */
  readonly requests: LoggedRequest[] = [];
  readonly #blobs = new Map<string, Uint8Array>();
  /** `name` + space + tag or digest. */
  readonly #manifests = new Map<string, Manifest>();
  readonly #faults = new FaultPlan();
  readonly #servers: Record<Origin, HttpServer | undefined> = {
    registry: undefined,
    token: undefined,
    storage: undefined,
  };
  readonly #gate: Gate;

  private constructor(private readonly options: FakeRegistryOptions, private readonly ca: TestCa | undefined) {
    for (const fault of options.faults ?? []) this.fail(fault);
    this.#gate = new Gate(options.auth, { realm: () => `${this.#originOf("token")}/token`, service: "fake" });
  }

  /** Listens on 127.0.0.1; the token endpoint and the blob storage get ports of their own where they are needed. */
  static async start(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
    const ca = options.tls === true ? await makeTestCa() : options.tls === false ? undefined : options.tls;
    const registry = new FakeRegistry(options, ca);
    await registry.#listen("registry", (request) => registry.#answer(request));
    if (options.auth?.kind === "bearer") await registry.#listen("token", (request) => registry.#gate.issue(request));
    if (options.redirectBlobs !== undefined) {
      await registry.#listen("storage", (request) => registry.#answerStorage(request));
    }
    return registry;
  }

  /** `127.0.0.1:port`, as it stands in image references. */
  get host(): string {
    return this.#servers.registry?.host ?? "";
  }

  /** `http://127.0.0.1:port` or https. */
  get origin(): string {
    return this.#originOf("registry");
  }

  /** What a client has to trust; undefined without TLS. */
  get caPem(): string | undefined {
    return this.ca?.caPem;
  }

  /** Builds an image and stores it under `name:tag` (default `latest`) and its digest. */
  addImage(spec: ImageSpec & { readonly name: string; readonly tag?: string }): StoredImage {
    const { name, tag = "latest" } = spec;
    const image = buildImage(spec);
    for (const bytes of image.blobs.values()) this.addBlob(bytes);
    this.addManifest({ name, tag, bytes: image.manifest, mediaType: image.mediaType });
    return {
      ...image,
      reference: `${this.host}/${name}:${tag}`,
      digestReference: `${this.host}/${name}@${image.digest}`,
    };
  }

  /** Stores an index over images of the same repository; returns its digest. */
  addIndex(
    spec: { readonly name: string; readonly tag?: string; readonly dialect?: Dialect; images: readonly BuiltImage[] },
  ): string {
    const { name, tag = "latest", dialect = "oci" } = spec;
    return this.addManifest({
      name,
      tag,
      bytes: buildIndex(spec.images, { dialect }),
      mediaType: indexMediaType(dialect),
    });
  }

  /** Stores any bytes as a manifest, valid or not, under its digest and `tag`; returns the digest. */
  addManifest(
    spec: { readonly name: string; readonly tag?: string; readonly bytes: Uint8Array; readonly mediaType: string },
  ): string {
    const digest = sha256(spec.bytes);
    const manifest = { bytes: spec.bytes, mediaType: spec.mediaType };
    this.#manifests.set(`${spec.name} ${digest}`, manifest);
    if (spec.tag !== undefined) this.#manifests.set(`${spec.name} ${spec.tag}`, manifest);
    return digest;
  }

  /** Stores a blob (for all repositories); `digest` lies about it where given. Returns the digest. */
  addBlob(bytes: Uint8Array, options: { digest?: string } = {}): string {
    const digest = options.digest ?? sha256(bytes);
    this.#blobs.set(digest, bytes);
    return digest;
  }

  removeBlob(digest: string): void {
    this.#blobs.delete(digest);
  }

  /** Adds a fault; the first that fits a request is applied, on any of the three origins. */
  fail(fault: Fault): void {
    this.#faults.add(fault);
  }

  clearFaults(): void {
    this.#faults.clear();
  }

  /** All Bearer tokens handed out so far stop working. */
  expireTokens(): void {
    this.#gate.expireTokens();
  }

  /** Requests of one origin whose path contains `part`. */
  requestsTo(origin: Origin, part = ""): LoggedRequest[] {
    return this.requests.filter((request) => request.origin === origin && request.path.includes(part));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(Object.values(this.#servers).map((server) => server?.[Symbol.asyncDispose]()));
  }

  async #listen(origin: Origin, answer: (request: HttpRequest) => HttpReply): Promise<void> {
    const handler = async (request: HttpRequest): Promise<HttpReply> => {
      const reply = await this.#faults.apply(request, answer(request));
      this.#log(origin, { request, status: reply.status });
      return reply;
    };
    this.#servers[origin] = await HttpServer.start(handler, {
      ...(this.ca === undefined ? {} : { tls: this.ca }),
      ...(origin === "registry" && this.options.port !== undefined ? { port: this.options.port } : {}),
    });
  }

  #log(origin: Origin, entry: { request: HttpRequest; status: number }): void {
    const { method, path, query, headers } = entry.request;
    this.requests.push({
      origin,
      method,
      path,
      query: query.toString(),
      authorization: headers.get("authorization"),
      range: headers.get("range"),
      headers,
      status: entry.status,
    });
  }

  #originOf(origin: Origin): string {
    return this.#servers[origin]?.origin ?? "";
  }

  #answer(request: HttpRequest): HttpReply {
    const refused = this.#gate.check(request);
    if (refused !== undefined) return refused;
    if (request.path === "/v2/" || request.path === "/v2") return json(200, {});
    if (request.method !== "GET" && request.method !== "HEAD") return failure(405, "UNSUPPORTED");
    const match = /^\/v2\/(.+)\/(manifests|blobs|tags)\/([^/]+)$/.exec(decodeURIComponent(request.path));
    const [, name = "", kind, reference = ""] = match ?? [];
    if (kind === "manifests") return this.#manifest(name, reference);
    if (kind === "blobs") return this.#blob(reference, request);
    if (kind === "tags" && reference === "list") return this.#tags(name);
    return failure(404, "NAME_UNKNOWN");
  }

  #manifest(name: string, reference: string): HttpReply {
    const manifest = this.#manifests.get(`${name} ${reference}`);
    if (manifest === undefined) return failure(404, "MANIFEST_UNKNOWN");
    const headers = { "content-type": manifest.mediaType, "docker-content-digest": sha256(manifest.bytes) };
    return { status: 200, headers, body: manifest.bytes };
  }

  #tags(name: string): HttpReply {
    const keys = [...this.#manifests.keys()].map((key) => key.split(" "));
    const tags = keys.filter(([owner, tag]) => owner === name && tag?.includes(":") === false).map(([, tag]) => tag);
    return tags.length === 0 ? failure(404, "NAME_UNKNOWN") : json(200, { name, tags: tags.sort() });
  }

  #blob(digest: string, request: HttpRequest): HttpReply {
    if (!this.#blobs.has(digest)) return failure(404, "BLOB_UNKNOWN");
    if (this.options.redirectBlobs === undefined) return this.#blobBytes(digest, request);
    const location = `${this.#originOf("storage")}/bucket/${digest}?signature=x`;
    return { status: this.options.redirectBlobs, headers: { location } };
  }

  #answerStorage(request: HttpRequest): HttpReply {
    // S3 answers a signed URL that carries an Authorization header as well with 400.
    if (request.headers.has("authorization")) return failure(400, "CREDENTIALS_LEAKED");
    const digest = request.path.slice("/bucket/".length);
    return this.#blobs.has(digest) ? this.#blobBytes(digest, request) : failure(404, "BLOB_UNKNOWN");
  }

  #blobBytes(digest: string, request: HttpRequest): HttpReply {
    const bytes = this.#blobs.get(digest) ?? new Uint8Array();
    const headers = {
      "content-type": "application/octet-stream",
      "docker-content-digest": digest,
      ...(this.options.ranges === false ? {} : { "accept-ranges": "bytes" }),
    };
    const range = this.options.ranges === false ? null : /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("range") ?? "");
    if (range === null) return { status: 200, headers, body: bytes };
    const start = Number(range[1]);
    const last = range[2] === "" ? bytes.length - 1 : Math.min(Number(range[2]), bytes.length - 1);
    if (start > last) return { status: 416, headers: { "content-range": `bytes */${bytes.length}` } };
    const contentRange = `bytes ${start}-${last}/${bytes.length}`;
    return {
      status: 206,
      headers: { ...headers, "content-range": contentRange },
      body: bytes.subarray(start, last + 1),
    };
  }
}

function failure(status: number, code: string): HttpReply {
  return json(status, { errors: [{ code, message: code.toLowerCase().replaceAll("_", " ") }] });
}
