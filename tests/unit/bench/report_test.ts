import assert from "node:assert/strict";
import { Results } from "../../bench/context.ts";
import type { PeerName } from "../../bench/peers.ts";
import { jsonReport, textReport } from "../../bench/report.ts";
import { percentile } from "../../bench/statistics.ts";

function resultsOf(measure: string, samples: Partial<Record<PeerName, number[]>>): Results {
  const results = new Results();
  for (const peer of ["containerd", "crio-runc", "crio-crun"] as const) {
    for (const value of samples[peer] ?? []) results.add(measure, peer, value);
  }
  return results;
}

Deno.test("percentile() takes the nearest rank and has no answer for nothing", () => {
  const samples = [5, 1, 4, 2, 3];
  assert.equal(percentile(samples, 0.5), 3);
  assert.equal(percentile(samples, 0.95), 5);
  assert.equal(percentile(samples, 0), 1);
  assert.ok(Number.isNaN(percentile([], 0.5)));
});

Deno.test("textReport() gives ratios to containerd and judges the bars", () => {
  const measure = "pod + container to running";
  const text = textReport(resultsOf(measure, { "containerd": [100], "crio-runc": [60], "crio-crun": [55] }));
  assert.match(text, /0\.60x/);
  assert.match(text, /^ok +pod \+ container to running \(crio-runc\): 0\.60x, at most 0\.65x$/m);
  assert.match(text, /^MISS pod \+ container to running \(crio-crun\): 0\.55x, at most 0\.5x$/m);
});

Deno.test("textReport() says that bars need both runtimes, and shows what there is", () => {
  const text = textReport(resultsOf("StopPodSandbox", { containerd: [1, 2, 3, 4] }));
  assert.match(text, /no bar to compare with/);
  assert.match(text, /^StopPodSandbox +2\.00 +4\.00$/m);
});

Deno.test("jsonReport() keeps every sample", () => {
  const results = resultsOf("StopPodSandbox", { "crio-runc": [3, 1, 2] });
  const report = JSON.parse(jsonReport(results, { date: "today" }));
  assert.deepEqual(report.measures["StopPodSandbox"]["crio-runc"], { p50: 2, p95: 3, samples: [3, 1, 2] });
  assert.equal(report.date, "today");
});
