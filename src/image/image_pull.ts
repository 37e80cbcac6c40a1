/** One PullImage: from the name in the request to an image in the store. */
import {
  CancelledError,
  FailedPreconditionError,
  messageOf,
  PodError,
  UnavailableError,
  UnimplementedError,
} from "../base/errors.ts";
import type { Digest, ImageId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import type { ImageCommit, LayerStage, PresentLayer } from "../storage/types.ts";
import { beginArtifact, type PendingArtifact } from "./artifacts/artifact_pull.ts";
import type { ArtifactLayout } from "./artifacts/layout.ts";
import type { AuthFile } from "./auth/auth_file.ts";
import { CredentialSource } from "./auth/credential_source.ts";
import { type Credentials, registryKey } from "./auth/credentials.ts";
import { sweepNamespacedAuth, takeNamespacedAuth } from "./auth/namespaced_auth.ts";
import { certificateDirectories } from "./distribution/certificates.ts";
import { proxySettings } from "./distribution/proxy.ts";
import { openLayerKeys } from "./encryption/layer_keys.ts";
import { layerCommits, targets, warnOfPlatform } from "./layer_plan.ts";
import { hostPlatform } from "./manifest/platform.ts";
import { demandOf } from "./policy/policy.ts";
import type { TrustDemand } from "./policy/requirement.ts";
import { dockerSubject } from "./policy/scopes.ts";
import type { ImageTrust, TrustSettings } from "./policy/trust.ts";
import { LayerClaims } from "./layer_claims.ts";
import type { PullTracker } from "./progress/pull_tracker.ts";
import type { RunningPulls } from "./progress/running_pulls.ts";
import type { EndpointMessage, LayerResult, PullEndpoint, PullJob, ResolvedMessage } from "./pull/protocol.ts";
import type { PullHooks } from "./pull_client.ts";
import { canonical, domainOf, type ImageReference, parseReference } from "./reference.ts";
import { candidates, type Endpoint, endpointsOf } from "./registries/endpoints.ts";
import type { RegistriesConfig, ShortNameMode } from "./registries/registries_conf.ts";
import { type CheckedArtifact, type CheckedImage, checkLayers, checkResolved } from "./resolved_image.ts";

const DEFAULT_KEYS_PATH = "/etc/crio/keys";

/** What a pull needs of the store. */
export interface PullStore {
  presentLayers(chain: CheckedImage["diffIds"], options: { signal?: AbortSignal }): Promise<readonly PresentLayer[]>;
  stage(): Promise<LayerStage>;
  commitImage(commit: ImageCommit, options: { signal?: AbortSignal }): Promise<ImageId>;
}

/** Who downloads and unpacks. */
export interface Puller {
  prepare(): void;
  pull(job: PullJob, hooks: PullHooks): Promise<readonly LayerResult[]>;
}

export interface PullSettings extends TrustSettings {
  /** Default: what registries.conf says, else `enforcing`. */
  readonly shortNameMode?: ShortNameMode;
  /** `global_auth_file`. */
  readonly globalAuthFile?: string;
  /** `decryption_keys_path`. Default: that of CRI-O. */
  readonly decryptionKeysPath?: string;
  /** `namespaced_auth_dir`. Default: none. */
  readonly namespacedAuthDirectory?: string;
  /** Longest wait for a credential helper, milliseconds. Default 15,000. */
  readonly helperTimeoutMs?: number;
  readonly certificateDirectories?: readonly string[];
  /** Longest silence of a registry, milliseconds. Default 60,000. */
  readonly stallTimeoutMs?: number;
  /** First wait between attempts. Default 250 ms. */
  readonly retryBaseMs?: number;
  /** How long a place that another one follows may keep silent at first, or be too slow; milliseconds. Default 20,000. */
  readonly patienceMs?: number;
  /** Proxies, HOME, REGISTRY_AUTH_FILE, SSL_CERT_FILE, and what credential helpers need. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** A pull, as the request asks for it. */
export interface PullRequest {
  readonly image: string;
  readonly credentials?: Credentials;
  /** Server that the credentials are for; another one's are not used. */
  readonly serverAddress?: string;
  readonly pod?: { readonly namespace: string };
  readonly cgroupParent?: string;
}

/** Where the registries configuration comes from. */
export interface RegistriesSource {
  current(): Promise<RegistriesConfig>;
}

/** What one pull works with. */
interface PullContext {
  readonly request: PullRequest;
  readonly config: RegistriesConfig;
  readonly namespaced: AuthFile | undefined;
  readonly pull: PullTracker;
}

/** An image on its way into the store. */
export interface Transfer {
  /** For the log. */
  readonly title: string;
  /** It gets them, whoever had them; an artifact gets the first. */
  readonly names: readonly string[];
  /** What its manifest or index has to have. */
  readonly digest?: Digest;
  readonly job: PullJob;
  /** Where it comes from. Default: registries. */
  readonly puller?: Pick<Puller, "pull">;
  /** Whether nothing is to be done. Default: never. */
  isThere?(image: CheckedImage): Promise<boolean>;
}

interface PullDeps {
  readonly registries: RegistriesSource;
  readonly store: PullStore;
  readonly puller: Puller;
  readonly trust: Pick<ImageTrust, "policyFor" | "job">;
  readonly log: Logger;
  readonly pulls: RunningPulls;
  /** Absent: artifacts are refused. */
  readonly artifacts?: ArtifactLayout;
}

/** Pulls images into a store. */
export class ImagePull {
  readonly #credentials: CredentialSource;
  readonly #claims = new LayerClaims();
  #swept: Promise<void> | undefined;

  constructor(private readonly settings: PullSettings, private readonly deps: PullDeps) {
    const { environment, globalAuthFile, helperTimeoutMs } = settings;
    this.#credentials = new CredentialSource({
      environment,
      ...(globalAuthFile === undefined ? {} : { globalFile: globalAuthFile }),
      ...(helperTimeoutMs === undefined ? {} : { helperTimeoutMs }),
    }, deps.log);
  }

  /**
   * @returns the id of the image
   * @throws InvalidArgumentError for a bad name or configuration; PolicyError; PullError with every place that was
   *   asked; DataLossError for content that is not what it says it is
   */
  async run(request: PullRequest, signal: AbortSignal): Promise<ImageId> {
    const pull = this.deps.pulls.begin(request.image, signal);
    try {
      const id = await this.#run(request, pull);
      pull.succeeded(id);
      return id;
    } catch (error) {
      pull.failed(error);
      throw error;
    }
  }

  async #run(request: PullRequest, pull: PullTracker): Promise<ImageId> {
    const { signal } = pull;
    // While the process starts, the name is looked up.
    this.deps.puller.prepare();
    const { shortNameMode } = this.settings;
    const [config, policy] = await Promise.all([
      this.deps.registries.current(),
      this.deps.trust.policyFor(request.pod?.namespace),
    ]);
    this.deps.log.debug(`Using pull policy path for image ${request.image}: ${policy.file}`);
    const references = candidates(request.image, {
      config,
      ...(shortNameMode === undefined ? {} : { shortNameMode }),
    });
    const namespaced = await this.#namespacedAuth(request);
    const failures: PodError[] = [];
    for (const reference of references) {
      try {
        const demand = demandOf(policy, dockerSubject(reference));
        return await this.#pullReference(reference, { request, config, namespaced, pull, demand });
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof PodError)) throw error;
        failures.push(error);
      }
    }
    throw failures.length === 1 && failures[0] !== undefined
      ? failures[0]
      : new CandidatesError(request.image, failures);
  }

  async #pullReference(
    reference: ImageReference,
    context: PullContext & { readonly demand: TrustDemand | undefined },
  ): Promise<ImageId> {
    const { config, pull, demand } = context;
    const endpoints = await Promise.all(
      endpointsOf(reference, config).map((endpoint) => this.#withCredentials(endpoint, { ...context, reference })),
    );
    const job = {
      ...this.#job(reference, endpoints),
      platform: await hostPlatform(),
      trust: this.deps.trust.job(demand),
    };
    const { digest, repository: title } = reference;
    const names = [canonical(reference)];
    return await this.transfer({ title, names, job, ...(digest === undefined ? {} : { digest }) }, pull);
  }

  /**
   * Brings one image into the store.
   *
   * @throws as {@link run}
   */
  async transfer(what: Transfer, pull: PullTracker): Promise<ImageId> {
    try {
      return await this.#transfer(what, { pull, whole: false });
    } catch (error) {
      // A layer that was here is gone: somebody removed an image meanwhile. Once more, counting on no layer.
      if (!(error instanceof FailedPreconditionError) || pull.signal.aborted) throw error;
      this.deps.log.debug("Pull again after a conflict", { image: what.job.name, reason: error.message });
      return await this.#transfer(what, { pull, whole: true });
    }
  }

  /** @param how.whole downloads every layer: a commit takes those that are there even so */
  async #transfer(
    what: Transfer,
    { pull, whole }: { readonly pull: PullTracker; readonly whole: boolean },
  ): Promise<ImageId> {
    const { store, log } = this.deps;
    const { names, job, puller = this.deps.puller } = what;
    const { signal } = pull;
    await using stack = new AsyncDisposableStack();
    let image: CheckedImage | undefined;
    let present: readonly PresentLayer[] = [];
    let stage: LayerStage | undefined;
    let signatures: readonly Uint8Array[] = [];
    let artifact: PendingArtifact | undefined;
    let isThere = false;
    const plan: PullHooks["plan"] = async (resolved) => {
      signatures = resolved.signatures.map((signature) => Uint8Array.fromBase64(signature));
      warnOfSignatures(resolved, { job, log });
      const found = checkResolved(resolved, what.digest);
      if ("content" in found) {
        artifact = await kept(stack, await this.#beginArtifact(found, { job, pull, endpoint: resolved.endpoint }));
        return artifact.targets;
      }
      image = found;
      isThere = await what.isThere?.(image) ?? false;
      if (isThere) return [];
      const keys = await openLayerKeys(image.layers, this.settings.decryptionKeysPath ?? DEFAULT_KEYS_PATH);
      const { diffIds } = image;
      await kept(
        stack,
        await this.#claims.claim(diffIds, async () => {
          present = await store.presentLayers(diffIds, { signal });
          return present.length;
        }, { signal, onWait: () => pull.waiting() }),
      );
      if (whole) present = [];
      const total = image.layers.length;
      pull.resolved({ ...image, endpoint: resolved.endpoint, present: present.length, imageBytes: imageBytes(image) });
      log.info("Pulling image", { image: job.name, from: resolved.endpoint, layers: total, present: present.length });
      warnOfPlatform(image, { job, log });
      if (present.length >= total) return [];
      stage = await kept(stack, await store.stage());
      return await targets(stage, { from: present.length, count: total, keys });
    };
    const results = await puller.pull(job, {
      signal,
      plan,
      endpoint: (message) => {
        if (message.failure === undefined) pull.asking(message.endpoint);
        this.#tell(job, message);
      },
      progress: (progress) => pull.progress(progress),
    });
    if (artifact !== undefined) {
      pull.committing();
      const id = await artifact.commit(names[0] ?? job.name, { results, signatures });
      log.info(`Pulled artifact: ${job.name}`, { id });
      return id;
    }
    if (image === undefined) throw new UnavailableError(`pull ${job.name}: the pull process said nothing`);
    if (isThere) return image.id;
    const wanted = image.layers.map((_, i) => i).slice(present.length);
    const layers = layerCommits(image, { present, results: checkLayers(image, results, wanted) });
    pull.committing();
    const { id, manifest, index, config, created, digest } = image;
    await store.commitImage({
      names,
      config,
      manifest,
      signatures,
      layers,
      ...(index === undefined ? {} : { index }),
      ...(created === undefined ? {} : { created }),
      ...(stage === undefined ? {} : { stage }),
    }, { signal });
    log.info(`Pulled image: ${what.title}@${digest}`, { id });
    return id;
  }

  async #beginArtifact(
    found: CheckedArtifact,
    { job, pull, endpoint }: { readonly job: PullJob; readonly pull: PullTracker; readonly endpoint: string },
  ): Promise<PendingArtifact> {
    const { artifacts, log } = this.deps;
    const { artifactType, layers, config } = found.content;
    if (artifacts === undefined) {
      throw new UnimplementedError(`${job.name} is no container image but an artifact (${artifactType})`);
    }
    const pending = await beginArtifact(found, artifacts);
    const imageBytes = [config, ...layers].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    pull.resolved({ endpoint, layers, present: pending.targets.length === 0 ? layers.length : 0, imageBytes });
    log.info("Pulling artifact", { image: job.name, from: endpoint, type: artifactType, files: layers.length });
    return pending;
  }

  #job(reference: ImageReference, endpoints: readonly PullEndpoint[]): Omit<PullJob, "platform" | "trust"> {
    const { environment, stallTimeoutMs, retryBaseMs, patienceMs } = this.settings;
    const authoritiesFile = environment["SSL_CERT_FILE"];
    const progressMs = this.deps.pulls.intervalMs;
    return {
      name: canonical(reference),
      reference: reference.digest ?? reference.tag ?? "latest",
      endpoints,
      proxy: proxySettings(environment),
      certificateDirectories: this.settings.certificateDirectories ?? certificateDirectories(environment),
      ...(authoritiesFile === undefined ? {} : { authoritiesFile }),
      ...(stallTimeoutMs === undefined ? {} : { stallTimeoutMs }),
      ...(retryBaseMs === undefined ? {} : { retryBaseMs }),
      ...(progressMs === undefined ? {} : { progressMs }),
      ...(patienceMs === undefined ? {} : { patienceMs }),
    };
  }

  /** Each place that is asked is told, with what became of it. */
  #tell(job: PullJob, message: EndpointMessage): void {
    const { endpoint, mirror, failure } = message;
    const fields = { image: job.name, mirror };
    if (failure === undefined) this.deps.log.info(`Trying to access ${JSON.stringify(endpoint)}`, fields);
    else this.deps.log.info(`Could not pull from ${JSON.stringify(endpoint)}: ${failure}`, fields);
  }

  async #namespacedAuth(request: PullRequest): Promise<AuthFile | undefined> {
    const { namespacedAuthDirectory: directory } = this.settings;
    const { image, pod } = request;
    if (directory === undefined || pod === undefined) return undefined;
    const options = { directory, log: this.deps.log };
    await (this.#swept ??= sweepNamespacedAuth(options));
    return await takeNamespacedAuth(pod.namespace, parseReference(image).repository, options);
  }

  /**
   * The request's credentials go to the image's own place only; a mirror is logged in to with what a file has for it.
   */
  async #withCredentials(
    endpoint: Endpoint,
    context: PullContext & { readonly reference: ImageReference },
  ): Promise<PullEndpoint> {
    const { reference, request, config, namespaced, pull: { signal } } = context;
    const own = !endpoint.mirror || endpoint.host === domainOf(reference);
    const given = own ? this.#requestCredentials(reference, request) : undefined;
    if (given !== undefined) return { ...endpoint, credentials: given };
    const { credentials, problem } = await this.#credentials.find(`${endpoint.host}/${endpoint.path}`, {
      helpers: config.credentialHelpers,
      signal,
      ...(namespaced === undefined ? {} : { namespaced }),
    });
    return {
      ...endpoint,
      ...(credentials === undefined ? {} : { credentials }),
      ...(problem === undefined ? {} : { credentialProblem: problem }),
    };
  }

  #requestCredentials(reference: ImageReference, request: PullRequest): Credentials | undefined {
    const { serverAddress = "", credentials } = request;
    if (serverAddress === "" || registryKey(serverAddress) === registryKey(domainOf(reference))) return credentials;
    this.deps.log.warn("Credentials of the pull request are for another server and are not used", {
      image: canonical(reference),
      server: registryKey(serverAddress),
    });
    return undefined;
  }
}

/** None of the names that a short name may stand for could be pulled. */
export class CandidatesError extends PodError {
  override readonly kind;

  constructor(image: string, readonly failures: readonly PodError[]) {
    super(`pull ${JSON.stringify(image)}: ${failures.map(messageOf).join("; ")}`);
    this.kind = failures.at(-1)?.kind ?? "not_found";
  }
}

function imageBytes({ layers, config }: CheckedImage): number {
  return layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, config.length);
}

/** A plan may outlive its pull, whose process has died: what it gets then is let go at once. @throws CancelledError then */
async function kept<T extends Disposable | AsyncDisposable>(stack: AsyncDisposableStack, thing: T): Promise<T> {
  if (!stack.disposed) return stack.use(thing);
  await using late = new AsyncDisposableStack();
  late.use(thing);
  throw new CancelledError("the pull ended while it was planned");
}

/** An image that needs no signature is pulled all the same. */
function warnOfSignatures(
  { signatureFailure: reason }: ResolvedMessage,
  { job, log }: { readonly job: PullJob; readonly log: Logger },
): void {
  if (reason === undefined) return;
  log.warn("Signatures were not fetched: under a policy that asks for them the image has to be pulled again", {
    image: job.name,
    reason,
  });
}
