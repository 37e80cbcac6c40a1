/**
 * Whether an image's signatures meet what the policy asks for. Runs in the pull process: what it parses was written by
 * strangers. The libraries are loaded for the first requirement that needs them.
 *
 * @module
 */
import { InvalidArgumentError, messageOf } from "../../base/errors.ts";
import { matchesDigest } from "../distribution/repository.ts";
import { type ImageReference, parseReference } from "../reference.ts";
import { type Claims, parseClaims } from "./claims.ts";
import { acceptsIdentity } from "./identity.ts";
import { loadMaterial } from "./material.ts";
import { PolicyError } from "./policy.ts";
import { SignatureRejection } from "./rejection.ts";
import type { SignatureRequirement, SignedBy, SigstoreSigned, TrustDemand } from "./requirement.ts";
import type { Signature } from "./signature.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** An image of which it is asked whether it may be used. */
export interface SignedImage {
  /** The manifest of the image itself, not of an index over it. */
  readonly manifest: Bytes;
  readonly signatures: readonly Signature[];
}

/**
 * @throws PolicyError with the reason for each signature that was not taken; FailedPreconditionError when a key or
 *   certificate of the policy cannot be read
 */
export async function verifyImage(demand: TrustDemand, image: SignedImage): Promise<void> {
  const intended = demand.identity === undefined ? undefined : parseReference(demand.identity);
  for (const requirement of demand.requirements) await requireOne({ demand, requirement, intended }, image);
}

/** Checks one signature and gives its payload. */
type Checker = (signature: Signature) => Promise<Bytes> | Bytes;

interface Question {
  readonly demand: TrustDemand;
  readonly requirement: SignatureRequirement;
  readonly intended: ImageReference | undefined;
}

async function requireOne({ demand, requirement, intended }: Question, image: SignedImage): Promise<void> {
  const refusal = (reason: string): PolicyError =>
    new PolicyError(`${demand.name} has to be ${requirement.type} by the policy ${demand.rule}: ${reason}`);
  const fitting = image.signatures.filter(formOf(requirement));
  if (fitting.length === 0) {
    // Keys are not read, nor libraries loaded.
    const others = image.signatures.length === 0 ? "" : ` (and ${image.signatures.length} of other kinds)`;
    throw refusal(`it has no signature of that kind${others}${WHERE[requirement.type]}`);
  }
  const check = await checkerFor(requirement);
  const reasons: string[] = [];
  for (const signature of fitting) {
    try {
      const payload = await check(signature);
      matchClaims(parseClaims(payload, signature.format), { requirement, intended, manifest: image.manifest });
      return;
    } catch (error) {
      if (!(error instanceof SignatureRejection) && !(error instanceof InvalidArgumentError)) throw error;
      reasons.push(messageOf(error));
    }
  }
  throw refusal(reasons.join("; "));
}

const WHERE = {
  signedBy: ", or registries.d does not say where it is (lookaside)",
  sigstoreSigned: ", or registries.d does not allow it (use-sigstore-attachments)",
} as const;

const SIGNATURE_MEDIA_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json";

function formOf({ type }: SignatureRequirement): (signature: Signature) => boolean {
  if (type === "signedBy") return ({ format }) => format === "simple";
  // Attestations and the like may stand beside signatures.
  return (signature) => signature.format === "sigstore" && signature.mediaType === SIGNATURE_MEDIA_TYPE;
}

function matchClaims(
  { digest, reference }: Claims,
  image: { readonly requirement: SignatureRequirement; readonly intended: ImageReference | undefined; manifest: Bytes },
): void {
  if (!matchesDigest(image.manifest, digest)) throw new SignatureRejection(`it is for another image, ${digest}`);
  const { signedIdentity } = image.requirement;
  if (acceptsIdentity(signedIdentity, { intended: image.intended, claimed: reference })) return;
  throw new SignatureRejection(
    `it is for the name ${JSON.stringify(reference.slice(0, 300))}, which ${signedIdentity.type} does not take`,
  );
}

async function checkerFor(requirement: SignatureRequirement): Promise<Checker> {
  return requirement.type === "signedBy" ? await simpleChecker(requirement) : await sigstoreChecker(requirement);
}

async function simpleChecker({ keyType, keys }: SignedBy): Promise<Checker> {
  if (keyType !== "GPGKeys") {
    throw new PolicyError(
      `the policy asks for signatures with keys of the type ${keyType}: only GPGKeys are supported`,
    );
  }
  const { openSignedMessage, readKeyrings } = await import("./simple_signing.ts");
  const trusted = await readKeyrings((await loadMaterial(keys)).map(({ bytes }) => bytes));
  return (signature) => {
    if (signature.format !== "simple") throw new SignatureRejection("it is no simple signature");
    return openSignedMessage(signature.message, trusted);
  };
}

async function sigstoreChecker(requirement: SigstoreSigned): Promise<Checker> {
  const { checkSigstore, loadSigstoreTrust } = await import("./sigstore.ts");
  const trust = await loadSigstoreTrust(requirement);
  return (signature) => {
    if (signature.format !== "sigstore") throw new SignatureRejection("it is no sigstore signature");
    return checkSigstore(signature, trust);
  };
}
