/** Signatures as they are kept: in a lookaside place, beside an image in the store. */
import { InvalidArgumentError } from "../../base/errors.ts";
import { type JsonObject, parseStrictJson, shown, strictObject, strictText } from "./strict_json.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** One signature, of which nothing has been checked. */
export type Signature =
  | { readonly format: "simple"; readonly message: Bytes }
  | {
    readonly format: "sigstore";
    readonly mediaType: string;
    readonly payload: Bytes;
    readonly annotations: Readonly<Record<string, string>>;
  };

/** Largest signature that is read, in bytes; containers/image has the same limit. */
export const MAX_SIGNATURE_BYTES = 4 * 1024 * 1024;

/** The first byte of an OpenPGP packet that can begin a signed message: compressed, one-pass signature, signature. */
const OPENPGP_STARTS = new Set([
  ...[0xa0, 0xa1, 0xa2, 0xa3, 0xc8],
  ...[0x90, 0x91, 0x92, 0xc4],
  ...[0x88, 0x89, 0x8a, 0x8b, 0xc2],
]);
const SIGSTORE = "sigstore-json";
const SIMPLE = "simple-signing";
const LINE_FEED = 0x0a;

/** @throws InvalidArgumentError for what is no signature of a form that is known */
export function parseSignature(blob: Uint8Array): Signature {
  const [first] = blob;
  if (first === undefined) throw new InvalidArgumentError("the signature is empty");
  if (OPENPGP_STARTS.has(first)) return { format: "simple", message: new Uint8Array(blob) };
  // A zero byte, the name of the form, a line break, the form's own bytes.
  const end = first === 0 ? blob.indexOf(LINE_FEED) : -1;
  if (end < 0) throw new InvalidArgumentError(`it is no signature: it begins with the byte ${first}`);
  const name = new TextDecoder().decode(blob.subarray(1, end));
  const rest = new Uint8Array(blob.subarray(end + 1));
  if (name === SIMPLE) return { format: "simple", message: rest };
  if (name === SIGSTORE) return sigstore(new TextDecoder().decode(rest));
  throw new InvalidArgumentError(`a signature of the form ${shown(name)} is not known`);
}

/** The bytes that {@link parseSignature} reads, in the form that containers/image writes. */
export function formatSignature(signature: Signature): Bytes {
  if (signature.format === "simple") return signature.message;
  const { mediaType, payload, annotations } = signature;
  const document = JSON.stringify({ mimeType: mediaType, payload: payload.toBase64(), annotations });
  return new TextEncoder().encode(`\0${SIGSTORE}\n${document}`);
}

function sigstore(text: string): Signature {
  const { mimeType, payload, annotations } = strictObject(parseStrictJson(text), "the signature");
  return {
    format: "sigstore",
    mediaType: strictText(mimeType, "mimeType"),
    payload: base64(strictText(payload, "payload"), "payload"),
    annotations: texts(strictObject(annotations ?? {}, "annotations")),
  };
}

function texts(object: JsonObject): Readonly<Record<string, string>> {
  const pairs = Object.entries(object).filter((pair): pair is [string, string] => typeof pair[1] === "string");
  return Object.fromEntries(pairs);
}

/** @throws InvalidArgumentError for what is no Base64 with its padding */
export function base64(text: string, what: string): Bytes {
  try {
    // Go passes over line breaks, but over no other space.
    if (/[\t\f ]/.test(text)) throw new SyntaxError("it has spaces");
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch (error) {
    throw new InvalidArgumentError(`${what} is not Base64`, { cause: error });
  }
}
