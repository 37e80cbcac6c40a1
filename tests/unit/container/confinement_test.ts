import assert from "node:assert/strict";
import { FailedPreconditionError } from "../../../src/base/errors.ts";
import type { Confiner } from "../../../src/container/confinement.ts";
import { Containers } from "../../../src/container/containers.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { containerSpec } from "../../fakes/records.ts";

openLibraries();

import { configOf, named, signal, withContainers } from "./containers_bench.ts";

Deno.test("Containers.create() hands the profiles of a container to its runtime, and refuses what cannot be applied", async () => {
  await withContainers(async (bench) => {
    const { security } = containerSpec();
    const asked: unknown[] = [];
    const confiner: { -readonly [K in keyof Confiner]: Confiner[K] } = {
      confine: (request) => {
        asked.push(request);
        const seccomp = { ref: "/a.json", profile: { defaultAction: "SCMP_ACT_ALLOW" } };
        return Promise.resolve({ seccomp, apparmorProfile: "mine" });
      },
    };
    const containers = new Containers({ ...bench.deps, confinement: confiner });
    const spec = named("a", { security: { ...security, seccomp: { kind: "localhost", ref: "/a.json" } } });
    const id = await containers.create(bench.pod, spec, { signal });
    const config = await configOf(bench, id);
    assert.deepEqual(asked, [{ security: spec.security, handler: "crun", capabilities: ["CAP_CHOWN"] }]);
    assert.deepEqual(config.linux.seccomp, { defaultAction: "SCMP_ACT_ALLOW" });
    assert.equal(config.process.apparmorProfile, "mine");
    assert.equal(config.annotations["io.kubernetes.cri-o.SeccompProfilePath"], "/a.json");
    assert.equal(containers.require(id).seccompProfile, "/a.json");

    confiner.confine = () => Promise.reject(new FailedPreconditionError("seccomp profile /a.json is not on this node"));
    await assert.rejects(containers.create(bench.pod, named("b"), { signal }), /\/a\.json is not on this node/);
    assert.equal(bench.deps.records.size, 1);
  });
});

Deno.test("ContainerExits.handle() takes an end by SIGSYS for the filter's work where there is a filter", async () => {
  for (const seccompProfile of ["RuntimeDefault", undefined]) {
    await withContainers(async (bench) => {
      const id = await bench.containers.create(bench.pod, named("a"), { signal });
      if (seccompProfile !== undefined) await bench.deps.records.update(id, (now) => ({ ...now, seccompProfile }));
      await bench.deps.exits.handle({ id, exitCode: 159, finishedAtNanos: 9n, oomKilled: false });
      assert.equal(bench.containers.require(id).seccompKilled, seccompProfile !== undefined);
    });
  }
});
