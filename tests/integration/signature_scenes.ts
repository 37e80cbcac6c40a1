/** Signed images of every kind, good and bad, in a registry of the test, with the policy that each is judged by. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { StoredImage } from "../fakes/registry.ts";
import {
  CODE_SIGNING,
  keyPair,
  makeCertificate,
  publicPem,
  type TestCertificate,
} from "../fakes/signing/certificates.ts";
import type { GpgHome } from "../fakes/signing/gpg.ts";
import { attach, signSigstore, type SigstoreSpec, TestLog } from "../fakes/signing/sigstore.ts";
import { runTool } from "../fakes/signing/tool.ts";
import { buildTar } from "../fakes/tar.ts";
import type { PullNode } from "./pull_node.ts";

/** The rows of the matrix. */
export const ROWS = [
  "accepted",
  "wrong key",
  "unsigned",
  "wrong identity",
  "expired certificate",
  "tampered payload",
  "missing transparency entry",
] as const;
export type Row = typeof ROWS[number];

/** One way to sign. */
export interface Kind {
  /** Requirement of policy.json. */
  readonly requirement: Record<string, unknown>;
  /** Rows that this way can have. */
  readonly rows: readonly Row[];
  /** Puts the signature of this row where it is looked for. */
  sign(row: Row, image: Target): Promise<void>;
}

/** An image that is to be signed. */
export interface Target {
  readonly name: string;
  readonly reference: string;
  readonly digest: string;
  readonly manifest: Uint8Array;
}

const HOUR_MS = 3_600_000;
const OIDC = { oidcIssuer: "https://issuer.example", emails: ["dev@example.com"], usages: [CODE_SIGNING] };
const WITHOUT_TIME = ROWS.filter((row) => row !== "expired certificate" && row !== "missing transparency entry");

/** An image of its own, so that nothing of another row can be taken for it. */
export function addImage(
  node: PullNode,
  name: string,
  compression: "gzip" | "none" = "gzip",
): StoredImage & { readonly name: string } {
  const layer = buildTar([{ name: "row", body: name }]);
  return { ...node.registry.addImage({ name, tag: "1", layers: [layer], compression }), name };
}

/** Tells the node and skopeo where signatures are: a directory, and the registry itself. */
export async function writeLookaside({ root }: PullNode): Promise<void> {
  await Deno.mkdir(`${root}/registries.d`, { recursive: true });
  await Deno.writeTextFile(
    `${root}/registries.d/default.yaml`,
    `default-docker:\n  lookaside: file://${root}/lookaside\n  use-sigstore-attachments: true\n`,
  );
}

/** Puts a signature into the lookaside directory. */
export async function putAside({ root }: PullNode, target: Target, blob: Uint8Array): Promise<void> {
  const directory = `${root}/lookaside/${target.name}@${target.digest.replace(":", "=")}`;
  await Deno.mkdir(directory, { recursive: true });
  await Deno.writeFile(`${directory}/signature-1`, blob);
}

/** Simple signing by keys of gpg; skopeo writes the good signature. */
export async function gpgKind(node: PullNode, home: GpgHome): Promise<Kind> {
  const [good, other] = [await home.addKey("good@example.com"), await home.addKey("other@example.com")];
  const past = ["--faked-system-time", "20240101T000000"];
  await home.gpg([...past, "--passphrase", "", "--quick-gen-key", "old@example.com", "ed25519", "sign", "10d"]);
  const ring = `${node.root}/keys.gpg`;
  await Deno.writeFile(ring, await home.export([good, "old@example.com"]));
  const standalone = async (target: Target, options: { key: string; reference: string }): Promise<Uint8Array> => {
    const [manifest, output] = [`${node.root}/manifest.json`, `${node.root}/signature`];
    await Deno.writeFile(manifest, target.manifest);
    const { key, reference } = options;
    await runTool(["skopeo", "standalone-sign", manifest, reference, key, "-o", output], { env: home.environment });
    return await Deno.readFile(output);
  };
  return {
    requirement: { type: "signedBy", keyType: "GPGKeys", keyPath: ring },
    rows: [...WITHOUT_TIME, "expired certificate"],
    async sign(row, target): Promise<void> {
      if (row === "unsigned") return;
      if (row === "expired certificate") {
        const payload = simplePayload(target);
        return await putAside(node, target, await home.gpg([...past, "-u", "old@example.com", "--sign"], payload));
      }
      const reference = row === "wrong identity" ? `${target.reference}-other` : target.reference;
      let blob = await standalone(target, { key: row === "wrong key" ? other : good, reference });
      if (row === "tampered payload") {
        const more = ["--compress-algo", "none"];
        blob = await home.sign(simplePayload(target, `${target.reference}-evil`), { key: good, more });
        // As long as before: the lengths of the packets stay right.
        blob = Buffer.from(Buffer.from(blob).toString("latin1").replace('-evil"', '"     '), "latin1");
      }
      await putAside(node, target, blob);
    },
  };
}

/** sigstore by a key. */
export function keyKind(node: PullNode): Kind {
  const good = keyPair();
  return {
    requirement: { type: "sigstoreSigned", keyData: base64(publicPem(good.publicKey)) },
    rows: WITHOUT_TIME,
    sign(row, target): Promise<void> {
      if (row === "unsigned") return Promise.resolve();
      const key = row === "wrong key" ? keyPair().privateKey : good.privateKey;
      attach(node.registry, target, [signSigstore(changed(row, { ...target, key }))]);
      return Promise.resolve();
    },
  };
}

/** sigstore by a key, with an entry in a log. */
export function loggedKeyKind(node: PullNode): Kind {
  const good = keyPair();
  const log = new TestLog();
  return {
    requirement: {
      type: "sigstoreSigned",
      keyData: base64(publicPem(good.publicKey)),
      rekorPublicKeyData: base64(log.pem),
    },
    rows: [...WITHOUT_TIME, "missing transparency entry"],
    sign(row, target): Promise<void> {
      if (row === "unsigned") return Promise.resolve();
      const key = row === "wrong key" ? keyPair().privateKey : good.privateKey;
      const spec = { ...target, key, ...(row === "missing transparency entry" ? {} : { log }) };
      attach(node.registry, target, [signSigstore(changed(row, spec))]);
      return Promise.resolve();
    },
  };
}

/** sigstore without a key: a certificate for ten minutes of yesterday, and an entry in a log. */
export function fulcioKind(node: PullNode): Kind {
  const log = new TestLog();
  const [root, stranger] = [makeCertificate({ name: "root", ca: true }), makeCertificate({ name: "root", ca: true })];
  const at = new Date(Date.now() - 24 * HOUR_MS);
  return {
    requirement: {
      type: "sigstoreSigned",
      fulcio: { caData: base64(root.pem), oidcIssuer: OIDC.oidcIssuer, subjectEmail: "dev@example.com" },
      rekorPublicKeyData: base64(log.pem),
    },
    rows: ROWS,
    sign(row, target): Promise<void> {
      if (row === "unsigned") return Promise.resolve();
      const notAfter = new Date(at.getTime() + HOUR_MS / 6);
      const issuer = row === "wrong key" ? stranger : root;
      const certificate = makeCertificate({ name: "", issuer, notBefore: at, notAfter, ...OIDC });
      const loggedAt = row === "expired certificate" ? new Date(notAfter.getTime() + HOUR_MS) : at;
      const logged = row === "missing transparency entry" ? {} : { log, loggedAt };
      const spec = { ...target, key: certificate.privateKey, certificate, chain: [root], ...logged };
      attach(node.registry, target, [signSigstore(changed(row, spec))]);
      return Promise.resolve();
    },
  };
}

/** sigstore by a certificate of a company. */
export function pkiKind(node: PullNode): Kind {
  const [root, stranger] = [makeCertificate({ name: "root", ca: true }), makeCertificate({ name: "root", ca: true })];
  const between = (issuer: TestCertificate): TestCertificate => makeCertificate({ name: "between", issuer, ca: true });
  const intermediate = between(root);
  return {
    requirement: {
      type: "sigstoreSigned",
      pki: {
        caRootsData: base64(root.pem),
        caIntermediatesData: base64(intermediate.pem),
        subjectEmail: "dev@example.com",
      },
    },
    rows: [...WITHOUT_TIME, "expired certificate"],
    sign(row, target): Promise<void> {
      if (row === "unsigned") return Promise.resolve();
      const issuer = row === "wrong key" ? between(stranger) : intermediate;
      const expired = row === "expired certificate" ? { notAfter: new Date(Date.now() - HOUR_MS) } : {};
      const certificate = makeCertificate({ name: "signer", issuer, ...OIDC, ...expired });
      const spec = { ...target, key: certificate.privateKey, certificate };
      attach(node.registry, target, [signSigstore(changed(row, spec))]);
      return Promise.resolve();
    },
  };
}

function changed(row: Row, spec: SigstoreSpec): SigstoreSpec {
  if (row === "wrong identity") return { ...spec, reference: `${spec.reference}-other` };
  if (row !== "tampered payload") return spec;
  // What is signed is for another name, and is made to fit afterwards.
  const tamper = (text: string): string => text.replace("-evil", "");
  return { ...spec, reference: `${spec.reference}-evil`, tamper };
}

function simplePayload({ digest, reference: own }: Target, reference = own): string {
  return JSON.stringify({
    critical: {
      type: "atomic container signature",
      image: { "docker-manifest-digest": digest },
      identity: { "docker-reference": reference },
    },
    optional: { creator: "test", serial: createHash("sha256").update(digest).digest("hex").slice(0, 8) },
  });
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
