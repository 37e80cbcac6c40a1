import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import {
  type GomaxprocsInput,
  gomaxprocsOf,
  umaskOf,
  unifiedOf,
  writesCgroups,
} from "../../../src/container/annotation_effects.ts";

Deno.test("umaskOf() reads one to four octal digits", () => {
  strictEqual(umaskOf({}), undefined);
  strictEqual(umaskOf({ "umask.crio.io": "077" }), 0o77);
  strictEqual(umaskOf({ "io.kubernetes.cri-o.umask": "0022" }), 0o22);
  for (const text of ["", "8", "00222", "0x1", "-1"]) {
    throws(() => umaskOf({ "umask.crio.io": text }), /umask\.crio\.io: .* not an octal mask/);
  }
});

Deno.test("writesCgroups() takes the word true and no other", () => {
  ok(writesCgroups({ "cgroup2-mount-hierarchy-rw.crio.io": "true" }));
  ok(!writesCgroups({ "cgroup2-mount-hierarchy-rw.crio.io": "yes" }));
  ok(!writesCgroups({}));
});

Deno.test("unifiedOf() reads files of this container, in base64 or as they are", () => {
  const read = (value: string): unknown => unifiedOf({ "unified-cgroup.crio.io/main": value }, "main");
  deepStrictEqual(read("memory.high=1000;memory.low=NDA5Ng==; pids.max = max"), {
    "memory.high": "1000",
    "memory.low": "4096",
    "pids.max": " max",
  });
  deepStrictEqual(read(""), {});
  deepStrictEqual(unifiedOf({ "unified-cgroup.crio.io/other": "a=b" }, "main"), {});
  throws(() => read("memory.high"), /unified-cgroup\.crio\.io\/main: "memory\.high" is not file=value/);
  throws(() => read("../x=1"), /not file=value/);
});

const BURSTABLE: GomaxprocsInput = {
  annotations: {},
  floor: 2,
  cgroupParent: "/kubepods/burstable/pod1",
  inWorkload: false,
  limits: { cpuShares: 3 * 1024 + 1 },
};

const PROCS: ReadonlyArray<readonly [string, Partial<GomaxprocsInput>, number | undefined]> = [
  ["the shares, rounded up", {}, 4],
  ["the floor where there are few shares", { limits: { cpuShares: 2 } }, 2],
  ["the floor for best effort", { cgroupParent: "kubepods-besteffort-pod1.slice", limits: {} }, 2],
  ["none without a floor", { floor: 0 }, undefined],
  ["none with a CPU limit", { limits: { cpuShares: 4096, cpuQuotaMicros: 100_000 } }, undefined],
  ["one with a quota taken away", { limits: { cpuShares: 4096, cpuQuotaMicros: -1 } }, 4],
  ["none for guaranteed pods", { cgroupParent: "/kubepods/pod1" }, undefined],
  ["none in a workload", { inWorkload: true }, undefined],
  ["none where the pod says so", { annotations: { "skip-gomaxprocs.crio.io": "true" } }, undefined],
];

for (const [what, changes, expected] of PROCS) {
  Deno.test(`gomaxprocsOf() gives ${what}`, () => strictEqual(gomaxprocsOf({ ...BURSTABLE, ...changes }), expected));
}
