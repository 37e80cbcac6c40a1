import assert from "node:assert/strict";
import { judge } from "../../conformance/judge.ts";
import type { SpecResult } from "../../conformance/junit.ts";
import { EXPECTED_SKIPS, type ExpectedSkip } from "../../conformance/skips.ts";

const HOST = { apparmor: false, selinux: false };
const CRUN = { variant: "crun", host: HOST, partial: false } as const;
const LIST: readonly ExpectedSkip[] = [
  { name: "always", reason: "r" },
  { name: "debian", reason: "r", variants: ["crun", "runc"] },
  { name: "apparmor", reason: "r", unlessHost: "apparmor" },
];

function spec(name: string, outcome: SpecResult["outcome"]): SpecResult {
  return { name, outcome, message: "because", seconds: 1 };
}

const SKIPPED = LIST.map(({ name }) => spec(name, "skipped"));

function failedNames(results: readonly SpecResult[], circumstances: Partial<Parameters<typeof judge>[1]>): string[] {
  return judge(results, { ...CRUN, list: LIST, ...circumstances }).failures.map(({ name }) => name);
}

Deno.test("judge() accepts what passed and what was skipped as listed", () => {
  const verdict = judge([...SKIPPED, spec("other", "passed")], { ...CRUN, list: LIST });
  assert.deepEqual(verdict, { passed: 1, skipped: 3, failures: [] });
});

Deno.test("judge() fails a spec that failed, listed or not", () => {
  assert.deepEqual(failedNames([...SKIPPED, spec("other", "failed")], {}), ["other"]);
  assert.deepEqual(failedNames([...SKIPPED.slice(1), spec("always", "failed")], {}), ["always"]);
});

Deno.test("judge() fails a skip that is not listed, for this variant or this host", () => {
  assert.deepEqual(failedNames([...SKIPPED, spec("other", "skipped")], {}), ["other"]);
  assert.deepEqual(failedNames(SKIPPED, { variant: "runc-new" }), ["debian"]);
  assert.deepEqual(failedNames(SKIPPED, { host: { ...HOST, apparmor: true } }), ["apparmor"]);
});

Deno.test("judge() fails a listed spec that ran, and one that does not exist", () => {
  assert.deepEqual(failedNames([spec("always", "passed"), ...SKIPPED.slice(1)], {}), ["always"]);
  assert.deepEqual(failedNames(SKIPPED.slice(1), {}), ["always"]);
});

Deno.test("judge() of a part of the specs does not count those that were left out", () => {
  const results = [spec("always", "skipped"), spec("other", "skipped"), spec("one", "passed")];
  assert.deepEqual(judge(results, { ...CRUN, list: LIST, partial: true }), { passed: 1, skipped: 1, failures: [] });
});

Deno.test("the list of skips names each spec once, with a reason", () => {
  assert.equal(new Set(EXPECTED_SKIPS.map(({ name }) => name)).size, EXPECTED_SKIPS.length);
  assert.ok(EXPECTED_SKIPS.every(({ name, reason }) => name.startsWith("[k8s.io] ") && reason.length > 20));
});
