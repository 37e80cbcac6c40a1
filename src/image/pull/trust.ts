/** The pull process's part in trust: fetches signatures, and checks them before anything is downloaded. */
import { messageOf, PodError } from "../../base/errors.ts";
import { type FetchOptions, fetchSignatures } from "../policy/fetch_signatures.ts";
import { PolicyError } from "../policy/policy.ts";
import { loadLookaside, signatureSources } from "../policy/registries_d.ts";
import { formatSignature, parseSignature, type Signature } from "../policy/signature.ts";
import { verifyImage } from "../policy/verify.ts";
import { parseReference } from "../reference.ts";
import type { LoadedImage } from "../archive/archived_image.ts";
import type { FetchedManifest } from "../distribution/repository.ts";
import type { PullJob, ResolvedMessage, VerifyJob } from "./protocol.ts";
import type { ResolvedImage } from "./resolve.ts";

/**
 * The signatures of an image that was found, checked where the job demands it.
 *
 * @throws PolicyError when they are not enough; what {@link fetchSignatures} throws, where signatures are demanded
 */
export async function trustedSignatures(
  job: PullJob,
  image: ResolvedImage,
  options: Pick<FetchOptions, "transports" | "signal">,
): Promise<Pick<ResolvedMessage, "signatures" | "signatureFailure">> {
  const { signal } = options;
  return await checkedSignatures(job, {
    manifest: image.manifest,
    signal,
    get: () => signaturesOf(job, image, options),
  });
}

/** The same for an image of an archive. */
export async function trustedInArchive(
  job: PullJob,
  image: LoadedImage,
  { signal }: { readonly signal: AbortSignal },
): Promise<Pick<ResolvedMessage, "signatures" | "signatureFailure">> {
  const get = async (): Promise<readonly Signature[]> => await image.signatures?.() ?? [];
  return await checkedSignatures(job, { manifest: image.manifest, signal, get });
}

async function checkedSignatures(
  { trust: { demand } }: PullJob,
  image: {
    readonly manifest: FetchedManifest;
    readonly signal: AbortSignal;
    readonly get: () => Promise<readonly Signature[]>;
  },
): Promise<Pick<ResolvedMessage, "signatures" | "signatureFailure">> {
  let signatures: readonly Signature[];
  try {
    signatures = await image.get();
  } catch (error) {
    if (demand !== undefined || !(error instanceof PodError)) throw error;
    image.signal.throwIfAborted();
    return { signatures: [], signatureFailure: messageOf(error) };
  }
  if (demand !== undefined) await verifyImage(demand, { manifest: image.manifest.bytes, signatures });
  return { signatures: signatures.map((signature) => formatSignature(signature).toBase64()) };
}

/** Checks an image of the store. @throws PolicyError when none of its manifests passes */
export async function verifyAgain({ demand, manifests }: VerifyJob): Promise<void> {
  let failure: PodError = new PolicyError(`${demand.name} has no manifest that could be signed`);
  for (const { manifest, signatures } of manifests) {
    try {
      const parsed = signatures.map((signature) => parseSignature(Uint8Array.fromBase64(signature)));
      return await verifyImage(demand, { manifest: Uint8Array.fromBase64(manifest), signatures: parsed });
    } catch (error) {
      if (!(error instanceof PodError)) throw error;
      failure = error;
    }
  }
  throw failure;
}

async function signaturesOf(
  job: PullJob,
  image: ResolvedImage,
  options: Pick<FetchOptions, "transports" | "signal">,
): Promise<readonly Signature[]> {
  const [{ endpoint, repository }] = image.places;
  const { lookasideDirectory: directory, configHome } = job.trust;
  const config = await loadLookaside(directory === undefined ? { configHome } : { directory });
  // registries.d speaks of the place that is asked, a mirror's own name included.
  const { host, path, insecure } = endpoint;
  const place = parseReference(`${host}/${path}${job.reference.includes(":") ? "@" : ":"}${job.reference}`);
  const sources = signatureSources(config, place);
  return await fetchSignatures({ ...options, sources, repository, insecure, digest: image.manifest.digest });
}
