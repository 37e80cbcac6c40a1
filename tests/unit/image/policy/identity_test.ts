import { equal } from "node:assert/strict";
import { acceptsIdentity } from "../../../../src/image/policy/identity.ts";
import type { IdentityRule } from "../../../../src/image/policy/requirement.ts";
import { parseReference } from "../../../../src/image/reference.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;
const remap: IdentityRule = { type: "remapIdentity", prefix: "mirror.local:5000/hub", signedPrefix: "docker.io" };
const reference = (text: string): IdentityRule => ({ type: "exactReference", dockerReference: text });
const repository = (text: string): IdentityRule => ({ type: "exactRepository", dockerRepository: text });

/** Rule, what is asked for ("" when the place gives no name), what the signature claims, the verdict. */
const CASES: readonly [IdentityRule, string, string, boolean][] = [
  [{ type: "matchExact" }, "quay.io/a:1", "quay.io/a:1", true],
  [{ type: "matchExact" }, "quay.io/a:1", "quay.io/a:2", false],
  [{ type: "matchExact" }, "quay.io/a:1", "quay.io/a", false],
  [{ type: "matchExact" }, `quay.io/a@${DIGEST}`, "quay.io/a:1", false],
  [{ type: "matchExact" }, `quay.io/a@${DIGEST}`, `quay.io/a@${DIGEST}`, true],
  [{ type: "matchExact" }, "quay.io/a", "quay.io/a", false],
  [{ type: "matchExact" }, "", "quay.io/a:1", false],
  [{ type: "matchExact" }, "busybox:1", "docker.io/library/busybox:1", true],
  [{ type: "matchRepoDigestOrExact" }, "quay.io/a:1", "quay.io/a:1", true],
  [{ type: "matchRepoDigestOrExact" }, "quay.io/a:1", "quay.io/a:2", false],
  [{ type: "matchRepoDigestOrExact" }, "quay.io/a:1", "quay.io/a", false],
  [{ type: "matchRepoDigestOrExact" }, `quay.io/a@${DIGEST}`, "quay.io/a:7", true],
  [{ type: "matchRepoDigestOrExact" }, `quay.io/a@${DIGEST}`, "quay.io/a", false],
  [{ type: "matchRepoDigestOrExact" }, `quay.io/a@${DIGEST}`, "quay.io/b:7", false],
  [{ type: "matchRepository" }, "quay.io/a:1", "quay.io/a", true],
  [{ type: "matchRepository" }, "quay.io/a:1", "quay.io/a:2", true],
  [{ type: "matchRepository" }, "quay.io/a:1", "quay.io/a/b:1", false],
  [{ type: "matchRepository" }, "", "quay.io/a", false],
  [reference("quay.io/a:1"), "", "quay.io/a:1", true],
  [reference("quay.io/a:1"), "mirror.local/a:1", "quay.io/a:1", true],
  [reference("quay.io/a:1"), "quay.io/a:1", "quay.io/a:2", false],
  [repository("quay.io/a"), "", "quay.io/a:9", true],
  [repository("quay.io/a"), "quay.io/a:1", "quay.io/b:1", false],
  [remap, "mirror.local:5000/hub/library/busybox:1", "busybox:1", true],
  [remap, "mirror.local:5000/hub/library/busybox:1", "busybox:2", false],
  [remap, "mirror.local:5000/hubs/library/busybox:1", "busybox:1", false],
  [remap, "quay.io/a:1", "quay.io/a:1", true],
  [{ ...remap, prefix: "quay.io/a" }, "quay.io/ab/c:1", "quay.io/ab/c:1", true],
  [remap, `mirror.local:5000/hub/library/busybox@${DIGEST}`, "busybox:2", true],
  [{ type: "matchRepository" }, "quay.io/a:1", "not a reference", false],
  [{ type: "matchRepository" }, "quay.io/a:1", "", false],
];

for (const [rule, intended, claimed, verdict] of CASES) {
  Deno.test(`acceptsIdentity() ${rule.type}: ${JSON.stringify(claimed)} for ${JSON.stringify(intended)}`, () => {
    const options = { intended: intended === "" ? undefined : parseReference(intended), claimed };
    equal(acceptsIdentity(rule, options), verdict);
  });
}
