import { deepEqual, equal, throws } from "node:assert/strict";
import { parseClaims } from "../../../../src/image/policy/claims.ts";
import { formatSignature, parseSignature } from "../../../../src/image/policy/signature.ts";
import { parseStrictJson } from "../../../../src/image/policy/strict_json.ts";

const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
const DIGEST = `sha256:${"0".repeat(64)}`;
const CLAIMS = {
  critical: {
    type: "atomic container signature",
    image: { "docker-manifest-digest": DIGEST },
    identity: { "docker-reference": "quay.io/a:1" },
  },
  optional: { creator: "someone", timestamp: 1700000000, more: [] },
};

Deno.test("signatures are kept and read in the same form", () => {
  const simple = { format: "simple", message: Uint8Array.of(0xa3, 1, 2) } as const;
  deepEqual(parseSignature(formatSignature(simple)), simple);
  const sigstore = { format: "sigstore", mediaType: "x/y", payload: bytes("{}"), annotations: { a: "b" } } as const;
  const kept = formatSignature(sigstore);
  equal(new TextDecoder().decode(kept.subarray(0, 15)), "\0sigstore-json\n");
  deepEqual(parseSignature(kept), sigstore);
  deepEqual(parseSignature(bytes("\0simple-signing\n\x01")), { format: "simple", message: Uint8Array.of(1) });
});

for (
  const blob of ["", "<html>", "\0", "\0future-form\n{}", "\0sigstore-json\n", "\0sigstore-json\n{}", "-----BEGIN PGP"]
) {
  Deno.test(`parseSignature() refuses ${JSON.stringify(blob)}`, () => {
    throws(() => parseSignature(bytes(blob)), { kind: "invalid_argument" });
  });
}

Deno.test("parseClaims() reads digest and reference", () => {
  deepEqual(parseClaims(bytes(JSON.stringify(CLAIMS)), "simple"), { digest: DIGEST, reference: "quay.io/a:1" });
  const nothing = JSON.stringify({ ...CLAIMS, optional: { creator: null, timestamp: null } });
  deepEqual(parseClaims(bytes(nothing), "simple"), { digest: DIGEST, reference: "quay.io/a:1" });
  const critical = { ...CLAIMS.critical, type: "cosign container image signature" };
  const cosign = JSON.stringify({ critical, optional: null });
  deepEqual(parseClaims(bytes(cosign), "sigstore"), { digest: DIGEST, reference: "quay.io/a:1" });
});

const { critical, optional } = CLAIMS;
for (
  const [name, document] of Object.entries({
    "another type": { critical: { ...critical, type: "cosign container image signature" }, optional },
    "no optional part": { critical },
    "null for the optional part": { critical, optional: null },
    "a time that is no integer": { critical, optional: { timestamp: 1.5 } },
    "an unknown key": { critical, optional, extra: 1 },
    "an unknown critical key": { critical: { ...critical, more: 1 }, optional },
    "an unknown key in the image": { critical: { ...critical, image: { ...critical.image, x: 1 } }, optional },
    "no digest": { critical: { ...critical, image: {} }, optional },
    "a bad digest": { critical: { ...critical, image: { "docker-manifest-digest": "sha256:1" } }, optional },
    "no identity": { critical: { ...critical, identity: {} }, optional },
  })
) {
  Deno.test(`parseClaims() refuses ${name}`, () => {
    throws(() => parseClaims(bytes(JSON.stringify(document)), "simple"), { kind: "invalid_argument" });
  });
}

Deno.test("parseStrictJson() finds a key that stands twice in one object only", () => {
  deepEqual(parseStrictJson(`{"a":{"a":1},"b":[{"a":2},{"a":3}],"c":"\\"a\\":1,\\"a\\":2"}`), {
    a: { a: 1 },
    b: [{ a: 2 }, { a: 3 }],
    c: `"a":1,"a":2`,
  });
  for (
    const text of [
      `{"a":1,"a":1}`,
      `[{"x":{"a":[],"b":1,"a":{}}}]`,
      `{"a":1,"\\u0061":2}`,
      `{"__proto__":1,"__proto__":2}`,
    ]
  ) {
    throws(() => parseStrictJson(text), /stands twice/, text);
  }
});
