/** Entries of Rekor's transparency log, in the form that cosign attaches to a signature. */
import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { Buffer } from "node:buffer";
import { InvalidArgumentError, messageOf } from "../../base/errors.ts";
import { json } from "./_sigstore.ts";
import { SignatureRejection } from "./rejection.ts";
import { base64 } from "./signature.ts";
import { type JsonObject, parseStrictJson, strictObject, strictText } from "./strict_json.ts";

/** What an entry has to be about. */
export interface LoggedSignature {
  /** DER of the signer's public key or certificate. */
  readonly signer: Uint8Array;
  readonly signature: Uint8Array;
  readonly payload: Uint8Array;
}

const PEM = /^-----BEGIN [A-Z0-9 ]+-----\s([A-Za-z0-9+/=\s]+)-----END [A-Z0-9 ]+-----\s*$/;

/**
 * Checks the log's promise that it holds an entry, and that the entry is about this signature.
 *
 * @param bundle what stands in the annotation
 * @param keys of the logs that are trusted
 * @returns when the log took it in
 * @throws SignatureRejection
 */
export function verifyLogEntry(bundle: string, keys: readonly KeyObject[], expected: LoggedSignature): Date {
  try {
    const set = exact(parseStrictJson(bundle), ["SignedEntryTimestamp", "Payload"]);
    const promise = base64(strictText(set["SignedEntryTimestamp"], "SignedEntryTimestamp"), "SignedEntryTimestamp");
    const entry = exact(set["Payload"], ["body", "integratedTime", "logIndex", "logID"]);
    const signed = Buffer.from(json.canonicalize(entry));
    if (!keys.some((key) => verify("sha256", signed, key, promise))) {
      throw new SignatureRejection("the entry of the transparency log is not signed by a log that is trusted");
    }
    const { integratedTime, logIndex, logID } = entry;
    if (typeof integratedTime !== "number" || ![integratedTime, logIndex].every(Number.isInteger)) {
      throw new InvalidArgumentError("integratedTime or logIndex is not an integer");
    }
    if (typeof logID !== "string") throw new InvalidArgumentError("logID is not a text");
    matchEntry(base64(strictText(entry["body"], "body"), "body"), expected);
    return new Date(integratedTime * 1000);
  } catch (error) {
    if (error instanceof SignatureRejection) throw error;
    throw new SignatureRejection(`the entry of the transparency log cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** @throws SignatureRejection when the entry is about something else; InvalidArgumentError for what is no entry */
function matchEntry(body: Uint8Array, expected: LoggedSignature): void {
  const document = strictObject(parseStrictJson(new TextDecoder().decode(body)), "body");
  if (document["kind"] !== "hashedrekord" || document["apiVersion"] !== "0.0.1") {
    throw new InvalidArgumentError("it is not a hashedrekord of version 0.0.1");
  }
  const spec = strictObject(document["spec"], "spec");
  const signature = strictObject(spec["signature"], "spec.signature");
  const signer = strictText(strictObject(signature["publicKey"], "publicKey")["content"], "publicKey.content");
  const hash = strictObject(strictObject(spec["data"], "spec.data")["hash"], "spec.data.hash");
  const content = base64(strictText(signature["content"], "signature.content"), "signature.content");
  if (!equal(derOf(new TextDecoder().decode(base64(signer, "publicKey.content"))), expected.signer)) {
    throw new SignatureRejection("the entry of the transparency log is about another signer");
  }
  if (!equal(content, expected.signature)) {
    throw new SignatureRejection("the entry of the transparency log is about another signature");
  }
  const payload = createHash("sha256").update(expected.payload).digest("hex");
  if (hash["algorithm"] !== "sha256" || hash["value"] !== payload) {
    throw new SignatureRejection("the entry of the transparency log is about another payload");
  }
}

/** DER of the one PEM block in a text. @throws InvalidArgumentError */
export function derOf(pem: string): Uint8Array {
  const body = PEM.exec(pem)?.[1];
  if (body === undefined) throw new InvalidArgumentError("it is not one PEM block");
  return base64(body.replace(/\s+/g, ""), "the PEM block");
}

/** @throws InvalidArgumentError for what is no public key in PEM */
export function publicKey(pem: string): KeyObject {
  try {
    return createPublicKey(pem);
  } catch (error) {
    throw new InvalidArgumentError(`it is no public key in PEM: ${messageOf(error)}`, { cause: error });
  }
}

function exact(value: unknown, keys: readonly string[]): JsonObject {
  const object = strictObject(value, "the entry", keys);
  const missing = keys.find((key) => object[key] === undefined);
  if (missing !== undefined) throw new InvalidArgumentError(`${missing} is missing`);
  return object;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.from(a).equals(b);
}
