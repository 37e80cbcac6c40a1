/** sigstore's signatures of images: by a key, by a short-lived certificate of Fulcio, by a certificate of a company. */
import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { Buffer } from "node:buffer";
import { FailedPreconditionError, messageOf, PodError } from "../../base/errors.ts";
import {
  type Certificate,
  parseCertificates,
  requireEmail,
  requireHostname,
  requireIssuer,
  verifyChain,
} from "./certificates.ts";
import { type Loaded, loadMaterial, textOf } from "./material.ts";
import { SignatureRejection } from "./rejection.ts";
import { derOf, publicKey, verifyLogEntry } from "./rekor.ts";
import type { SigstoreSigned, SigstoreSigner } from "./requirement.ts";
import { base64, type Signature } from "./signature.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Attached = Signature & { readonly format: "sigstore" };

const ANNOTATION = {
  signature: "dev.cosignproject.cosign/signature",
  bundle: "dev.sigstore.cosign/bundle",
  certificate: "dev.sigstore.cosign/certificate",
  chain: "dev.sigstore.cosign/chain",
} as const;

/** What a requirement trusts, read and parsed. */
export type SigstoreTrust = Readonly<Record<"rekorKeys", readonly KeyObject[] | undefined>> & {
  readonly signer:
    | { readonly kind: "keys"; readonly keys: readonly KeyObject[] }
    | Omit<SigstoreSigner & { kind: "fulcio" }, "authorities"> & { readonly roots: readonly Certificate[] }
    | Omit<SigstoreSigner & { kind: "pki" }, "roots" | "intermediates"> & {
      readonly roots: readonly Certificate[];
      readonly intermediates: readonly Certificate[];
    };
};

/** @throws FailedPreconditionError for a key or certificate that cannot be read */
export async function loadSigstoreTrust({ signer, rekorKeys }: SigstoreSigned): Promise<SigstoreTrust> {
  const logs = rekorKeys === undefined ? undefined : keysOf(await loadMaterial(rekorKeys));
  if (logs?.some(({ asymmetricKeyType }) => asymmetricKeyType !== "ec")) {
    throw new FailedPreconditionError("the key of a transparency log is not one for ECDSA");
  }
  return { rekorKeys: logs, signer: await loadSigner(signer) };
}

async function loadSigner(signer: SigstoreSigner): Promise<SigstoreTrust["signer"]> {
  switch (signer.kind) {
    case "keys":
      return { kind: "keys", keys: keysOf(await loadMaterial(signer.keys)) };
    case "fulcio": {
      const { authorities, ...identity } = signer;
      return { ...identity, roots: certificatesOf(await loadMaterial(authorities)) };
    }
    case "pki": {
      const { roots, intermediates, ...identity } = signer;
      const between = intermediates === undefined ? [] : certificatesOf(await loadMaterial(intermediates));
      return { ...identity, roots: certificatesOf(await loadMaterial(roots)), intermediates: between };
    }
  }
}

/**
 * Checks who signed the payload.
 *
 * @returns the payload
 * @throws SignatureRejection
 */
export function checkSigstore(signature: Attached, trust: SigstoreTrust): Bytes {
  try {
    return checked(signature, trust);
  } catch (error) {
    if (error instanceof PodError) throw error;
    // What a library stumbles over in a stranger's certificate.
    throw new SignatureRejection(`the signature cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

function checked(signature: Attached, trust: SigstoreTrust): Bytes {
  const { payload } = signature;
  const text = annotation(signature, "signature");
  const raw = decoded(text);
  const keys = trust.signer.kind === "keys" ? loggedKeys(signature, trust, raw) : [certifiedKey(signature, trust, raw)];
  if (!keys.some((key) => isSigned(payload, { key, signature: raw }))) {
    throw new SignatureRejection("the signature is not one of this payload by a signer that is trusted");
  }
  return payload;
}

/** The keys under which the signature is in the log; all, where no log is asked for. */
function loggedKeys(signature: Attached, { signer, rekorKeys }: SigstoreTrust, raw: Bytes): readonly KeyObject[] {
  const keys = signer.kind === "keys" ? signer.keys : [];
  if (rekorKeys === undefined) return keys;
  const bundle = annotation(signature, "bundle");
  const rejections: SignatureRejection[] = [];
  for (const key of keys) {
    try {
      const der = key.export({ type: "spki", format: "der" });
      verifyLogEntry(bundle, rekorKeys, { signer: der, signature: raw, payload: signature.payload });
      return [key];
    } catch (error) {
      if (!(error instanceof SignatureRejection)) throw error;
      rejections.push(error);
    }
  }
  throw rejections[0] ?? new SignatureRejection("the policy has no key");
}

/** The key of the signer's certificate, if that is trusted for the time of the signature. */
function certifiedKey(signature: Attached, { signer, rekorKeys = [] }: SigstoreTrust, raw: Bytes): KeyObject {
  const pem = annotation(signature, "certificate");
  const [leaf, ...more] = parseCertificates(pem);
  if (leaf === undefined || more.length > 0) throw new SignatureRejection("there is not exactly one certificate");
  // The last one is the root, which the policy has to name itself.
  const chain = parseCertificates(signature.annotations[ANNOTATION.chain] ?? "").slice(0, -1);
  if (signer.kind === "fulcio") {
    const { roots, oidcIssuer, subjectEmail } = signer;
    const logged = { signer: certificateDer(pem), signature: raw, payload: signature.payload };
    const at = verifyLogEntry(annotation(signature, "bundle"), rekorKeys, logged);
    verifyChain(leaf, { roots, intermediates: chain, at });
    requireIssuer(leaf, oidcIssuer);
    requireEmail(leaf, subjectEmail);
  } else if (signer.kind === "pki") {
    const { roots, intermediates, subjectEmail, subjectHostname } = signer;
    verifyChain(leaf, { roots, intermediates: [...intermediates, ...chain], at: new Date() });
    if (subjectEmail !== undefined) requireEmail(leaf, subjectEmail);
    if (subjectHostname !== undefined) requireHostname(leaf, subjectHostname);
  }
  return createPublicKey({ key: leaf.publicKey, format: "der", type: "spki" });
}

/** SHA-256 for all keys but Ed25519, as cosign has it. */
function isSigned(payload: Bytes, by: { readonly key: KeyObject; readonly signature: Bytes }): boolean {
  const { key, signature } = by;
  try {
    return verify(key.asymmetricKeyType === "ed25519" ? null : "sha256", payload, key, signature);
  } catch {
    // A signature that is no DER, or a kind of key that cannot sign: not signed by it.
    return false;
  }
}

function annotation({ annotations }: Attached, name: keyof typeof ANNOTATION): string {
  const text = annotations[ANNOTATION[name]];
  if (text !== undefined) return text;
  const what = name === "bundle" ? "entry of a transparency log" : name;
  throw new SignatureRejection(`there is no ${what} (annotation ${ANNOTATION[name]})`);
}

function decoded(text: string): Bytes {
  try {
    return base64(text, "the signature");
  } catch (error) {
    throw new SignatureRejection(messageOf(error), { cause: error });
  }
}

function certificateDer(pem: string): Uint8Array {
  try {
    return derOf(pem);
  } catch (error) {
    throw new SignatureRejection(`the signer's certificate: ${messageOf(error)}`, { cause: error });
  }
}

function keysOf(loaded: readonly Loaded[]): readonly KeyObject[] {
  return loaded.map((one) => {
    try {
      return publicKey(textOf(one));
    } catch (error) {
      throw new FailedPreconditionError(`${one.from}: ${messageOf(error)}`, { cause: error });
    }
  });
}

function certificatesOf(loaded: readonly Loaded[]): readonly Certificate[] {
  return loaded.flatMap((one) => {
    const found = readCertificates(one);
    if (found.length === 0) throw new FailedPreconditionError(`${one.from} holds no certificate`);
    return found;
  });
}

function readCertificates(one: Loaded): readonly Certificate[] {
  try {
    return parseCertificates(Buffer.from(one.bytes).toString("latin1"));
  } catch (error) {
    throw new FailedPreconditionError(`${one.from}: ${messageOf(error)}`, { cause: error });
  }
}
