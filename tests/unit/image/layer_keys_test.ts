import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import fc from "fast-check";
import { FlattenedEncrypt, GeneralEncrypt } from "jose";
import { PodError } from "../../../src/base/errors.ts";
import { parseDigest } from "../../../src/base/ids.ts";
import { readDecryptionKeys } from "../../../src/image/encryption/decryption_keys.ts";
import { DecryptionError, openLayerKeys } from "../../../src/image/encryption/layer_keys.ts";
import type { Descriptor } from "../../../src/image/manifest/documents.ts";

const KEYS = "org.opencontainers.image.enc.keys.jwe";
const OPTIONS = "org.opencontainers.image.enc.pubopts";
const base64 = (bytes: number, fill: number): string => Buffer.alloc(bytes, fill).toString("base64");
const json = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64");
const SECRET = { symkey: base64(32, 1), digest: "sha256:x", cipheroptions: { nonce: base64(16, 2) } };
const PUBLIC = { cipher: "AES_256_CTR_HMAC_SHA256", hmac: base64(32, 3), cipheroptions: {} };
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const other = generateKeyPairSync("rsa", { modulusLength: 2048 });
const curves = ["P-256", "P-384", "P-521"].map((namedCurve) => generateKeyPairSync("ec", { namedCurve }));

const layer = (annotations: Readonly<Record<string, string>>): Descriptor => ({
  mediaType: "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
  digest: parseDigest(`sha256:${"a".repeat(64)}`),
  sizeBytes: 1,
  urls: [],
  annotations,
});

/** As ocicrypt wraps it: flattened for one recipient, with a list for more. */
async function wrap(secret: unknown, ...recipients: readonly KeyObject[]): Promise<string> {
  const plain = new TextEncoder().encode(JSON.stringify(secret));
  const algorithm = (key: KeyObject): string => key.asymmetricKeyType === "rsa" ? "RSA-OAEP" : "ECDH-ES+A256KW";
  const [first] = recipients;
  if (recipients.length === 1 && first !== undefined) {
    const jwe = new FlattenedEncrypt(plain).setProtectedHeader({ alg: algorithm(first), enc: "A256GCM" });
    return json(await jwe.encrypt(first));
  }
  const jwe = new GeneralEncrypt(plain).setProtectedHeader({ enc: "A256GCM" });
  for (const key of recipients) jwe.addRecipient(key).setUnprotectedHeader({ alg: algorithm(key) });
  return json(await jwe.encrypt());
}

async function withKeys(
  files: Readonly<Record<string, string | Uint8Array>>,
  body: (directory: string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "layer-keys-" });
  try {
    for (const [name, content] of Object.entries(files)) {
      await Deno.mkdir(`${directory}/${name.split("/").slice(0, -1).join("/")}`, { recursive: true });
      await Deno.writeFile(`${directory}/${name}`, typeof content === "string" ? Buffer.from(content) : content);
    }
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const pem = (key: KeyObject): string => key.export({ type: "pkcs8", format: "pem" }) as string;

Deno.test("readDecryptionKeys() reads PEM, DER and JWK below the directory, and says what it leaves out", async () => {
  const der = rsa.privateKey.export({ type: "pkcs1", format: "der" });
  await withKeys({
    "a.pem": pem(rsa.privateKey),
    "deep/b.der": der,
    "deep/er/c.jwk": JSON.stringify(rsa.privateKey.export({ format: "jwk" })),
    "public.pem": rsa.publicKey.export({ type: "spki", format: "pem" }) as string,
    "long.pem": new Uint8Array(70_000),
    "locked.pem": rsa.privateKey.export(
      {
        ...{ type: "pkcs8", format: "pem" },
        ...{ cipher: "aes-256-cbc", passphrase: "x" },
      } as Parameters<KeyObject["export"]>[0],
    ) as string,
  }, async (directory) => {
    const { keys, ignored } = await readDecryptionKeys(`${directory}/`);
    equal(keys.length, 3);
    deepEqual(ignored.map((text) => text.replace(`${directory}/`, "").split(" ")[0]), [
      "locked.pem",
      "long.pem",
      "public.pem",
    ]);
    deepEqual(await readDecryptionKeys(`${directory}/none`), { directory: `${directory}/none`, keys: [], ignored: [] });
  });
});

Deno.test("openLayerKeys() opens what was wrapped for one or many, by RSA and by each curve", async () => {
  const wanted = { key: SECRET.symkey, nonce: SECRET.cipheroptions.nonce, hmac: PUBLIC.hmac };
  const publics = [other.publicKey, ...curves.map(({ publicKey }) => publicKey), rsa.publicKey];
  for (const { privateKey, publicKey } of [rsa, ...curves]) {
    await withKeys({ "key.pem": pem(privateKey) }, async (directory) => {
      for (const recipients of [[publicKey], publics]) {
        const annotations = { [KEYS]: await wrap(SECRET, ...recipients), [OPTIONS]: json(PUBLIC) };
        deepEqual(await openLayerKeys([layer(annotations)], directory), new Map([[0, wanted]]));
      }
      // Wrapped again for somebody else later: one annotation, two documents.
      const both = [await wrap(SECRET, other.publicKey), await wrap(SECRET, publicKey)].join(",");
      const plain = { ...layer({}), mediaType: "application/vnd.oci.image.layer.v1.tar+gzip" };
      const found = await openLayerKeys([plain, layer({ [KEYS]: both, [OPTIONS]: json(PUBLIC) })], directory);
      deepEqual([...found.keys()], [1]);
    });
  }
  equal((await openLayerKeys([], "/no/such/directory")).size, 0);
});

Deno.test("openLayerKeys() refuses another's layer and secrets of a wrong form, without quoting them", async () => {
  await withKeys({ "key.pem": pem(rsa.privateKey) }, async (directory) => {
    const refused = async (secret: unknown, reason: RegExp, key = rsa.publicKey): Promise<void> => {
      const opening = openLayerKeys([layer({ [KEYS]: await wrap(secret, key), [OPTIONS]: json(PUBLIC) })], directory);
      await rejects(opening, (error) => {
        ok(error instanceof DecryptionError && reason.test(error.message), String(error));
        ok(!error.message.includes("c2VjcmV0"));
        return true;
      });
    };
    await refused(SECRET, /none of the 1 private keys/, other.publicKey);
    await refused({ ...SECRET, symkey: "c2VjcmV0" }, /the key of layer .* is not 32 bytes/);
    await refused({ ...SECRET, cipheroptions: {} }, /the nonce of layer .* is not 16 bytes/);
    await refused("c2VjcmV0", /none of the 1 private keys/);
  });
});

Deno.test("openLayerKeys() throws only errors of ours, whatever the annotations hold", async () => {
  await withKeys({ "key.pem": pem(rsa.privateKey) }, async (directory) => {
    const good = JSON.parse(Buffer.from(await wrap(SECRET, rsa.publicKey), "base64").toString());
    const field = fc.constantFrom(...Object.keys(good), "recipients", "header", "unprotected", "aad");
    const document = fc.oneof(
      fc.json().map((text) => Buffer.from(text).toString("base64")),
      fc.string(),
      fc.tuple(field, fc.jsonValue()).map(([name, value]) => json({ ...good, [name]: value })),
      fc.string().map((text) => json({ ...good, protected: Buffer.from(text).toString("base64url") })),
    );
    await fc.assert(
      fc.asyncProperty(document, fc.oneof(fc.string(), fc.jsonValue().map(json)), async (keys, options) => {
        try {
          await openLayerKeys([layer({ [KEYS]: keys, [OPTIONS]: options })], directory);
        } catch (error) {
          if (!(error instanceof PodError)) throw error;
        }
      }),
      { numRuns: 200 },
    );
  });
});
