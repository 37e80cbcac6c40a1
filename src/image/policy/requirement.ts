/**
 * What policy.json can ask of an image, as plain data: it crosses to the pull process as it is.
 *
 * @module
 */

/** Which identity a signature may claim for an image. */
export type IdentityRule =
  | { readonly type: "matchExact" | "matchRepoDigestOrExact" | "matchRepository" }
  | { readonly type: "exactReference"; readonly dockerReference: string }
  | { readonly type: "exactRepository"; readonly dockerRepository: string }
  | { readonly type: "remapIdentity"; readonly prefix: string; readonly signedPrefix: string };

/** Keys or certificates: files, or their contents in Base64. */
export type Material =
  | { readonly paths: readonly string[]; readonly data?: never }
  | { readonly data: readonly string[]; readonly paths?: never };

/** Simple signing by one of the keys of some keyrings. */
export interface SignedBy {
  readonly type: "signedBy";
  /** `GPGKeys` is the only one that can be fulfilled. */
  readonly keyType: string;
  readonly keys: Material;
  readonly signedIdentity: IdentityRule;
}

/** Who may have made a sigstore signature. */
export type SigstoreSigner =
  | { readonly kind: "keys"; readonly keys: Material }
  | {
    readonly kind: "fulcio";
    readonly authorities: Material;
    readonly oidcIssuer: string;
    readonly subjectEmail: string;
  }
  | {
    readonly kind: "pki";
    readonly roots: Material;
    readonly intermediates?: Material;
    readonly subjectEmail?: string;
    readonly subjectHostname?: string;
  };

/** A sigstore signature, with an entry in a transparency log where `rekorKeys` are given. */
export interface SigstoreSigned {
  readonly type: "sigstoreSigned";
  readonly signer: SigstoreSigner;
  readonly rekorKeys?: Material;
  readonly signedIdentity: IdentityRule;
}

/** What a signature can fulfil. */
export type SignatureRequirement = SignedBy | SigstoreSigned;

/** One entry of a list; an image has to meet all of the list. */
export type Requirement =
  | { readonly type: "insecureAcceptAnything" }
  | { readonly type: "reject" }
  | { readonly type: "signedBaseLayer" }
  | SignatureRequirement;

/** What an image has to show, for one that is to be pulled or run. */
export interface TrustDemand {
  /** What the policy knows the image by, for messages: a reference, or a place. */
  readonly name: string;
  /** The reference that identities of signatures are compared with, where the image has one. */
  readonly identity?: string;
  /** The file and the scope, for messages. */
  readonly rule: string;
  /** Not empty. */
  readonly requirements: readonly SignatureRequirement[];
}
