/** From a reference to a verified manifest and configuration, on the first endpoint that has them. */
import { atStage, InvalidArgumentError, messageOf, PodError, UnimplementedError } from "../../base/errors.ts";
import { RegistryError } from "../distribution/registry_error.ts";
import { RegistryHost } from "../distribution/registry_host.ts";
import { type FetchedManifest, Repository } from "../distribution/repository.ts";
import { BEFORE_OTHERS } from "../distribution/retry.ts";
import type { Transports } from "../distribution/transports.ts";
import { type Descriptor, type Manifest, parseManifest } from "../manifest/documents.ts";
import { choosePlatform } from "../manifest/platform.ts";
import { type Attempts, EndpointsError } from "./attempts.ts";
import type { PullEndpoint, PullJob } from "./protocol.ts";
import type { SilentHosts } from "./silent_hosts.ts";

/** An image that was found. */
export interface ResolvedImage {
  readonly kind: "image" | "artifact";
  readonly manifest: FetchedManifest;
  readonly index?: FetchedManifest;
  readonly config: Uint8Array<ArrayBuffer>;
  readonly layers: readonly Descriptor[];
  /** The one that answered, then those that were not asked yet. */
  readonly places: readonly [ImagePlace, ...ImagePlace[]];
}

/** An endpoint, and the repository there. */
export interface ImagePlace {
  readonly endpoint: PullEndpoint;
  readonly repository: Repository;
}

/** The configuration of most artifacts; not every registry has been given it. */
const EMPTY_OBJECT = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
/** A place that another one follows may keep silent at first, or be too slow, for this long. */
const PATIENCE_MS = 20_000;

/** @throws EndpointsError; DataLossError, UnimplementedError or FailedPreconditionError for an unusable image */
export async function resolveImage(
  job: PullJob,
  options: {
    readonly transports: Transports;
    readonly attempts: Attempts;
    readonly silent: SilentHosts;
    readonly signal: AbortSignal;
  },
): Promise<ResolvedImage> {
  const { attempts, silent, signal, transports } = options;
  const places = job.endpoints.map((endpoint, i): ImagePlace => {
    const usualMs = job.patienceMs ?? PATIENCE_MS;
    const last = i + 1 === job.endpoints.length;
    const patience = last ? {} : { patienceMs: silent.patience(endpoint.host, usualMs) };
    return { endpoint, repository: repositoryAt(endpoint, { job, transports, ...patience }) };
  });
  for (const [i, place] of places.entries()) {
    const { endpoint, repository } = place;
    attempts.trying(endpoint);
    try {
      const found = await resolveAt(repository, { job, signal });
      silent.delete(endpoint.host);
      return { ...found, places: [place, ...places.slice(i + 1)] };
    } catch (error) {
      signal.throwIfAborted();
      const failure = error instanceof RegistryError
        ? error
        : atStage(`pull ${job.name} from ${repository.host.origin}`, error);
      // A proxy's page, a copy without this platform, bad certificate files: the image may be well elsewhere. What this
      // node cannot handle is the same everywhere.
      if (failure.kind === "unimplemented" || i + 1 === places.length) throw attempts.error(endpoint, failure);
      attempts.failed(endpoint, failure);
      if (failure.kind === "registry_unavailable") silent.add(endpoint.host);
    }
  }
  throw new InvalidArgumentError(`pull ${job.name}: there is no place to ask`);
}

function repositoryAt(
  endpoint: PullEndpoint,
  context: { readonly job: PullJob; readonly transports: Transports; readonly patienceMs?: number },
): Repository {
  const { job, transports, patienceMs } = context;
  const { stallTimeoutMs, retryBaseMs } = job;
  const { host, insecure, credentials, credentialProblem, path } = endpoint;
  const registry = new RegistryHost({
    host,
    insecure,
    transports,
    ...(credentials === undefined ? {} : { credentials }),
    ...(credentialProblem === undefined ? {} : { credentialProblem }),
    ...(stallTimeoutMs === undefined ? {} : { stallTimeoutMs }),
    ...(patienceMs === undefined ? {} : { patienceMs }),
    retry: {
      ...(patienceMs === undefined ? {} : BEFORE_OTHERS),
      ...(retryBaseMs === undefined ? {} : { baseMs: retryBaseMs }),
    },
  });
  return new Repository(registry, path);
}

async function resolveAt(
  repository: Repository,
  context: { readonly job: PullJob; readonly signal: AbortSignal },
): Promise<Omit<ResolvedImage, "places">> {
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
): Promise<Pick<ResolvedImage, "kind" | "config" | "layers">> {
  const config = manifest.config.digest === EMPTY_OBJECT
    ? new TextEncoder().encode("{}")
    : await from.repository.document(manifest.config, from.signal);
  return { kind: manifest.kind, config, layers: manifest.layers };
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
