/** What strangers wrote: nothing but our own refusals comes of it, and no bit of what was signed can be changed. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { createMessage, generateKey, readPrivateKey, sign as signMessage } from "openpgp";
import { PodError } from "../../../../src/base/errors.ts";
import { parseClaims } from "../../../../src/image/policy/claims.ts";
import { parsePolicy } from "../../../../src/image/policy/parse_policy.ts";
import type { SigstoreSigned } from "../../../../src/image/policy/requirement.ts";
import { parseSignature } from "../../../../src/image/policy/signature.ts";
import { checkSigstore, loadSigstoreTrust } from "../../../../src/image/policy/sigstore.ts";
import { openSignedMessage, readKeyrings } from "../../../../src/image/policy/simple_signing.ts";
import { CODE_SIGNING, keyPair, makeCertificate, pemOf, publicPem } from "../../../fakes/signing/certificates.ts";
import { type AttachedSignature, signSigstore, TestLog } from "../../../fakes/signing/sigstore.ts";

const IMAGE = { digest: `sha256:${"0".repeat(64)}`, reference: "registry.example/app:1" };
const data = (pem: string): { data: string[] } => ({ data: [Buffer.from(pem).toString("base64")] });

/** Runs it and lets refusals pass. */
function refuses(run: () => unknown): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof PodError)) throw error;
  }
}

async function trustOf(signer: SigstoreSigned["signer"], log?: TestLog): ReturnType<typeof loadSigstoreTrust> {
  return await loadSigstoreTrust({
    type: "sigstoreSigned",
    signer,
    signedIdentity: { type: "matchExact" },
    ...(log === undefined ? {} : { rekorKeys: data(log.pem) }),
  });
}

function isAccepted(signature: AttachedSignature, trust: Awaited<ReturnType<typeof trustOf>>): boolean {
  try {
    checkSigstore(signature, trust);
    return true;
  } catch (error) {
    if (error instanceof PodError) return false;
    throw error;
  }
}

Deno.test("parsers of the policy refuse any bytes in their own words", () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => refuses(() => parseSignature(bytes))));
  fc.assert(fc.property(fc.uint8Array(), (bytes) => refuses(() => parseClaims(bytes, "simple"))));
  fc.assert(fc.property(fc.json(), (text) => refuses(() => parsePolicy(text, "p"))));
  fc.assert(fc.property(fc.jsonValue(), fc.jsonValue(), (one, other) => {
    const requirement = { type: "sigstoreSigned", keyPath: "/k", signedIdentity: one };
    refuses(() => parsePolicy(JSON.stringify({ default: [requirement], transports: { docker: other } }), "p"));
    const critical = { type: "atomic container signature", image: one, identity: other };
    refuses(() => parseClaims(new TextEncoder().encode(JSON.stringify({ critical, optional: {} })), "simple"));
  }));
});

Deno.test("annotations of any content are refused in our own words", async () => {
  const log = new TestLog();
  const pair = keyPair();
  const root = makeCertificate({ name: "root", ca: true });
  const trusts = [
    await trustOf({ kind: "keys", keys: data(publicPem(pair.publicKey)) }, log),
    await trustOf({ kind: "pki", roots: data(root.pem), subjectEmail: "a@b" }),
    await trustOf({ kind: "fulcio", authorities: data(root.pem), oidcIssuer: "i", subjectEmail: "a@b" }, log),
  ];
  const certificate = makeCertificate({ name: "x", issuer: root, emails: ["a@b"], oidcIssuer: "i" });
  const good = signSigstore({ ...IMAGE, key: certificate.privateKey, certificate, chain: [root], log });
  const names = Object.keys(good.annotations);
  equal(names.length, 4);
  const content = fc.oneof(
    fc.string(),
    fc.json(),
    fc.base64String(),
    fc.uint8Array().map((der) => pemOf("CERTIFICATE", der)),
  );
  fc.assert(fc.property(fc.constantFrom(...names), content, (name, text) => {
    for (const trust of trusts) isAccepted({ ...good, annotations: { ...good.annotations, [name]: text } }, trust);
  }));
});

Deno.test("no byte of a certificate, a log's promise or a signature can be changed", async () => {
  const log = new TestLog();
  const root = makeCertificate({ name: "root", ca: true });
  const leaf = makeCertificate({ name: "x", issuer: root, emails: ["a@b"], oidcIssuer: "i", usages: [CODE_SIGNING] });
  const good = signSigstore({ ...IMAGE, key: leaf.privateKey, certificate: leaf, chain: [root], log });
  const pki = await trustOf({ kind: "pki", roots: data(root.pem), subjectEmail: "a@b" });
  const fulcio = await trustOf(
    { kind: "fulcio", authorities: data(root.pem), oidcIssuer: "i", subjectEmail: "a@b" },
    log,
  );
  ok(isAccepted(good, pki) && isAccepted(good, fulcio));
  const changed = (annotation: string, text: string): AttachedSignature => ({
    ...good,
    annotations: { ...good.annotations, [annotation]: text },
  });
  for (let at = 0; at < leaf.der.length; at++) {
    const der = Buffer.from(leaf.der);
    der[at] = (der[at] ?? 0) ^ (1 << (at % 8));
    const signature = changed("dev.sigstore.cosign/certificate", pemOf("CERTIFICATE", der));
    ok(!isAccepted(signature, pki), `byte ${at} of the certificate`);
    ok(!isAccepted(signature, fulcio), `byte ${at} of the certificate`);
  }
  const bundle = JSON.parse(good.annotations["dev.sigstore.cosign/bundle"] ?? "");
  const promise = Buffer.from(bundle.SignedEntryTimestamp, "base64");
  const raw = Buffer.from(good.annotations["dev.cosignproject.cosign/signature"] ?? "", "base64");
  for (let at = 0; at < Math.min(promise.length, raw.length); at++) {
    const [one, other] = [Buffer.from(promise), Buffer.from(raw)];
    one[at] = (one[at] ?? 0) ^ (1 << (at % 8));
    other[at] = (other[at] ?? 0) ^ (1 << (at % 8));
    const text = JSON.stringify({ ...bundle, SignedEntryTimestamp: one.toString("base64") });
    ok(!isAccepted(changed("dev.sigstore.cosign/bundle", text), fulcio), `byte ${at} of the promise`);
    ok(!isAccepted(changed("dev.cosignproject.cosign/signature", other.toString("base64")), pki), `byte ${at}`);
  }
});

Deno.test("a changed OpenPGP message is refused, or says what was signed", async () => {
  const { privateKey, publicKey } = await generateKey({ userIDs: [{ name: "one" }], format: "armored" });
  const keys = await readKeyrings([new TextEncoder().encode(publicKey)]);
  const message = await signMessage({
    message: await createMessage({ text: "what was signed" }),
    signingKeys: await readPrivateKey({ armoredKey: privateKey }),
    format: "binary",
  });
  const opened = async (bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> => {
    try {
      return new TextDecoder().decode(await openSignedMessage(bytes, keys));
    } catch (error) {
      if (error instanceof PodError) return undefined;
      throw error;
    }
  };
  equal(await opened(new Uint8Array(message)), "what was signed");
  let accepted = 0;
  for (let at = 0; at < message.length; at++) {
    const bytes = new Uint8Array(message);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
    const text = await opened(bytes);
    if (text === undefined) continue;
    accepted++;
    equal(text, "what was signed", `byte ${at}`);
  }
  // Some bytes are nobody's: the literal packet's date and file name, subpackets outside of the hash.
  ok(accepted < message.length / 4, `${accepted} of ${message.length}`);
  const cut = await Promise.all(Array.from(message, (_, length) => opened(new Uint8Array(message.slice(0, length)))));
  deepEqual(new Set(cut), new Set([undefined]));
});
