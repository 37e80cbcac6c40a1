import { deepStrictEqual, throws } from "node:assert/strict";
import { performancePlan, type PlanInput } from "../../../src/performance/plan.ts";

const INPUT: PlanInput = {
  annotations: {},
  container: "main",
  handler: "crun",
  cgroupParent: "/kubepods/pod1",
  limits: { cpuShares: 2048, cpusetCpus: "2-3" },
  sharedCpuset: "0",
  execCpuAffinity: "",
};

function plan(annotations: Record<string, string>, changes: Partial<PlanInput> = {}): unknown {
  return performancePlan({ ...INPUT, annotations, ...changes });
}

Deno.test("performancePlan() reads each annotation, of the container before the pod's", () => {
  deepStrictEqual(plan({ "cpu-load-balancing.crio.io": "disable" }), { cpus: "2-3", isolate: true });
  deepStrictEqual(plan({ "cpu-quota.crio.io/main": "true" }), { cpus: "2-3", unthrottle: true });
  deepStrictEqual(plan({ "irq-load-balancing.crio.io": "housekeeping" }), { cpus: "2-3", interrupts: "housekeeping" });
  deepStrictEqual(
    plan({ "irq-load-balancing.crio.io": "housekeeping", "irq-load-balancing.crio.io/main": "disable" }),
    {
      cpus: "2-3",
      interrupts: "disable",
    },
  );
  deepStrictEqual(plan({ "cpu-c-states.crio.io": "disable" }), { cpus: "2-3", resumeLatency: "n/a" });
  deepStrictEqual(plan({ "cpu-c-states.crio.io": "enable" }), { cpus: "2-3", resumeLatency: "0" });
  deepStrictEqual(plan({ "cpu-c-states.crio.io": "max_latency:10" }), { cpus: "2-3", resumeLatency: "10" });
  deepStrictEqual(plan({ "cpu-freq-governor.crio.io": "performance" }), { cpus: "2-3", governor: "performance" });
  deepStrictEqual(plan({ "cpu-shared.crio.io/main": "enable" }, { execCpuAffinity: "first" }), {
    cpus: "2-3",
    sharedCpus: "0",
    execCpu: 0,
  });
  deepStrictEqual(plan({}, { handler: "my-high-performance", execCpuAffinity: "first" }), { cpus: "2-3", execCpu: 2 });
});

const NOTHING: ReadonlyArray<readonly [string, Record<string, string>, Partial<PlanInput>?]> = [
  ["without annotations", {}],
  ["for another container", { "cpu-quota.crio.io/other": "disable", "cpu-shared.crio.io": "enable" }],
  ["for the usual value", { "cpu-quota.crio.io": "enable" }],
  ["for burstable pods", { "cpu-quota.crio.io": "disable" }, { cgroupParent: "/kubepods/burstable/pod1" }],
  ["for best-effort pods", { "cpu-quota.crio.io": "disable" }, { cgroupParent: "kubepods-besteffort-p.slice" }],
  ["for parts of CPUs", { "cpu-quota.crio.io": "disable" }, { limits: { cpuShares: 1500, cpusetCpus: "2" } }],
  ["without shares", { "cpu-quota.crio.io": "disable" }, { limits: {} }],
];

for (const [what, annotations, changes] of NOTHING) {
  Deno.test(`performancePlan() tunes nothing ${what}`, () => deepStrictEqual(plan(annotations, changes), undefined));
}

Deno.test("performancePlan() refuses what means nothing or cannot be had", () => {
  throws(() => plan({ "cpu-quota.crio.io": "disabled" }), /cpuQuota: "disabled" is not one of: disable/);
  throws(() => plan({ "irq-load-balancing.crio.io": "off" }), /one of: disable, housekeeping/);
  throws(() => plan({ "cpu-c-states.crio.io": "max_latency:0" }), /max_latency:<us>/);
  throws(() => plan({ "cpu-freq-governor.crio.io": "../x" }), /governor of the kernel/);
  throws(() => plan({ "cpu-shared.crio.io/main": "enable" }, { sharedCpuset: "" }), /shared_cpuset is not configured/);
  const noCpus = { limits: { cpuShares: 1024 } };
  throws(() => plan({ "cpu-load-balancing.crio.io": "disable" }, noCpus), /\(cpuLoadBalancing\) need CPUs .*static/);
  deepStrictEqual(plan({ "cpu-quota.crio.io": "disable" }, noCpus), { cpus: "", unthrottle: true });
});
