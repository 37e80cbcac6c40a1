import { json } from "@sigstore/core";
import { createHash, createPublicKey, type KeyObject, sign } from "node:crypto";
import { Buffer } from "node:buffer";
import type { FakeRegistry } from "../registry.ts";
import { keyPair, publicPem, type TestCertificate } from "./certificates.ts";

/** A sigstore signature as it is attached to an image. */
export interface AttachedSignature {
  readonly format: "sigstore";
  readonly mediaType: string;
  readonly payload: Uint8Array<ArrayBuffer>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** What a signature says of its image. */
export interface PayloadSpec {
  readonly digest: string;
  readonly reference: string;
  readonly type?: string;
  readonly optional?: unknown;
}

/** How a sigstore signature is made. */
export interface SigstoreSpec extends PayloadSpec {
  readonly key: KeyObject;
  /** The signer's certificate and those above it, root last. */
  readonly certificate?: TestCertificate;
  readonly chain?: readonly TestCertificate[];
  /** Enters it into a log. */
  readonly log?: TestLog;
  readonly loggedAt?: Date;
  /** What the entry says in place of the truth. */
  readonly logged?: Partial<LogEntry>;
  /** Changes what was signed, afterwards. */
  readonly tamper?: (payload: string) => string;
}

/** What a log takes in. */
export interface LogEntry {
  /** PEM of a key or certificate. */
  readonly signer: string;
  readonly signature: Uint8Array;
  readonly payload: Uint8Array;
  readonly at: Date;
  readonly kind: string;
}

/** A transparency log of one key. */
export class TestLog {
  readonly #pair = keyPair();

  /** Its key, in PEM. */
  get pem(): string {
    return publicPem(this.#pair.publicKey);
  }

  /** What cosign attaches as `bundle`. */
  enter(entry: LogEntry): string {
    const body = {
      apiVersion: "0.0.1",
      kind: entry.kind,
      spec: {
        data: { hash: { algorithm: "sha256", value: createHash("sha256").update(entry.payload).digest("hex") } },
        signature: {
          content: Buffer.from(entry.signature).toString("base64"),
          publicKey: { content: Buffer.from(entry.signer).toString("base64") },
        },
      },
    };
    const payload = {
      body: Buffer.from(JSON.stringify(body)).toString("base64"),
      integratedTime: Math.floor(entry.at.getTime() / 1000),
      logIndex: 17,
      logID: "c0ffee",
    };
    const promise = sign("sha256", Buffer.from(json.canonicalize(payload)), this.#pair.privateKey);
    return JSON.stringify({ SignedEntryTimestamp: promise.toString("base64"), Payload: payload });
  }
}

/** The payload that cosign and containers/image sign. */
export function sigstorePayload({ digest, reference, type, optional = null }: PayloadSpec): string {
  return JSON.stringify({
    critical: {
      identity: { "docker-reference": reference },
      image: { "docker-manifest-digest": digest },
      type: type ?? "cosign container image signature",
    },
    optional,
  });
}

/** Makes a signature of an image. */
export function signSigstore(spec: SigstoreSpec): AttachedSignature {
  const { key, certificate, chain = [], log, loggedAt = new Date(), tamper = (text: string): string => text } = spec;
  const payload = Buffer.from(sigstorePayload(spec));
  const signature = sign(key.asymmetricKeyType === "ed25519" ? null : "sha256", payload, key);
  const signer = certificate?.pem ?? publicPem(createPublicKey(key as unknown as string));
  const annotations: Record<string, string> = { "dev.cosignproject.cosign/signature": signature.toString("base64") };
  if (certificate !== undefined) annotations["dev.sigstore.cosign/certificate"] = certificate.pem;
  if (chain.length > 0) annotations["dev.sigstore.cosign/chain"] = chain.map(({ pem }) => pem).join("");
  if (log !== undefined) {
    annotations["dev.sigstore.cosign/bundle"] = log.enter({
      ...{ signer, signature, payload, at: loggedAt, kind: "hashedrekord" },
      ...spec.logged,
    });
  }
  return {
    format: "sigstore",
    mediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
    payload: new TextEncoder().encode(tamper(payload.toString())),
    annotations,
  };
}

/** Stores signatures where cosign does: as layers of the image with the tag that the digest makes. */
export function attach(
  registry: FakeRegistry,
  image: { readonly name: string; readonly digest: string },
  signatures: readonly AttachedSignature[],
): void {
  const config = new TextEncoder().encode("{}");
  const describe = (bytes: Uint8Array, mediaType: string): Record<string, unknown> => ({
    mediaType,
    digest: registry.addBlob(bytes),
    size: bytes.length,
  });
  const manifest = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: describe(config, "application/vnd.oci.image.config.v1+json"),
    layers: signatures.map(({ payload, mediaType, annotations }) => ({ ...describe(payload, mediaType), annotations })),
  };
  registry.addManifest({
    name: image.name,
    tag: `${image.digest.replace(":", "-")}.sig`,
    bytes: new TextEncoder().encode(JSON.stringify(manifest)),
    mediaType: manifest.mediaType,
  });
}
