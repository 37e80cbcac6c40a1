import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { Buffer } from "node:buffer";

/** A certificate that a test made, with its key. */
export interface TestCertificate {
  readonly pem: string;
  readonly der: Buffer;
  readonly name: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** What a certificate says; any of it may be wrong on purpose. */
export interface CertificateSpec {
  readonly name: string;
  /** Default: itself. */
  readonly issuer?: TestCertificate;
  /** Signs in the issuer's place, under the issuer's name. */
  readonly forger?: TestCertificate;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly ca?: boolean;
  readonly pathLength?: number;
  /** Object ids. Default none. */
  readonly usages?: readonly string[];
  readonly emails?: readonly string[];
  readonly hosts?: readonly string[];
  /** Fulcio's two extensions for the OpenID issuer. */
  readonly oidcIssuer?: string;
  readonly oidcIssuerV2?: string;
  /** An extension that nobody knows, critical. */
  readonly unknownCritical?: boolean;
  readonly nameConstraints?: boolean;
  /** The extension of usages twice, second for everything. */
  readonly repeatedUsages?: boolean;
  /** Default P-256. */
  readonly keyKind?: "ec" | "rsa" | "ed25519";
}

export const CODE_SIGNING = "1.3.6.1.5.5.7.3.3";
export const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const DAY_MS = 86_400_000;

/** Writes and signs a certificate (X.509 v3). */
export function makeCertificate(spec: CertificateSpec): TestCertificate {
  const { publicKey, privateKey } = keyPair(spec.keyKind ?? "ec");
  const signer = (spec.forger ?? spec.issuer)?.privateKey ?? privateKey;
  const { notBefore = new Date(Date.now() - DAY_MS), notAfter = new Date(Date.now() + DAY_MS) } = spec;
  const algorithm = algorithmOf(signer);
  const tbs = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(Uint8Array.of(1, ...createHash("sha256").update(crypto.randomUUID()).digest().subarray(0, 8))),
    algorithm,
    nameOf(spec.issuer?.name ?? spec.name),
    sequence(time(notBefore), time(notAfter)),
    nameOf(spec.name),
    publicKey.export({ type: "spki", format: "der" }),
    explicit(3, sequence(...extensionsOf(spec))),
  );
  const signature = sign(signer.asymmetricKeyType === "ed25519" ? null : "sha256", tbs, signer);
  const der = sequence(tbs, algorithm, tlv(0x03, Buffer.concat([Buffer.from([0]), signature])));
  return { der, pem: pemOf("CERTIFICATE", der), name: spec.name, privateKey, publicKey };
}

/** A PEM block. */
export function pemOf(label: string, der: Uint8Array): string {
  const lines = Buffer.from(der).toString("base64").replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}

/** A public key as policies name it. */
export function publicPem(key: KeyObject): string {
  return String(key.export({ type: "spki", format: "pem" }));
}

/** A fresh key pair. */
export function keyPair(kind: "ec" | "rsa" | "ed25519" = "ec"): { publicKey: KeyObject; privateKey: KeyObject } {
  if (kind === "rsa") return generateKeyPairSync("rsa", { modulusLength: 2048 });
  if (kind === "ed25519") return generateKeyPairSync("ed25519");
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

function algorithmOf({ asymmetricKeyType }: KeyObject): Buffer {
  if (asymmetricKeyType === "rsa") return sequence(oid("1.2.840.113549.1.1.11"), tlv(0x05, Buffer.alloc(0)));
  return sequence(oid(asymmetricKeyType === "ed25519" ? "1.3.101.112" : "1.2.840.10045.4.3.2"));
}

function extensionsOf(spec: CertificateSpec): Buffer[] {
  const { ca = false, pathLength, usages = [], emails = [], hosts = [] } = spec;
  const limit = pathLength === undefined ? [] : [integer(Buffer.from([pathLength]))];
  const names = [
    ...emails.map((email) => tlv(0x81, Buffer.from(email))),
    ...hosts.map((host) => tlv(0x82, Buffer.from(host))),
  ];
  const raw = Buffer.from;
  return [
    ...(ca ? [extension("2.5.29.19", sequence(TRUE, ...limit), "critical")] : []),
    ...(usages.length > 0 ? [extension("2.5.29.37", sequence(...usages.map(oid)))] : []),
    ...(spec.repeatedUsages === true ? [extension("2.5.29.37", sequence(oid("2.5.29.37.0")))] : []),
    ...(names.length > 0 ? [extension("2.5.29.17", sequence(...names))] : []),
    ...(spec.oidcIssuer === undefined ? [] : [extension("1.3.6.1.4.1.57264.1.1", raw(spec.oidcIssuer))]),
    ...(spec.oidcIssuerV2 === undefined ? [] : [extension("1.3.6.1.4.1.57264.1.8", tlv(0x0c, raw(spec.oidcIssuerV2)))]),
    ...(spec.unknownCritical === true ? [extension("1.2.3.4.5", TRUE, "critical")] : []),
    ...(spec.nameConstraints === true ? [extension("2.5.29.30", sequence(), "critical")] : []),
  ];
}

function extension(id: string, value: Buffer, critical?: "critical"): Buffer {
  return sequence(oid(id), ...(critical === undefined ? [] : [TRUE]), tlv(0x04, value));
}

function tlv(tag: number, value: Uint8Array): Buffer {
  const size = value.length;
  const bytes = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.from([tag, ...bytes]), value]);
}

const TRUE = tlv(0x01, Buffer.from([0xff]));

function sequence(...parts: Uint8Array[]): Buffer {
  return tlv(0x30, Buffer.concat(parts));
}

function explicit(number: number, value: Uint8Array): Buffer {
  return tlv(0xa0 + number, value);
}

function integer(bytes: Uint8Array): Buffer {
  return tlv(0x02, (bytes[0] ?? 0) < 0x80 ? bytes : Buffer.concat([Buffer.from([0]), bytes]));
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const groups = [part & 0x7f];
    for (let left = part >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return tlv(0x06, Buffer.from(bytes));
}

function nameOf(text: string): Buffer {
  return sequence(tlv(0x31, sequence(oid("2.5.4.3"), tlv(0x0c, Buffer.from(text)))));
}

/** GeneralizedTime, in whole seconds. */
function time(date: Date): Buffer {
  return tlv(0x18, Buffer.from(`${date.toISOString().slice(0, 19).replace(/[-:T]/g, "")}Z`));
}
