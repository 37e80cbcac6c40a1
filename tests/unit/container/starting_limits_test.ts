import { deepStrictEqual, throws } from "node:assert/strict";
import type { ResourceLimits } from "../../../src/base/resources.ts";
import type { WorkloadConfig } from "../../../src/config/schema.ts";
import { startingLimits } from "../../../src/container/starting_limits.ts";

type Resources = WorkloadConfig["resources"];

function workload(resources: Partial<Resources> = {}): WorkloadConfig {
  const none: Resources = { cpuShares: 0, cpuQuotaMicros: 0, cpuPeriodMicros: 0, cpuset: "", cpuLimitMillis: 0 };
  return {
    name: "w",
    activationAnnotation: "io.w",
    annotationPrefix: "io.w.resources",
    allowedAnnotations: [],
    resources: { ...none, ...resources },
  };
}

function limits(
  resources: Partial<Resources>,
  { annotation, request = {} }: { annotation?: string; request?: ResourceLimits } = {},
): ResourceLimits {
  const annotations: Record<string, string> = annotation === undefined ? {} : { "io.w.resources/main": annotation };
  return startingLimits(request, { container: "main", annotations, workload: workload(resources) });
}

Deno.test("startingLimits() leaves a request alone without workload and annotation", () => {
  const request = { cpuShares: 3, memoryLimitBytes: 7 };
  deepStrictEqual(startingLimits(request, { container: "main", annotations: {}, workload: undefined }), request);
});

Deno.test("startingLimits() gives the workload's values, and the annotation's before them", () => {
  deepStrictEqual(limits({ cpuShares: 512, cpuset: "0-1" }, { request: { cpuShares: 2, memoryLimitBytes: 7 } }), {
    cpuShares: 512,
    cpusetCpus: "0-1",
    memoryLimitBytes: 7,
  });
  deepStrictEqual(limits({ cpuShares: 512, cpuset: "0-1" }, { annotation: '{"cpushares": 256, "cpuquota": 5000}' }), {
    cpuShares: 256,
    cpusetCpus: "0-1",
    cpuQuotaMicros: 5000,
  });
  deepStrictEqual(limits({ cpuShares: 512 }, { annotation: "null" }), { cpuShares: 512 });
});

Deno.test("startingLimits() makes a quota of a CPU limit, in the period that holds", () => {
  deepStrictEqual(limits({ cpuLimitMillis: 1500 }), { cpuQuotaMicros: 150_000, cpuPeriodMicros: 100_000 });
  deepStrictEqual(limits({ cpuLimitMillis: 500, cpuPeriodMicros: 20_000 }), {
    cpuQuotaMicros: 10_000,
    cpuPeriodMicros: 20_000,
  });
  deepStrictEqual(limits({}, { annotation: '{"cpulimit": 1}', request: { cpuPeriodMicros: 50_000 } }), {
    cpuQuotaMicros: 1000,
    cpuPeriodMicros: 50_000,
  });
});

Deno.test("startingLimits() puts an annotation's unified files over the request's", () => {
  const annotations = { "unified-cgroup.crio.io/main": "memory.high=10" };
  const request = { unified: { "memory.high": "5", "memory.low": "1" } };
  deepStrictEqual(startingLimits(request, { container: "main", annotations, workload: undefined }), {
    unified: { "memory.high": "10", "memory.low": "1" },
  });
});

for (
  const text of ["{", "[]", '"x"', '{"cpushares": "many"}', '{"cpushares": 1.5}', '{"cpuset": "all"}', '{"cpuset": 1}']
) {
  Deno.test(`startingLimits() refuses the annotation ${text}`, () => {
    throws(
      () => limits({}, { annotation: text }),
      /^InvalidArgumentError: annotation io\.w\.resources\/main: .*the form is/,
    );
  });
}
