import { equal, match, rejects } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { sha256 } from "../../../fakes/registry/content.ts";
import { parsePolicy } from "../../../../src/image/policy/parse_policy.ts";
import { demandOf } from "../../../../src/image/policy/policy.ts";
import { dockerSubject } from "../../../../src/image/policy/scopes.ts";
import type { Signature as AnySignature } from "../../../../src/image/policy/signature.ts";
import { verifyImage } from "../../../../src/image/policy/verify.ts";
import { parseReference } from "../../../../src/image/reference.ts";
import {
  CODE_SIGNING,
  keyPair,
  makeCertificate,
  pemOf,
  publicPem,
  SERVER_AUTH,
} from "../../../fakes/signing/certificates.ts";
import { signSigstore, type SigstoreSpec, TestLog } from "../../../fakes/signing/sigstore.ts";

type Signature = AnySignature & { readonly format: "sigstore" };

const REFERENCE = "registry.example/team/app:1";
const MANIFEST = new TextEncoder().encode(`{"schemaVersion":2}`);
const IMAGE = { digest: sha256(MANIFEST), reference: REFERENCE };
const HOUR_MS = 3_600_000;

const data = (pem: string): string => Buffer.from(pem).toString("base64");
const sign = (spec: Partial<SigstoreSpec> & Pick<SigstoreSpec, "key">): Signature =>
  signSigstore({ ...IMAGE, ...spec });

async function verdict(requirement: unknown, signatures: readonly Signature[]): Promise<string> {
  const policy = parsePolicy(JSON.stringify({ default: [{ type: "sigstoreSigned", ...Object(requirement) }] }), "p");
  const demand = demandOf(policy, dockerSubject(parseReference(REFERENCE)));
  if (demand === undefined) throw new Error("the policy asks for nothing");
  try {
    await verifyImage(demand, { manifest: MANIFEST, signatures });
    return "accepted";
  } catch (error) {
    if (!(error instanceof Error) || !("kind" in error) || error.kind !== "signature_validation_failed") throw error;
    return error.message;
  }
}

async function refused(requirement: unknown, signature: Signature, reason: RegExp): Promise<void> {
  const found = await verdict(requirement, [signature]);
  match(found, reason);
}

for (const kind of ["ec", "rsa", "ed25519"] as const) {
  Deno.test(`verifyImage() takes a signature by a key of the kind ${kind}, and no other`, async () => {
    const pair = keyPair(kind);
    const policy = { keyData: data(publicPem(pair.publicKey)) };
    const good = sign({ key: pair.privateKey });
    equal(await verdict(policy, [good]), "accepted");
    equal(await verdict(policy, [sign({ key: keyPair().privateKey }), good]), "accepted");
    const two = { keyDatas: [data(publicPem(keyPair().publicKey)), policy.keyData] };
    equal(await verdict(two, [good]), "accepted");
    await refused(policy, sign({ key: keyPair(kind).privateKey }), /not one of this payload by a signer/);
    await refused(policy, sign({ key: keyPair().privateKey }), /not one of this payload by a signer/);
  });
}

Deno.test("verifyImage() refuses what a good key signed for something else", async () => {
  const { publicKey, privateKey: key } = keyPair();
  const policy = { keyData: data(publicPem(publicKey)) };
  await refused(policy, sign({ key, digest: sha256(new Uint8Array(1)) }), /it is for another image/);
  await refused(policy, sign({ key, reference: "registry.example/team/app:2" }), /which matchRepoDigestOrExact/);
  await refused(policy, sign({ key, type: "atomic container signature" }), /not a "cosign/);
  await refused(policy, sign({ key, tamper: (text) => text.replace("app:1", "app:2") }), /not one of this payload/);
  const spaced = sign({ key });
  const text = ` ${spaced.annotations["dev.cosignproject.cosign/signature"]}`;
  const annotations = { "dev.cosignproject.cosign/signature": text };
  await refused(policy, { ...spaced, annotations }, /the signature is not Base64/);
  const broken = { ...sign({ key }), annotations: { "dev.cosignproject.cosign/signature": "AAAA" } };
  await refused(policy, broken, /not one of this payload/);
  await refused(policy, { ...broken, annotations: {} }, /there is no signature \(annotation/);
  await refused(policy, { ...sign({ key }), mediaType: "application/x" }, /no signature of that kind/);
  match(await verdict(policy, []), /no signature of that kind.*use-sigstore-attachments/);
});

Deno.test("verifyImage() asks the log where the policy names one", async () => {
  const { publicKey, privateKey: key } = keyPair();
  const log = new TestLog();
  const policy = { keyData: data(publicPem(publicKey)), rekorPublicKeyData: data(log.pem) };
  const good = signSigstore({ ...IMAGE, key, log });
  equal(await verdict(policy, [good]), "accepted");
  const datas = [data(new TestLog().pem), data(log.pem)];
  equal(await verdict({ keyData: policy.keyData, rekorPublicKeyDatas: datas }, [good]), "accepted");
  await refused(policy, sign({ key }), /there is no entry of a transparency log/);
  await refused(policy, sign({ key, log: new TestLog() }), /not signed by a log that is trusted/);
  const stranger = publicPem(keyPair().publicKey);
  await refused(policy, sign({ key, log, logged: { signer: stranger } }), /about another signer/);
  await refused(policy, sign({ key, log, logged: { signature: Uint8Array.of(1) } }), /about another signature/);
  await refused(policy, sign({ key, log, logged: { payload: Uint8Array.of(1) } }), /about another payload/);
  await refused(policy, sign({ key, log, logged: { kind: "intoto" } }), /not a hashedrekord/);
  const other = signSigstore({ ...IMAGE, key, log, reference: "registry.example/x:1" }).annotations;
  const bundle = other["dev.sigstore.cosign/bundle"] ?? "";
  const swapped = { ...good, annotations: { ...good.annotations, "dev.sigstore.cosign/bundle": bundle } };
  await refused(policy, swapped, /is about another (signature|payload)/);
  for (
    const text of ["", "{}", "[]", bundle.replace(/"logIndex":17/, '"logIndex":18'), bundle.replace("{", '{"x":1,')]
  ) {
    const annotations = { ...good.annotations, "dev.sigstore.cosign/bundle": text };
    await refused(policy, { ...good, annotations }, /entry of the transparency log/);
  }
});

/** A certificate authority as Fulcio is one, and a signer that it knew for a few minutes yesterday. */
function fulcioScene(): {
  policy: Record<string, unknown>;
  signed: (change?: Partial<SigstoreSpec>, leaf?: Partial<Parameters<typeof makeCertificate>[0]>) => Signature;
} {
  const log = new TestLog();
  const root = makeCertificate({ name: "root", ca: true });
  const between = makeCertificate({ name: "between", issuer: root, ca: true, pathLength: 0, usages: [CODE_SIGNING] });
  const at = new Date(Date.now() - 20 * HOUR_MS);
  const fulcio = { caData: data(root.pem), oidcIssuer: "https://issuer.example", subjectEmail: "dev@example.com" };
  const signed: ReturnType<typeof fulcioScene>["signed"] = (change = {}, leaf = {}) => {
    const certificate = makeCertificate({
      name: "",
      issuer: between,
      notBefore: new Date(at.getTime() - 60_000),
      notAfter: new Date(at.getTime() + 540_000),
      usages: [CODE_SIGNING],
      emails: ["dev@example.com"],
      oidcIssuer: "https://issuer.example",
      ...leaf,
    });
    const chain = [between, root];
    return sign({ key: certificate.privateKey, certificate, chain, log, loggedAt: at, ...change });
  };
  return { policy: { fulcio, rekorPublicKeyData: data(log.pem) }, signed };
}

Deno.test("verifyImage() takes a keyless signature although its certificate has expired since", async () => {
  const { policy, signed } = fulcioScene();
  equal(await verdict(policy, [signed()]), "accepted");
  equal(await verdict(policy, [signed({}, { oidcIssuerV2: "https://issuer.example" })]), "accepted");
});

Deno.test("verifyImage() refuses a keyless signature with any flaw", async () => {
  const { policy, signed } = fulcioScene();
  const other = makeCertificate({ name: "between", ca: true });
  await refused(policy, signed({ loggedAt: new Date() }), /certificate expired at/);
  await refused(policy, signed({ loggedAt: new Date(Date.now() - 30 * HOUR_MS) }), /valid from .* on only/);
  await refused(policy, signed({}, { emails: ["eve@example.com"] }), /not for dev@example\.com but for "eve@/);
  await refused(policy, signed({}, { emails: [] }), /but for nobody/);
  await refused(policy, signed({}, { oidcIssuer: "https://evil.example" }), /OpenID issuer "https:\/\/evil/);
  await refused(policy, signed({}, { oidcIssuerV2: "https://evil.example" }), /two OpenID issuers/);
  await refused(policy, signed({}, { usages: [SERVER_AUTH] }), /not for signing code/);
  await refused(policy, signed({}, { unknownCritical: true }), /critical extension 1\.2\.3\.4\.5/);
  await refused(policy, signed({}, { nameConstraints: true }), /name constraints/);
  await refused(policy, signed({}, { repeatedUsages: true }), /has an extension twice/);
  await refused(policy, signed({}, { issuer: other }), /does not lead to a trusted authority/);
  await refused(policy, signed({}, { forger: other }), /does not lead to a trusted authority/);
  await refused(policy, signed({ logged: { signer: other.pem } }), /about another signer/);
  await refused(policy, signed({ chain: [] }), /does not lead to a trusted authority/);
  await refused(policy, signed({ tamper: (text) => `${text} ` }), /about another payload/);
  await refused(policy, signed({ reference: "registry.example/x:1" }), /it is for the name/);
  const lost = signed();
  const { "dev.sigstore.cosign/bundle": _bundle, ...without } = lost.annotations;
  await refused(policy, { ...lost, annotations: without }, /there is no entry of a transparency log/);
  const unsigned = { ...lost.annotations, "dev.sigstore.cosign/certificate": "x" };
  await refused(policy, { ...lost, annotations: unsigned }, /not exactly one certificate/);
  const garbage = pemOf("CERTIFICATE", Uint8Array.of(0x30, 3, 1, 2, 3));
  await refused(policy, {
    ...lost,
    annotations: { ...lost.annotations, "dev.sigstore.cosign/certificate": garbage },
  }, /certificate cannot be read/);
});

Deno.test("verifyImage() refuses authorities that may not be any", async () => {
  const log = new TestLog();
  const root = makeCertificate({ name: "root", ca: true });
  const fulcio = { caData: data(root.pem), oidcIssuer: "https://i", subjectEmail: "a@b" };
  const policy = { fulcio, rekorPublicKeyData: data(log.pem) };
  const leafOf = (issuer: typeof root): ReturnType<typeof makeCertificate> =>
    makeCertificate({ name: "leaf", issuer, emails: ["a@b"], oidcIssuer: "https://i" });
  const by = (issuer: typeof root): Signature => {
    const certificate = leafOf(issuer);
    return sign({ key: certificate.privateKey, certificate, chain: [issuer, shallow, root], log });
  };
  const shallow = makeCertificate({ name: "shallow", issuer: root, ca: true, pathLength: 0 });
  for (const issuer of [root, shallow]) equal(await verdict(policy, [by(issuer)]), "accepted");
  const tooDeep = makeCertificate({ name: "deep", issuer: shallow, ca: true });
  const noAuthority = makeCertificate({ name: "none", issuer: root });
  const expired = makeCertificate({ name: "old", issuer: root, ca: true, notAfter: new Date(Date.now() - HOUR_MS) });
  for (const issuer of [tooDeep, noAuthority, expired]) await refused(policy, by(issuer), /does not lead to a trusted/);
});

Deno.test("verifyImage() takes a company's certificate while it is valid", async () => {
  const root = makeCertificate({ name: "root", ca: true, keyKind: "rsa" });
  const between = makeCertificate({ name: "between", issuer: root, ca: true, keyKind: "ed25519" });
  const subject = { name: "x", issuer: between, emails: ["a@b"], hosts: ["*.Build.example"], usages: [CODE_SIGNING] };
  const signed = (leaf: Partial<typeof subject> & { notAfter?: Date } = {}): Signature => {
    const certificate = makeCertificate({ ...subject, ...leaf });
    return sign({ key: certificate.privateKey, certificate, chain: [between, root] });
  };
  const pki = { caRootsData: data(root.pem), subjectEmail: "a@b" };
  equal(await verdict({ pki }, [signed()]), "accepted");
  const host = { caRootsData: data(root.pem), subjectHostname: "one.build.example" };
  equal(await verdict({ pki: host }, [signed()]), "accepted");
  const bare = makeCertificate(subject);
  const unchained = sign({ key: bare.privateKey, certificate: bare });
  // What stands last in the chain is taken for the root.
  await refused({ pki }, sign({ key: bare.privateKey, certificate: bare, chain: [between] }), /does not lead/);
  await refused({ pki }, unchained, /does not lead to a trusted authority/);
  equal(await verdict({ pki: { ...pki, caIntermediatesData: data(between.pem) } }, [unchained]), "accepted");
  await refused({ pki }, signed({ notAfter: new Date(Date.now() - HOUR_MS) }), /certificate expired at/);
  await refused({ pki: { ...pki, subjectEmail: "c@d" } }, signed(), /not for c@d/);
  for (const name of ["build.example", "a.b.build.example", "one.build.example.evil"]) {
    await refused({ pki: { ...host, subjectHostname: name } }, signed(), /certificate is not for/);
  }
  await refused(
    { pki: { ...pki, caRootsData: data(makeCertificate({ name: "root", ca: true }).pem) } },
    signed(),
    /lead/,
  );
});

Deno.test("verifyImage() wants every requirement met", async () => {
  const [one, two] = [keyPair(), keyPair()];
  const of = ({ publicKey }: typeof one): unknown => ({ type: "sigstoreSigned", keyData: data(publicPem(publicKey)) });
  const demand = demandOf(
    parsePolicy(JSON.stringify({ default: [of(one), of(two)] }), "p"),
    dockerSubject(parseReference(REFERENCE)),
  );
  if (demand === undefined) throw new Error("the policy asks for nothing");
  const signatures = [sign({ key: one.privateKey }), sign({ key: two.privateKey })];
  await verifyImage(demand, { manifest: MANIFEST, signatures });
  for (const signature of signatures) {
    const image = { manifest: MANIFEST, signatures: [signature] };
    await rejects(verifyImage(demand, image), { kind: "signature_validation_failed" });
  }
});

Deno.test("verifyImage() blames the policy for keys that cannot be used", async () => {
  const signature = sign({ key: keyPair().privateKey });
  for (
    const requirement of [
      { keyPath: "/nonexistent/key" },
      { keyData: data("no key") },
      { keyData: data(publicPem(keyPair().publicKey)), rekorPublicKeyData: data(publicPem(keyPair("rsa").publicKey)) },
      { pki: { caRootsData: data("no certificate"), subjectEmail: "a@b" } },
    ]
  ) {
    await rejects(verdict(requirement, [signature]), { kind: "failed_precondition" });
  }
});
