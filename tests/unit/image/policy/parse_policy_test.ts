import { deepEqual, equal, throws } from "node:assert/strict";
import { parsePolicy } from "../../../../src/image/policy/parse_policy.ts";

const KEY = "a2V5";
const sigstore = (fields: unknown): unknown => ({ type: "sigstoreSigned", ...Object(fields) });
const signedBy = (fields: unknown): unknown => ({ type: "signedBy", keyType: "GPGKeys", ...Object(fields) });
const parse = (requirement: unknown): unknown =>
  parsePolicy(JSON.stringify({ default: [requirement] }), "p.json").default[0];

Deno.test("parsePolicy() reads every kind of requirement", () => {
  const identity = { type: "matchRepoDigestOrExact" };
  deepEqual(parse({ type: "reject" }), { type: "reject" });
  deepEqual(parse({ type: "signedBaseLayer", baseLayerIdentity: { type: "matchExact" } }), { type: "signedBaseLayer" });
  const common = { type: "signedBy", keyType: "GPGKeys", signedIdentity: identity };
  deepEqual(parse(signedBy({ keyPath: "/k" })), { ...common, keys: { paths: ["/k"] } });
  deepEqual(parse(signedBy({ keyPaths: ["/a", "/b"] })), { ...common, keys: { paths: ["/a", "/b"] } });
  deepEqual(parse(signedBy({ keyData: KEY })), { ...common, keys: { data: [KEY] } });
  const made = { type: "sigstoreSigned", signedIdentity: identity };
  deepEqual(parse(sigstore({ keyDatas: [KEY, KEY], rekorPublicKeyPath: "/r" })), {
    ...made,
    signer: { kind: "keys", keys: { data: [KEY, KEY] } },
    rekorKeys: { paths: ["/r"] },
  });
  const fulcio = { caPath: "/ca", oidcIssuer: "https://i", subjectEmail: "a@b" };
  deepEqual(parse(sigstore({ fulcio, rekorPublicKeyDatas: [KEY] })), {
    ...made,
    signer: { kind: "fulcio", authorities: { paths: ["/ca"] }, oidcIssuer: "https://i", subjectEmail: "a@b" },
    rekorKeys: { data: [KEY] },
  });
  const pki = { caRootsData: KEY, caIntermediatesPath: "/i", subjectHostname: "h.example" };
  deepEqual(parse(sigstore({ pki })), {
    ...made,
    signer: { kind: "pki", roots: { data: [KEY] }, intermediates: { paths: ["/i"] }, subjectHostname: "h.example" },
  });
});

Deno.test("parsePolicy() reads every kind of identity", () => {
  for (
    const identity of [
      { type: "matchExact" },
      { type: "matchRepository" },
      { type: "exactReference", dockerReference: "busybox:1" },
      { type: "exactRepository", dockerRepository: "quay.io/a/b" },
      { type: "remapIdentity", prefix: "mirror.example:5000", signedPrefix: "docker.io/library" },
    ]
  ) {
    const requirement = parse(signedBy({ keyPath: "/k", signedIdentity: identity }));
    deepEqual(Object(requirement).signedIdentity, identity);
  }
});

Deno.test("parsePolicy() keeps scopes of all transports", () => {
  const accept = [{ type: "insecureAcceptAnything" }];
  const transports = {
    docker: { "": accept, "*.example.com": accept },
    dir: { "/var/x": accept },
    new: { any: accept },
  };
  const policy = parsePolicy(JSON.stringify({ default: accept, transports }), "p.json");
  deepEqual([...policy.transports.keys()], ["docker", "dir", "new"]);
  equal(policy.transports.get("docker")?.size, 2);
});

const REJECT = `[{"type":"reject"}]`;
for (
  const [name, text] of Object.entries({
    "no text": "",
    "a list": "[]",
    "no default": "{}",
    "no requirement": `{"default":[]}`,
    "null for requirements": `{"default":null}`,
    "null for transports": `{"default":${REJECT},"transports":null}`,
    "no list": `{"default":{}}`,
    "no type": `{"default":[{}]}`,
    "an unknown type": `{"default":[{"type":"signed"}]}`,
    "an unknown key": `{"default":${REJECT},"x":1}`,
    "a key twice": `{"default":${REJECT},"default":[{"type":"insecureAcceptAnything"}]}`,
    "a key twice, one of them escaped": `{"default":[{"type":"reject","\\u0074ype":"insecureAcceptAnything"}]}`,
    "an unknown key in a requirement": `{"default":[{"type":"reject","why":""}]}`,
    "a scope without a list": `{"default":${REJECT},"transports":{"docker":{"a":"b"}}}`,
    "the root as a scope": `{"default":${REJECT},"transports":{"dir":{"/":${REJECT}}}}`,
    "a relative scope": `{"default":${REJECT},"transports":{"oci":{"x:1":${REJECT}}}}`,
    "a scope of an archive": `{"default":${REJECT},"transports":{"docker-archive":{"/a.tar":${REJECT}}}}`,
    "something after it": `{"default":${REJECT}}{}`,
  })
) {
  Deno.test(`parsePolicy() refuses ${name}`, () => {
    throws(() => parsePolicy(text, "p.json"), { kind: "failed_precondition", message: /signature policy p\.json: / });
  });
}

const FULCIO = { caPath: "/ca", oidcIssuer: "https://i", subjectEmail: "a@b" };
for (
  const [name, requirement] of Object.entries({
    "no keys": signedBy({}),
    "two sources of keys": signedBy({ keyPath: "/k", keyData: KEY }),
    "an empty path": signedBy({ keyPath: "" }),
    "an empty list of paths": signedBy({ keyPaths: [] }),
    "data with a space": signedBy({ keyData: "a2 V5" }),
    "data that is no Base64": signedBy({ keyData: "%" }),
    "an unknown type of keys": { type: "signedBy", keyType: "PGP", keyPath: "/k" },
    "no type of keys": { type: "signedBy", keyPath: "/k" },
    "keyDatas for GPG": signedBy({ keyDatas: [KEY] }),
    "a key and fulcio": sigstore({ keyPath: "/k", fulcio: FULCIO, rekorPublicKeyPath: "/r" }),
    "neither key nor authority": sigstore({}),
    "fulcio without a log": sigstore({ fulcio: FULCIO }),
    "fulcio without an issuer": sigstore({ fulcio: { ...FULCIO, oidcIssuer: "" }, rekorPublicKeyPath: "/r" }),
    "fulcio with two authorities": sigstore({ fulcio: { ...FULCIO, caData: KEY }, rekorPublicKeyPath: "/r" }),
    "fulcio with an unknown key": sigstore({ fulcio: { ...FULCIO, subjects: [] }, rekorPublicKeyPath: "/r" }),
    "pki with a log": sigstore({ pki: { caRootsPath: "/c", subjectEmail: "a@b" }, rekorPublicKeyPath: "/r" }),
    "pki without a subject": sigstore({ pki: { caRootsPath: "/c" } }),
    "two logs": sigstore({ keyPath: "/k", rekorPublicKeyPath: "/r", rekorPublicKeyData: KEY }),
    "an unknown identity": signedBy({ keyPath: "/k", signedIdentity: { type: "match" } }),
    "a reference without a tag": signedBy({
      keyPath: "/k",
      signedIdentity: { type: "exactReference", dockerReference: "busybox" },
    }),
    "a short name as a prefix": signedBy({
      keyPath: "/k",
      signedIdentity: { type: "remapIdentity", prefix: "a/b", signedPrefix: "quay.io" },
    }),
    "a prefix with a tag": signedBy({
      keyPath: "/k",
      signedIdentity: { type: "remapIdentity", prefix: "quay.io/a:1", signedPrefix: "quay.io" },
    }),
    "a base layer without an identity": { type: "signedBaseLayer" },
  })
) {
  Deno.test(`parsePolicy() refuses a requirement with ${name}`, () => {
    throws(() => parse(requirement), { kind: "failed_precondition" });
  });
}

Deno.test("parsePolicy() repeats only so much of what is wrong", () => {
  const text = JSON.stringify({
    default: [{ type: "reject" }],
    transports: { docker: 0, ["x".repeat(50_000)]: { "": 1 } },
  });
  const name = "x".repeat(50_000);
  for (const wrong of [text, JSON.stringify({ default: [{ type: "reject" }], transports: { [name]: { "": 1 } } })]) {
    throws(
      () => parsePolicy(wrong, "/p"),
      (error: Error) => error.message.length < 1200 && /policy \/p: /.test(error.message),
    );
  }
});
