/**
 * Certificates of signers (RFC 5280), as far as signatures of images need them: a path to one of the given roots at a
 * given time, for signing code. The rules are those of Go's crypto/x509, which containers/image uses.
 *
 * @module
 */
import { createPublicKey } from "node:crypto";
import { Buffer } from "node:buffer";
import { messageOf } from "../../base/errors.ts";
import { X509Certificate } from "./_sigstore.ts";
import { SignatureRejection } from "./rejection.ts";

export type Certificate = X509Certificate;

export interface ChainOptions {
  readonly roots: readonly Certificate[];
  /** Trusted by nobody; they may connect. */
  readonly intermediates: readonly Certificate[];
  readonly at: Date;
}

const OID = {
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  nameConstraints: "2.5.29.30",
  extKeyUsage: "2.5.29.37",
  anyExtKeyUsage: "2.5.29.37.0",
  codeSigning: "1.3.6.1.5.5.7.3.3",
  fulcioIssuer: "1.3.6.1.4.1.57264.1.1",
  fulcioIssuerV2: "1.3.6.1.4.1.57264.1.8",
} as const;
/** Critical extensions that are dealt with, or have no say in what is checked here: key ids, policies, CRL places. */
const UNDERSTOOD: ReadonlySet<string> = new Set([
  ...[OID.keyUsage, OID.subjectAltName, OID.basicConstraints, OID.extKeyUsage],
  ...["2.5.29.14", "2.5.29.31", "2.5.29.32", "2.5.29.35"],
]);
const GENERAL_NAME = { email: 1, dns: 2, ip: 7 } as const;
const BLOCK = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g;
/** Tags of DER. */
const SEQUENCE = 0x30;
const BIT_STRING = 0x03;
const VERSION = 0xa0;
const MAX_CERTIFICATES = 200;
/** Signatures that are checked for one path at most, as in Go. */
const MAX_CHECKS = 100;

/** @throws SignatureRejection for what is no certificate */
export function parseCertificates(pem: string): readonly Certificate[] {
  const blocks = [...pem.matchAll(BLOCK)];
  if (blocks.length > MAX_CERTIFICATES) throw new SignatureRejection("there are too many certificates");
  return blocks.map(([, base64 = ""]) => {
    try {
      const certificate = X509Certificate.parse(Buffer.from(base64, "base64"));
      refuseLoose(certificate);
      refuseRepeated(certificate);
      if (![certificate.notBefore, certificate.notAfter].every((date) => Number.isFinite(date.getTime()))) {
        throw new SignatureRejection("a certificate has a time that is none");
      }
      createPublicKey({ key: certificate.publicKey, format: "der", type: "spki" });
      return certificate;
    } catch (error) {
      if (error instanceof SignatureRejection) throw error;
      throw new SignatureRejection(`a certificate cannot be read: ${messageOf(error)}`, { cause: error });
    }
  });
}

/** @throws SignatureRejection unless a path of certificates, all valid at that time, leads to a root */
export function verifyChain(leaf: Certificate, options: ChainOptions): void {
  const flaw = flawOf(leaf, options.at);
  if (flaw !== undefined) throw new SignatureRejection(`the signer's certificate ${flaw}`);
  const search = { ...options, checks: 0 };
  if (!leadsToRoot([leaf], search)) {
    throw new SignatureRejection("the signer's certificate does not lead to a trusted authority");
  }
}

function leadsToRoot(path: readonly Certificate[], search: ChainOptions & { checks: number }): boolean {
  const last = path.at(-1);
  if (last === undefined) return false;
  if (search.roots.some((root) => root.equals(last))) return true;
  for (const issuer of [...search.roots, ...search.intermediates]) {
    if (!issuer.subject.equals(last.issuer) || path.some((one) => one.equals(issuer))) continue;
    if (!mayIssue(issuer, path.length - 1) || flawOf(issuer, search.at) !== undefined) continue;
    if (++search.checks > MAX_CHECKS) throw new SignatureRejection("the certificates need too many checks");
    if (isSignedBy(last, issuer) && leadsToRoot([...path, issuer], search)) return true;
  }
  return false;
}

/** What is wrong with a certificate by itself. */
function flawOf(certificate: Certificate, at: Date): string | undefined {
  const { notBefore, notAfter } = certificate;
  // Certificates count in seconds.
  const second = new Date(Math.floor(at.getTime() / 1000) * 1000);
  if (!(notBefore <= second)) return `is valid from ${notBefore.toISOString()} on only`;
  if (!(second <= notAfter)) return `expired at ${notAfter.toISOString()}`;
  for (const { oid, critical } of extensionsOf(certificate)) {
    if (oid === OID.nameConstraints) return "has name constraints, which are not supported";
    if (critical && !UNDERSTOOD.has(oid)) return `has the critical extension ${oid}, which is not known`;
  }
  return allowsCodeSigning(certificate) ? undefined : "is not for signing code";
}

function allowsCodeSigning(certificate: Certificate): boolean {
  const usages = certificate.extension(OID.extKeyUsage)?.valueObj.subs[0]?.subs.map((usage) => usage.toOID());
  if (usages === undefined) return true;
  return usages.includes(OID.codeSigning) || usages.includes(OID.anyExtKeyUsage);
}

/** @param between how many authorities stand between the issuer and the signer */
function mayIssue(issuer: Certificate, between: number): boolean {
  if (!issuer.isCA) return false;
  const limit = issuer.extBasicConstraints?.pathLenConstraint;
  return limit === undefined || BigInt(between) <= limit;
}

function isSignedBy(certificate: Certificate, issuer: Certificate): boolean {
  const { asymmetricKeyType } = createPublicKey({ key: issuer.publicKey, format: "der", type: "spki" });
  // An algorithm that the library has no name for is Ed25519's, or one that is not supported.
  const algorithm: string | undefined = certificate.signatureAlgorithm;
  if ((algorithm === undefined) !== (asymmetricKeyType === "ed25519")) return false;
  return certificate.verify(issuer);
}

function extensionsOf(certificate: Certificate): readonly { readonly oid: string; readonly critical: boolean }[] {
  return certificate.extensions.map(({ subs }) => ({
    oid: subs[0]?.toOID() ?? "",
    critical: subs.length === 3 && subs[1]?.toBoolean() === true,
  }));
}

/** What the signature does not cover has one right form (RFC 5280, section 4.1.1), which the parser does not look at. */
function refuseLoose({ root }: Certificate): void {
  const [signed, algorithm, signature, ...more] = root.subs;
  const tags = [root, signed, algorithm, signature].map((part) => part?.tag.toDER());
  const [version, , inner] = signed?.subs ?? [];
  const isStrict = more.length === 0 && tags.join() === [SEQUENCE, SEQUENCE, SEQUENCE, BIT_STRING].join() &&
    signature?.value[0] === 0 && version?.tag.toDER() === VERSION;
  if (!isStrict || algorithm === undefined || inner?.toDER().equals(algorithm.toDER()) !== true) {
    throw new SignatureRejection("a certificate is not one of X.509 version 3, exactly");
  }
}

function refuseRepeated(certificate: Certificate): void {
  const oids = extensionsOf(certificate).map(({ oid }) => oid);
  if (new Set(oids).size < oids.length) throw new SignatureRejection("a certificate has an extension twice");
}

/** @throws SignatureRejection unless the certificate is one of this address */
export function requireEmail(certificate: Certificate, email: string): void {
  const found = alternativeNames(certificate, GENERAL_NAME.email).map((bytes) => bytes.toString("latin1"));
  if (found.includes(email)) return;
  throw new SignatureRejection(`the signer's certificate is not for ${email} but for ${quoted(found)}`);
}

/** @throws SignatureRejection unless the certificate is one of this host, by RFC 6125 */
export function requireHostname(certificate: Certificate, hostname: string): void {
  const names = alternativeNames(certificate, GENERAL_NAME.dns).map((bytes) => bytes.toString("latin1"));
  const wanted = hostname.toLowerCase().replace(/\.$/, "");
  if (names.some((name) => hostMatches(name.toLowerCase(), wanted))) return;
  throw new SignatureRejection(`the signer's certificate is not for ${hostname} but for ${quoted(names)}`);
}

/** @throws SignatureRejection unless Fulcio wrote this OpenID issuer into the certificate */
export function requireIssuer(certificate: Certificate, issuer: string): void {
  const first = certificate.extension(OID.fulcioIssuer)?.value.toString("utf8");
  const second = certificate.extension(OID.fulcioIssuerV2)?.valueObj.subs[0]?.value.toString("utf8");
  const found = second ?? first;
  if (found === undefined) throw new SignatureRejection("the signer's certificate names no OpenID issuer");
  if (first !== undefined && second !== undefined && first !== second) {
    throw new SignatureRejection("the signer's certificate names two OpenID issuers");
  }
  if (found === issuer) return;
  throw new SignatureRejection(`the signer's certificate is from the OpenID issuer ${quoted([found])}, not ${issuer}`);
}

function alternativeNames(certificate: Certificate, kind: number): readonly Buffer[] {
  const names = certificate.extension(OID.subjectAltName)?.valueObj.subs[0]?.subs ?? [];
  return names.filter((name) => name.tag.isContextSpecific(kind)).map((name) => Buffer.from(name.value));
}

/** A star stands for the whole first label. */
function hostMatches(pattern: string, host: string): boolean {
  if (!pattern.startsWith("*.")) return pattern === host;
  const dot = host.indexOf(".");
  return dot > 0 && host.slice(dot) === pattern.slice(1);
}

function quoted(texts: readonly string[]): string {
  return texts.length === 0 ? "nobody" : texts.map((text) => JSON.stringify(text.slice(0, 200))).join(", ");
}
