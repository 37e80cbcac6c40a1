import { equal, ok, rejects } from "node:assert/strict";
import { parsePolicy } from "../../src/image/policy/parse_policy.ts";
import { demandOf } from "../../src/image/policy/policy.ts";
import { dockerSubject } from "../../src/image/policy/scopes.ts";
import { parseSignature } from "../../src/image/policy/signature.ts";
import { openSignedMessage, readKeyrings } from "../../src/image/policy/simple_signing.ts";
import { verifyImage } from "../../src/image/policy/verify.ts";
import { parseReference } from "../../src/image/reference.ts";
import { sha256 } from "../fakes/registry/content.ts";
import { GpgHome } from "../fakes/signing/gpg.ts";

const MANIFEST = new TextEncoder().encode(`{"schemaVersion":2}`);
const PAYLOAD = JSON.stringify({
  critical: {
    type: "atomic container signature",
    image: { "docker-manifest-digest": sha256(MANIFEST) },
    identity: { "docker-reference": "registry.example/app:1" },
  },
  optional: {},
});

Deno.test("openSignedMessage() opens what gpg signed with keys of a keyring", async () => {
  await using home = await GpgHome.make();
  const [one, two] = [
    await home.addKey("one@example.com"),
    await home.addKey("two@example.com", { algorithm: "rsa2048" }),
  ];
  const binary = await readKeyrings([await home.export([one, two])]);
  const armored = [await home.export([one], "armored"), await home.export([two], "armored")];
  const joined = new Uint8Array(await new Blob(armored).arrayBuffer());
  for (const keys of [binary, await readKeyrings([joined])]) {
    equal(keys.length, 2);
    for (const key of [one, two]) {
      for (const more of [[], ["--compress-algo", "none"], ["--textmode"]]) {
        const opened = await openSignedMessage(await home.sign("text", { key, more }), keys);
        equal(new TextDecoder().decode(opened), "text");
      }
    }
  }
  const message = await home.sign("text", { key: one });
  const others = await readKeyrings([await home.export([two])]);
  await rejects(openSignedMessage(message, others), /made by the key [0-9a-f]{16}, which is not trusted/);
});

Deno.test("openSignedMessage() refuses what gpg would call bad", async () => {
  await using home = await GpgHome.make();
  const key = await home.addKey("one@example.com");
  const trusted = async (): Promise<ReturnType<typeof readKeyrings>> => readKeyrings([await home.export([])]);
  const keys = await trusted();
  const refused = (message: Uint8Array<ArrayBuffer>): Promise<void> =>
    rejects(openSignedMessage(message, keys), { kind: "signature_validation_failed" });
  const plain = await home.sign("the signed text", { key, more: ["--compress-algo", "none"] });
  const at = new TextDecoder("latin1").decode(plain).indexOf("signed");
  const tampered = plain.slice();
  tampered[at] = (tampered[at] ?? 0) ^ 1;
  await refused(tampered);
  await refused(plain.slice(0, -10));
  await refused(new Uint8Array(50).fill(0xa3));
  const second = await home.addKey("two@example.com");
  const both = await home.sign("text", { key, more: ["--local-user", second] });
  await rejects(openSignedMessage(both, await trusted()), /more than one signature/);
  const bomb = await home.sign("0".repeat(5_000_000), { key });
  ok(bomb.length < 100_000);
  await refused(bomb);
  const old = await home.sign("text", { key, more: ["--faked-system-time", "20300101T000000"] });
  await refused(old);
  const past = ["--faked-system-time", "20240101T000000"];
  await home.gpg([...past, "--passphrase", "", "--quick-gen-key", "past@example.com", "ed25519", "sign", "never"]);
  const limited = [...past, "--local-user", "past@example.com", "--default-sig-expire"];
  const lasting = await home.gpg([...limited, "0", "--sign"], "text");
  equal((await openSignedMessage(lasting, await trusted())).length, 4);
  await rejects(openSignedMessage(await home.gpg([...limited, "10d", "--sign"], "text"), await trusted()), /expired/i);
});

Deno.test("openSignedMessage() refuses keys that are revoked or expired by now", async () => {
  await using home = await GpgHome.make();
  const revoked = await home.addKey("one@example.com");
  const message = await home.sign("text", { key: revoked });
  const before = await readKeyrings([await home.export([revoked])]);
  equal((await openSignedMessage(message, before)).length, 4);
  await home.revoke(revoked);
  const after = await readKeyrings([await home.export([revoked])]);
  await rejects(openSignedMessage(message, after), /revoked/i);

  const past = ["--faked-system-time", "20240101T000000"];
  await home.gpg([...past, "--passphrase", "", "--quick-gen-key", "old@example.com", "ed25519", "sign", "10d"]);
  const signed = await home.gpg([...past, "--local-user", "old@example.com", "--sign"], "text");
  const expired = await readKeyrings([await home.export(["old@example.com"])]);
  await rejects(openSignedMessage(signed, expired), /expired/i);
});

Deno.test("readKeyrings() blames the policy for what is no keyring", async () => {
  for (
    const text of ["", "no keys", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----"]
  ) {
    await rejects(readKeyrings([new TextEncoder().encode(text)]), { kind: "failed_precondition" }, text);
  }
  await rejects(readKeyrings([]), /hold no key/);
});

Deno.test("verifyImage() takes a simple signature of the image, under its name", async () => {
  await using home = await GpgHome.make();
  const key = await home.addKey("one@example.com");
  const keyData = (await home.export([key])).toBase64();
  const check = async (payload: string, requirement: Record<string, unknown> = {}): Promise<void> => {
    const signedBy = { type: "signedBy", keyType: "GPGKeys", keyData, ...requirement };
    const policy = parsePolicy(JSON.stringify({ default: [signedBy] }), "p.json");
    const demand = demandOf(policy, dockerSubject(parseReference("registry.example/app:1")));
    if (demand === undefined) throw new Error("the policy asks for nothing");
    const signature = parseSignature(await home.sign(payload, { key }));
    await verifyImage(demand, { manifest: MANIFEST, signatures: [signature] });
  };
  await check(PAYLOAD);
  await rejects(check(PAYLOAD.replace("app:1", "app:2")), /registry\.example\/app:1 has to be signedBy .*app:2/);
  await rejects(check(PAYLOAD.replace(/sha256:[0-9a-f]{64}/, `sha256:${"0".repeat(64)}`)), /it is for another image/);
  await rejects(check(PAYLOAD, { keyType: "signedByGPGKeys" }), /only GPGKeys are supported/);
  await rejects(check("text"), /not valid JSON/);
});
