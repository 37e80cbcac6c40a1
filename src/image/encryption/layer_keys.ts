/**
 * Keys of encrypted layers (ocicrypt): each layer's own key lies in its descriptor, wrapped for whoever may read it. This
 * node knows one way to wrap, JSON Web Encryption, and one place for private keys, the node itself.
 *
 * @module
 */
import type { KeyObject } from "node:crypto";
import { type ErrorKind, messageOf, PodError } from "../../base/errors.ts";
import { type Descriptor, isEncrypted, isObject } from "../manifest/documents.ts";
import { type DecryptionKeys, readDecryptionKeys } from "./decryption_keys.ts";

/** What opens one layer, in base64. */
export interface LayerKey {
  /** 32 bytes, AES-256 and HMAC-SHA256. */
  readonly key: string;
  /** 16 bytes: the first counter block. */
  readonly nonce: string;
  /** 32 bytes, over the encrypted bytes. */
  readonly hmac: string;
}

/** An encrypted layer cannot be opened on this node. */
export class DecryptionError extends PodError {
  override readonly kind: ErrorKind = "permission_denied";
}

const WRAPPED_KEYS = "org.opencontainers.image.enc.keys.";
const PUBLIC_OPTIONS = "org.opencontainers.image.enc.pubopts";
const CIPHER = "AES_256_CTR_HMAC_SHA256";
const KEY_BYTES = 32;
const NONCE_BYTES = 16;
const HMAC_BYTES = 32;
/** What ocicrypt writes, and its stronger relatives; nothing that costs much to try (PBES2), nothing old (RSA1_5). */
const ALGORITHMS = {
  keyManagementAlgorithms: ["RSA-OAEP", "RSA-OAEP-256", "RSA-OAEP-384", "RSA-OAEP-512", "ECDH-ES+A256KW"],
  contentEncryptionAlgorithms: ["A256GCM"],
};
/** Wrapped keys and recipients that are tried in all: each try is a private-key operation. */
const MAX_RECIPIENTS = 100;

/**
 * The keys of the encrypted layers of an image, by their place in the manifest. A node that has lost its keys gets none, even
 * where the layers are there already.
 *
 * @param directory `decryption_keys_path`; not read when no layer is encrypted
 * @throws DecryptionError saying what is missing
 */
export async function openLayerKeys(
  layers: readonly Descriptor[],
  directory: string,
): Promise<ReadonlyMap<number, LayerKey>> {
  const opened = new Map<number, LayerKey>();
  if (!layers.some(isEncrypted)) return opened;
  const keys = await readDecryptionKeys(directory);
  for (const [index, layer] of layers.entries()) {
    if (isEncrypted(layer)) opened.set(index, await openLayerKey(layer, keys));
  }
  return opened;
}

async function openLayerKey(layer: Descriptor, keys: DecryptionKeys): Promise<LayerKey> {
  const { annotations = {}, digest } = layer;
  const wrapped = wrappedKeys(layer);
  if (keys.keys.length === 0) {
    const unused = keys.ignored.length === 0 ? "" : `; not used: ${keys.ignored.slice(0, 5).join(", ")}`;
    throw new DecryptionError(
      `layer ${digest} is encrypted, and there is no private key in ${keys.directory}: put the key there, or name ` +
        `another directory with decryption_keys_path${unused}`,
    );
  }
  const secret = await unwrap(wrapped, keys.keys);
  if (secret === undefined) {
    throw new DecryptionError(
      `layer ${digest} is encrypted, and none of the ${keys.keys.length} private keys in ${keys.directory} ` +
        "(decryption_keys_path) opens it: put a key there that the image is encrypted for",
    );
  }
  const open = decoded(annotations[PUBLIC_OPTIONS] ?? "", digest);
  if (open["cipher"] !== CIPHER) {
    throw new DecryptionError(
      `layer ${digest} is encrypted with ${JSON.stringify(open["cipher"])}, not with ${CIPHER}`,
    );
  }
  const options = isObject(secret["cipheroptions"]) ? secret["cipheroptions"] : {};
  return {
    key: base64Of(secret["symkey"], { bytes: KEY_BYTES, what: `the key of layer ${digest}` }),
    nonce: base64Of(options["nonce"], { bytes: NONCE_BYTES, what: `the nonce of layer ${digest}` }),
    hmac: base64Of(open["hmac"], { bytes: HMAC_BYTES, what: `the hmac of layer ${digest}` }),
  };
}

function wrappedKeys({ annotations = {}, digest }: Descriptor): readonly Readonly<Record<string, unknown>>[] {
  const list = annotations[`${WRAPPED_KEYS}jwe`] ?? "";
  if (list !== "") return list.split(",", MAX_RECIPIENTS).map((one) => decoded(one, digest));
  const others = Object.keys(annotations).filter((name) => name.startsWith(WRAPPED_KEYS));
  const schemes = others.map((name) => JSON.stringify(name.slice(WRAPPED_KEYS.length))).join(", ");
  throw new DecryptionError(
    `layer ${digest} is encrypted, and its key is ` +
      (schemes === "" ? "not with it" : `wrapped with ${schemes.slice(0, 120)}; this node knows JWE`),
  );
}

/** @returns undefined when none of the keys opens it */
async function unwrap(
  wrapped: readonly Readonly<Record<string, unknown>>[],
  keys: readonly KeyObject[],
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const { flattenedDecrypt, generalDecrypt } = await import("./_jose.ts");
  let left = MAX_RECIPIENTS;
  for (const jwe of wrapped) {
    const recipients = jwe["recipients"];
    left -= Array.isArray(recipients) ? recipients.length : 1;
    if (left < 0) return undefined;
    // The library checks the document's form itself.
    const decrypt = (key: KeyObject): Promise<{ plaintext: Uint8Array }> =>
      Array.isArray(recipients)
        ? generalDecrypt(jwe as never, key, ALGORITHMS)
        : flattenedDecrypt(jwe as never, key, ALGORITHMS);
    for (const key of keys) {
      try {
        const { plaintext } = await decrypt(key);
        const secret: unknown = JSON.parse(new TextDecoder().decode(plaintext));
        if (isObject(secret)) return secret;
      } catch {
        // Another key's, or damaged: which of the two cannot be told.
      }
    }
  }
  return undefined;
}

/** A JSON object in base64. */
function decoded(text: string, digest: string): Readonly<Record<string, unknown>> {
  try {
    const document: unknown = JSON.parse(new TextDecoder().decode(Uint8Array.fromBase64(text)));
    if (isObject(document)) return document;
  } catch (error) {
    throw new DecryptionError(`layer ${digest} has bad encryption annotations: ${messageOf(error).slice(0, 80)}`);
  }
  throw new DecryptionError(`layer ${digest} has bad encryption annotations: not an object`);
}

function base64Of(value: unknown, { bytes, what }: { readonly bytes: number; readonly what: string }): string {
  try {
    if (typeof value === "string" && Uint8Array.fromBase64(value).length === bytes) return value;
  } catch {
    // Said below.
  }
  throw new DecryptionError(`${what} is not ${bytes} bytes in base64`);
}
