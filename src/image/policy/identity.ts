/** Whether the identity that a signature claims is one that the policy takes for an image. */
import { canonical, type ImageReference, parseReference } from "../reference.ts";
import type { IdentityRule } from "./requirement.ts";

/**
 * @param options.intended the image as it is asked for; undefined where the place it comes from gives it no name
 * @param options.claimed what the signature says
 */
export function acceptsIdentity(
  rule: IdentityRule,
  options: { readonly intended: ImageReference | undefined; readonly claimed: string },
): boolean {
  const signed = referenceOf(options.claimed);
  const { intended } = options;
  if (signed === undefined) return false;
  switch (rule.type) {
    case "exactReference":
      return isSame(referenceOf(rule.dockerReference), signed);
    case "exactRepository":
      return referenceOf(rule.dockerRepository)?.repository === signed.repository;
    case "matchExact":
      return isSame(intended, signed);
    case "matchRepository":
      return intended?.repository === signed.repository;
    case "matchRepoDigestOrExact":
      return isSameOrByDigest(intended, signed);
    case "remapIdentity":
      return isSameOrByDigest(intended === undefined ? undefined : remapped(intended, rule), signed);
  }
}

function isSame(intended: ImageReference | undefined, signed: ImageReference): boolean {
  return intended !== undefined && isFull(intended) && canonical(intended) === canonical(signed);
}

/** The digest of an image that is asked for by digest has been checked already: any tag of its repository will do. */
function isSameOrByDigest(intended: ImageReference | undefined, signed: ImageReference): boolean {
  if (intended === undefined || !isFull(signed) || !isFull(intended)) return false;
  return intended.tag === undefined
    ? intended.repository === signed.repository
    : canonical(intended) === canonical(signed);
}

/** What stands after the prefix, behind the prefix that is signed for it. */
function remapped(
  intended: ImageReference,
  { prefix, signedPrefix }: { readonly prefix: string; readonly signedPrefix: string },
): ImageReference | undefined {
  const { repository } = intended;
  if (repository !== prefix && !repository.startsWith(`${prefix}/`)) return intended;
  return referenceOf(signedPrefix + canonical(intended).slice(prefix.length));
}

function isFull({ tag, digest }: ImageReference): boolean {
  return tag !== undefined || digest !== undefined;
}

function referenceOf(text: string): ImageReference | undefined {
  try {
    return parseReference(text);
  } catch {
    return undefined;
  }
}
