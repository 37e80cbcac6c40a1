import assert from "node:assert/strict";
import { parseJunit } from "../../conformance/junit.ts";

function report(...cases: string[]): string {
  return `<?xml version="1.0"?><testsuites><testsuite name="s" tests="9">${cases.join("")}</testsuite></testsuites>`;
}

Deno.test("parseJunit() reads names without labels, outcomes, reasons and times", () => {
  const results = parseJunit(report(
    `<testcase name="[BeforeSuite]" classname="c" status="passed" time="0.1"></testcase>`,
    `<testcase name="[It] [k8s.io] a &#34;b&#34; &lt;c&gt; [Conformance] [Serial]" status="passed" time="1.5"></testcase>`,
    `<testcase name="[It] d" status="skipped" time="0"><skipped message="skipped - no&#xA;way"></skipped></testcase>`,
    `<testcase name="[It] e" status="timedout" time="60"><failure message="late" type="timedout">x</failure></testcase>`,
    `<testcase name="[It] f" status="pending" time="0"/>`,
  ));
  assert.deepEqual(results, [
    { name: '[k8s.io] a "b" <c> [Conformance]', outcome: "passed", message: "", seconds: 1.5 },
    { name: "d", outcome: "skipped", message: "skipped - no\nway", seconds: 0 },
    { name: "e", outcome: "failed", message: "late", seconds: 60 },
    { name: "f", outcome: "skipped", message: "", seconds: 0 },
  ]);
});

Deno.test("parseJunit() keeps failures of set-up nodes", () => {
  const failed = `<testcase name="[BeforeSuite]" status="failed" time="0"><failure message="no socket"/></testcase>`;
  assert.deepEqual(parseJunit(report(failed)).map(({ name, outcome }) => [name, outcome]), [[
    "[BeforeSuite]",
    "failed",
  ]]);
});

Deno.test("parseJunit() refuses a report without specs", () => {
  assert.throws(() => parseJunit(report()), /no spec/);
});
