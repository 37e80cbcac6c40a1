import { doesNotThrow, rejects, throws } from "node:assert/strict";
import { checkPolicy, loadPolicy, parsePolicy } from "../../../src/image/policy.ts";
import { parseReference } from "../../../src/image/reference.ts";

const ACCEPT = [{ type: "insecureAcceptAnything" }];
const REJECT = [{ type: "reject" }];
const check = (document: unknown, name: string): void =>
  checkPolicy(parsePolicy(JSON.stringify(document), "p.json"), parseReference(name));

Deno.test("checkPolicy() takes the most particular scope", () => {
  const docker = {
    "": REJECT,
    "docker.io": ACCEPT,
    "docker.io/library": REJECT,
    "docker.io/library/busybox": ACCEPT,
    "docker.io/library/busybox:evil": REJECT,
    "*.example.com": ACCEPT,
    "bad.example.com": REJECT,
  };
  const policy = { default: REJECT, transports: { docker } };
  for (const name of ["busybox:1", "team/app:1", "a.b.example.com/x", "x.example.com/y/z:1"]) {
    doesNotThrow(() => check(policy, name), name);
  }
  for (const name of ["busybox:evil", "alpine", "quay.io/x", "example.com/x", "bad.example.com/x"]) {
    throws(() => check(policy, name), { kind: "signature_validation_failed" }, name);
  }
});

Deno.test("checkPolicy() falls back to the default, and never lets a signature rule pass", () => {
  doesNotThrow(() => check({ default: ACCEPT }, "a"));
  throws(() => check({ default: REJECT }, "a"), /rejected by the policy p\.json \(default\)/);
  for (const type of ["signedBy", "sigstoreSigned", "signedBaseLayer", "unheardOf"]) {
    throws(() => check({ default: [{ type, keyPath: "/k" }] }, "a"), /not supported yet/);
    throws(() => check({ default: [...ACCEPT, { type }] }, "a"), /not supported yet/);
  }
});

for (
  const text of [
    "",
    "[]",
    "{}",
    `{"default":[]}`,
    `{"default":{}}`,
    `{"default":[{}]}`,
    `{"default":[{"type":"reject"}],"x":1}`,
    `{"default":[{"type":"reject"}],"transports":{"docker":{"a":"b"}}}`,
  ]
) {
  Deno.test(`parsePolicy() refuses ${text}`, () => {
    throws(() => parsePolicy(text, "p.json"), /signature policy p\.json/);
  });
}

Deno.test("loadPolicy() names a file that is not there", async () => {
  await rejects(loadPolicy("/nonexistent/policy.json"), /\/nonexistent\/policy\.json.*signature_policy/);
});
