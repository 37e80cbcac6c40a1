/**
 * A self-signed certificate (RFC 5280) with an elliptic curve key: what a metrics server begins with before somebody gives it
 * a better one.
 *
 * @module
 */

/** PEM texts. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

const DAY_MS = 86_400_000;
/** Clocks of clients may be late. */
const EARLIER_MS = DAY_MS;
const DEFAULT_DAYS = 3650;
const SIGNATURE_BYTES = 32;

/** Tags of DER, X.690. */
const TAG = {
  integer: 2,
  bits: 3,
  octets: 4,
  oid: 6,
  utf8: 12,
  sequence: 0x30,
  set: 0x31,
  version: 0xa0,
  extensions: 0xa3,
};
const GENERALIZED_TIME = 0x18;
const SAN_DNS = 0x82;
const SAN_IP = 0x87;
/** Object identifiers in their encoded form. */
const OID = {
  ecdsaWithSha256: [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
  commonName: [0x55, 0x04, 0x03],
  subjectAltName: [0x55, 0x1d, 0x11],
  extendedKeyUsage: [0x55, 0x1d, 0x25],
  serverAuth: [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01],
};

/**
 * Makes a key and a certificate that it has signed itself.
 *
 * @param names DNS names and IPv4 addresses of the server; the first one is the subject's
 * @param options.days how long it is good. Default: ten years, since nobody renews it
 */
export async function selfSigned(names: readonly string[], options: { readonly days?: number } = {}): Promise<KeyPair> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const { privateKey, publicKey } = await crypto.subtle.generateKey(algorithm, KEY_LEAVES, ["sign", "verify"]);
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", publicKey));
  const body = certificateBody(names, { spki, days: options.days ?? DEFAULT_DAYS });
  const signed = new Uint8Array(await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, privateKey, body));
  const signature = sequence(
    unsigned(signed.subarray(0, SIGNATURE_BYTES)),
    unsigned(signed.subarray(SIGNATURE_BYTES)),
  );
  const cert = sequence(body, sequence(der(TAG.oid, OID.ecdsaWithSha256)), bitString(signature));
  const key = new Uint8Array(await crypto.subtle.exportKey("pkcs8", privateKey));
  return { cert: pem("CERTIFICATE", cert), key: pem("PRIVATE KEY", key) };
}

const KEY_LEAVES = true;

function certificateBody(
  names: readonly string[],
  { spki, days }: { readonly spki: Uint8Array; readonly days: number },
): Uint8Array<ArrayBuffer> {
  const nowMs = Date.now();
  const subject = sequence(
    der(TAG.set, sequence(der(TAG.oid, OID.commonName), der(TAG.utf8, new TextEncoder().encode(names[0] ?? "crio")))),
  );
  const extension = (oid: readonly number[], value: Uint8Array): Uint8Array =>
    sequence(der(TAG.oid, oid), der(TAG.octets, value));
  return sequence(
    der(TAG.version, der(TAG.integer, [2])),
    unsigned(crypto.getRandomValues(new Uint8Array(16))),
    sequence(der(TAG.oid, OID.ecdsaWithSha256)),
    subject,
    sequence(time(nowMs - EARLIER_MS), time(nowMs + days * DAY_MS)),
    subject,
    spki,
    der(
      TAG.extensions,
      sequence(
        extension(OID.subjectAltName, sequence(...names.map(alternativeName))),
        extension(OID.extendedKeyUsage, sequence(der(TAG.oid, OID.serverAuth))),
      ),
    ),
  );
}

function alternativeName(name: string): Uint8Array {
  const parts = name.split(".").map(Number);
  const isAddress = parts.length === 4 && parts.every((part) => Number.isInteger(part) && part >= 0 && part < 256);
  return isAddress ? der(SAN_IP, parts) : der(SAN_DNS, new TextEncoder().encode(name));
}

function time(ms: number): Uint8Array {
  const digits = new Date(ms).toISOString().replace(/[-:T]/g, "").slice(0, 14);
  return der(GENERALIZED_TIME, new TextEncoder().encode(`${digits}Z`));
}

/** A positive integer: no needless zeros in front, and one where the first bit would make it negative. */
function unsigned(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0);
  const digits = first < 0 ? [0] : [...bytes.subarray(first)];
  return der(TAG.integer, (digits[0] ?? 0) >= 0x80 ? [0, ...digits] : digits);
}

function bitString(bytes: Uint8Array): Uint8Array {
  return der(TAG.bits, [0, ...bytes]);
}

function sequence(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return der(TAG.sequence, parts.flatMap((part) => [...part]));
}

function der(tag: number, content: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Uint8Array.from([tag, ...size, ...Array.from(content)]);
}

function pem(label: string, bytes: Uint8Array): string {
  const lines = bytes.toBase64().match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
