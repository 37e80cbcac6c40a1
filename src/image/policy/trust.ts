/** Trust as the daemon applies it: which policy counts for whom, and whether an image of the store may be used. */
import { FailedPreconditionError, messageOf, NotFoundError, PodError } from "../../base/errors.ts";
import type { Digest, ImageId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import { parseManifest } from "../manifest/documents.ts";
import type { TrustJob, VerifyJob } from "../pull/protocol.ts";
import { type ImageReference, parseReference } from "../reference.ts";
import { configHome } from "../config_home.ts";
import { matchesDigest } from "../distribution/repository.ts";
import type { Policy } from "./parse_policy.ts";
import {
  acceptsEverything,
  demandOf,
  loadPolicy,
  namespacePolicyFile,
  PolicyError,
  systemPolicyFile,
} from "./policy.ts";
import type { TrustDemand } from "./requirement.ts";
import { dockerSubject, type PolicySubject } from "./scopes.ts";

export interface TrustSettings {
  /** `signature_policy`. Default: see {@link systemPolicyFile}. */
  readonly policyFile?: string;
  /** `signature_policy_dir`: `<namespace>.json` counts for pods of that namespace. */
  readonly policyDirectory?: string;
  /** A registries.d directory in place of the usual ones. */
  readonly lookasideDirectory?: string;
  /** CONTAINERS_POLICY_JSON, XDG_CONFIG_HOME and HOME. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** What trust needs of the store. */
export interface TrustStore {
  imageManifest(id: ImageId, digest?: Digest): Promise<Uint8Array>;
  imageSignatures(id: ImageId, manifest: Digest): Promise<readonly Uint8Array[]>;
}

/** Who checks signatures. */
export interface Verifier {
  /** @throws PolicyError's kind when they are not enough */
  verify(job: VerifyJob, options: { readonly signal: AbortSignal }): Promise<void>;
}

/** An image of the store, as far as trust is concerned. */
export interface KeptImage {
  readonly id: ImageId;
  readonly names: readonly string[];
  /** Of all manifests that are kept with it. */
  readonly digests: readonly Digest[];
}

export interface TrustDeps {
  readonly store: TrustStore;
  readonly verifier: Verifier;
  readonly log: Logger;
  /**
   * Files and directories of this node that an image was taken from, as the policy knows them: what it says of one of them
   * counts as well as what it says of the image's name. Default: none.
   */
  originsOf?(id: ImageId): readonly PolicySubject[];
}

/** Policies that are kept: one of the node, and some of namespaces. */
const MAX_KEPT = 64;

/** See the module comment. */
export class ImageTrust {
  /** The last policy that was read, by its file; as good as new while the file has not changed. */
  readonly #policies = new Map<string, { readonly stamp: string; readonly policy: Policy }>();

  constructor(
    private readonly settings: TrustSettings,
    private readonly deps: TrustDeps,
  ) {}

  /**
   * The policy that counts for a namespace; undefined or one without a file of its own: that of the node.
   *
   * @throws FailedPreconditionError for a file that cannot be read, or is wrong
   */
  async policyFor(namespace: string | undefined): Promise<Policy> {
    const { policyDirectory, policyFile, environment } = this.settings;
    const own = policyDirectory === undefined ? undefined : await namespacePolicyFile(policyDirectory, namespace ?? "");
    return await this.#load(own ?? policyFile ?? await systemPolicyFile(environment));
  }

  /**
   * Reads the policy of the node, so that a mistake shows before the next pull. One that is not there is no mistake yet.
   *
   * @throws FailedPreconditionError for a file that is wrong
   */
  async checkPolicy(): Promise<void> {
    const { policyFile, environment } = this.settings;
    const file = policyFile ?? await systemPolicyFile(environment).catch(() => undefined);
    if (file !== undefined && await stampOf(file) !== "") await this.#load(file);
  }

  /** What the pull process needs to know. */
  job(demand: TrustDemand | undefined): TrustJob {
    const { lookasideDirectory, environment } = this.settings;
    return {
      configHome: configHome(environment),
      ...(lookasideDirectory === undefined ? {} : { lookasideDirectory }),
      ...(demand === undefined ? {} : { demand }),
    };
  }

  /**
   * Checks whether an image may be used: what a policy says about it now counts, not what it said at the pull.
   *
   * @param options.meant what the user calls it, best first; empty: nobody knows, so one of its names has to be allowed
   * @throws PolicyError, or an error of its kind; FailedPreconditionError for an unusable policy
   */
  async check(
    image: KeptImage,
    options: {
      readonly meant: readonly ImageReference[];
      readonly namespace: string | undefined;
      readonly signal: AbortSignal;
    },
  ): Promise<void> {
    const policy = await this.policyFor(options.namespace);
    if (acceptsEverything(policy)) return;
    const names = options.meant.length > 0 ? options.meant : image.names.flatMap((name) => referenceIn(name) ?? []);
    // What it is called comes last: the reason that is given is that of the last.
    const subjects = [...this.deps.originsOf?.(image.id) ?? [], ...names.toReversed().map(dockerSubject)];
    let failure: PodError = new PolicyError(
      `image ${image.id} has no name by which the policy ${policy.file} could be asked: ask for it by name`,
    );
    for (const subject of subjects) {
      try {
        const demand = demandOf(policy, subject);
        if (demand !== undefined) await this.#meet(demand, { image, subject, signal: options.signal });
        return;
      } catch (error) {
        options.signal.throwIfAborted();
        if (!(error instanceof PodError)) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  async #meet(
    demand: TrustDemand,
    asked: { readonly image: KeptImage; readonly subject: PolicySubject; readonly signal: AbortSignal },
  ): Promise<void> {
    const { image, subject, signal } = asked;
    const digest = subject.reference?.digest;
    if (digest !== undefined && !image.digests.includes(digest)) {
      throw new PolicyError(`image ${image.id} is not ${subject.name}: pull that again`);
    }
    const manifests: VerifyJob["manifests"][number][] = [];
    for (const digest of image.digests) {
      const manifest = await this.#manifestOf(image.id, digest);
      if (manifest === undefined) continue;
      const signatures = await this.deps.store.imageSignatures(image.id, digest);
      manifests.push({ manifest: manifest.toBase64(), signatures: signatures.map((one) => one.toBase64()) });
    }
    const signed = manifests.filter(({ signatures }) => signatures.length > 0);
    await this.deps.verifier.verify({ demand, manifests: signed.length > 0 ? signed : manifests }, { signal });
    this.deps.log.debug("The signatures of an image were checked again", { image: demand.name, policy: demand.rule });
  }

  /** A manifest of the image itself: an index is not, nor is one that is not what its digest says. */
  async #manifestOf(id: ImageId, digest: Digest): Promise<Uint8Array | undefined> {
    try {
      const bytes = await this.deps.store.imageManifest(id, digest);
      if (!matchesDigest(bytes, digest)) return undefined;
      const parsed = parseManifest(bytes, "");
      const named = parsed.kind === "image" ? parsed.config.digest : parsed.kind === "artifact" ? digest : undefined;
      return named === `sha256:${id}` ? bytes : undefined;
    } catch (error) {
      if (!(error instanceof PodError)) throw error;
      if (!(error instanceof NotFoundError)) {
        this.deps.log.warn("A manifest is of no use for trust", { id, digest, reason: messageOf(error) });
      }
      return undefined;
    }
  }

  async #load(file: string): Promise<Policy> {
    const stamp = await stampOf(file);
    const known = this.#policies.get(file);
    if (known !== undefined && known.stamp === stamp) return known.policy;
    const policy = await loadPolicy(file);
    if (this.#policies.size >= MAX_KEPT) this.#policies.clear();
    this.#policies.set(file, { stamp, policy });
    return policy;
  }
}

/** Names in a shared store are other programs' as well. */
function referenceIn(name: string): ImageReference | undefined {
  try {
    return parseReference(name);
  } catch {
    return undefined;
  }
}

/** Changes with the file. A file that is not there has none, and is reported by who reads it. */
async function stampOf(file: string): Promise<string> {
  try {
    const { ino, size, mtime, ctime } = await Deno.stat(file);
    return [ino, size, mtime?.getTime(), ctime?.getTime()].join(" ");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw new FailedPreconditionError(`read the signature policy ${file}: ${messageOf(error)}`, { cause: error });
  }
}
