/** From a reference to a verified manifest and configuration, on the first endpoint that has them. */
import { atStage, messageOf, PodError, UnimplementedError } from "../../base/errors.ts";
import { RegistryError } from "../distribution/registry_error.ts";
import { RegistryHost } from "../distribution/registry_host.ts";
import { type FetchedManifest, Repository } from "../distribution/repository.ts";
import type { Transports } from "../distribution/transports.ts";
import { type Descriptor, type Manifest, parseManifest } from "../manifest/documents.ts";
import { choosePlatform } from "../manifest/platform.ts";
import type { PullEndpoint, PullJob } from "./protocol.ts";

/** An image that was found. */
export interface ResolvedImage {
  readonly manifest: FetchedManifest;
  readonly index?: FetchedManifest;
  readonly config: Uint8Array<ArrayBuffer>;
  readonly layers: readonly Descriptor[];
  /** The repository that answered, then those that were not asked yet. */
  readonly repositories: readonly [Repository, ...Repository[]];
}

/** No endpoint could give the image; lists each with its reason. */
export class EndpointsError extends PodError {
  override readonly kind;
  readonly status: number | undefined;
  readonly codes: readonly string[];

  constructor(name: string, failures: ReadonlyArray<{ endpoint: PullEndpoint; error: RegistryError }>) {
    const reasons = failures.map(({ endpoint, error }) =>
      failures.length === 1 ? error.message : `${endpoint.mirror ? "mirror " : ""}${endpoint.host}: ${error.message}`
    );
    const tried = failures.length === 1 ? "" : `none of ${failures.length} endpoints has it: `;
    super(`pull ${name}: ${tried}${reasons.join("; ")}`);
    // The last endpoint is the image's own place: what it says counts most.
    const last = failures.at(-1)?.error;
    this.kind = last?.kind ?? "unavailable";
    this.status = last?.status;
    this.codes = last?.codes ?? [];
  }
}

/** @throws EndpointsError; DataLossError, UnimplementedError or FailedPreconditionError for an unusable image */
export async function resolveImage(
  job: PullJob,
  options: { readonly transports: Transports; readonly signal: AbortSignal },
): Promise<ResolvedImage> {
  const repositories = job.endpoints.map((endpoint) => repositoryAt(endpoint, { job, transports: options.transports }));
  const failures: { endpoint: PullEndpoint; error: RegistryError }[] = [];
  for (const [i, repository] of repositories.entries()) {
    const endpoint = job.endpoints[i];
    if (endpoint === undefined) break;
    try {
      const found = await resolveAt(repository, { job, signal: options.signal });
      return { ...found, repositories: [repository, ...repositories.slice(i + 1)] };
    } catch (error) {
      options.signal.throwIfAborted();
      if (!(error instanceof RegistryError)) throw atStage(`pull ${job.name} from ${repository.host.origin}`, error);
      failures.push({ endpoint, error });
    }
  }
  throw new EndpointsError(job.name, failures);
}

function repositoryAt(
  endpoint: PullEndpoint,
  context: { readonly job: PullJob; readonly transports: Transports },
): Repository {
  const { job, transports } = context;
  const host = new RegistryHost({
    host: endpoint.host,
    insecure: endpoint.insecure,
    transports,
    ...(endpoint.credentials === undefined ? {} : { credentials: endpoint.credentials }),
    ...(job.stallTimeoutMs === undefined ? {} : { stallTimeoutMs: job.stallTimeoutMs }),
    ...(job.retryBaseMs === undefined ? {} : { retry: { baseMs: job.retryBaseMs } }),
  });
  return new Repository(host, endpoint.path);
}

async function resolveAt(
  repository: Repository,
  context: { readonly job: PullJob; readonly signal: AbortSignal },
): Promise<Omit<ResolvedImage, "repositories">> {
  const { job, signal } = context;
  const top = await repository.manifest(job.reference, signal);
  const parsed = parseManifest(top.bytes, top.contentType);
  if (parsed.kind !== "index") return { manifest: top, ...await withConfig(parsed, { repository, signal }) };
  const chosen = choosePlatform(parsed.manifests, job.platform);
  const manifest = await repository.manifest(chosen.digest, signal);
  const inner = parseManifest(manifest.bytes, manifest.contentType);
  if (inner.kind === "index") {
    throw new UnimplementedError(`the index ${top.digest} names another index, ${chosen.digest}`);
  }
  return { manifest, index: top, ...await withConfig(inner, { repository, signal }) };
}

async function withConfig(
  manifest: Manifest & { readonly kind: "image" | "artifact" },
  from: { readonly repository: Repository; readonly signal: AbortSignal },
): Promise<{ config: Uint8Array<ArrayBuffer>; layers: readonly Descriptor[] }> {
  if (manifest.kind === "artifact") {
    throw new UnimplementedError(
      `it is no container image but an artifact of ${JSON.stringify(manifest.artifactType)}`,
    );
  }
  return { config: await from.repository.document(manifest.config, from.signal), layers: manifest.layers };
}

/** What a failure says over the socket. */
export function describeFailure(thrown: unknown): {
  kind: PodError["kind"];
  message: string;
  status?: number;
  codes?: readonly string[];
} {
  const error = thrown instanceof PodError ? thrown : atStage("pull", thrown);
  const extra = error instanceof RegistryError || error instanceof EndpointsError ? error : undefined;
  return {
    kind: error.kind,
    message: messageOf(error),
    ...(extra?.status === undefined ? {} : { status: extra.status }),
    ...(extra === undefined ? {} : { codes: extra.codes }),
  };
}
