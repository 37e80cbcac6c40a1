import assert from "node:assert/strict";
import { systemdProperties } from "../../../src/container/systemd_properties.ts";
import { containerSpec } from "../../fakes/records.ts";

Deno.test("systemdProperties() gives the pod's grace period in microseconds, and nothing that is no number", () => {
  const of = (grace: string): Record<string, string> =>
    systemdProperties(containerSpec({ annotations: { "io.kubernetes.pod.terminationGracePeriod": grace } }));
  const collect = { "org.systemd.property.CollectMode": "'inactive-or-failed'" };
  assert.deepEqual(of("30"), { ...collect, "org.systemd.property.TimeoutStopUSec": "uint64 30000000" });
  for (const wrong of ["", "-1", "1e3", "30 ExecStart", "99999999999"]) assert.deepEqual(of(wrong), collect);
  assert.deepEqual(systemdProperties(containerSpec()), collect);
});
