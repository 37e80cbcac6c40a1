import assert from "node:assert/strict";
import type { ResourceLimits } from "../../../src/base/resources.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import type { ContainerDeps } from "../../../src/container/deps.ts";
import type { ContainerState } from "../../../src/container/types.ts";
import { updateContainer } from "../../../src/container/update.ts";
import type { OciResources } from "../../../src/oci/spec/types.ts";
import { containerRecord } from "../../fakes/records.ts";

const { signal } = new AbortController();

/** A container whose runtime and cgroups note what is done to them. */
class Bench {
  record = containerRecord({ resources: { cpuShares: 2, memoryLimitBytes: 5000, memorySwapLimitBytes: 5000 } });
  readonly updates: OciResources[] = [];
  readonly calls: string[] = [];
  usedBytes = 1000;
  /** The number of the runtime's update that fails. */
  failing = 0;
  hooks: ContainerDeps["updateHooks"];

  get deps(): ContainerDeps {
    const runtime = {
      minMemoryBytes: 500,
      update: (_id: string, resources: OciResources): Promise<void> => {
        this.updates.push(resources);
        return this.updates.length === this.failing ? Promise.reject(new Error("device busy")) : Promise.resolve();
      },
    };
    const deps = {
      records: {
        get: () => this.record,
        update: (_id: string, change: (now: typeof this.record) => typeof this.record) => {
          this.record = change(this.record);
          return Promise.resolve(this.record);
        },
      },
      runtimes: { find: () => runtime },
      cgroups: {
        memoryUsageBytes: () => Promise.resolve(this.usedBytes),
        holdLimits: (_parent: string, _id: string, limits: ResourceLimits) => {
          this.calls.push(`hold ${Object.keys(limits)}`);
          return Promise.resolve(() => {
            this.calls.push("restore");
            return Promise.resolve([]);
          });
        },
        finishLimits: (_parent: string, _id: string, limits: ResourceLimits) => {
          this.calls.push(`finish ${Object.keys(limits)}`);
          return Promise.resolve();
        },
      },
      node: { hasSwap: true, hasHugetlb: false, hasCpuset: true, hasUnified: false, unsetsQuota: false },
      log: silentLogger,
      ...(this.hooks === undefined ? {} : { updateHooks: this.hooks }),
    };
    return deps as unknown as ContainerDeps;
  }

  async update(limits: ResourceLimits): Promise<void> {
    await updateContainer(this.deps, this.record, { limits, signal });
  }
}

Deno.test("updateContainer() sets what is named and records it with the rest", async () => {
  const bench = new Bench();
  await bench.update({ oomScoreAdj: 0, memoryLimitBytes: 6000 });
  assert.deepEqual(bench.updates, [{ memory: { limit: 6000, swap: 6000 } }]);
  assert.deepEqual(bench.record.resources, { cpuShares: 2, memoryLimitBytes: 6000, memorySwapLimitBytes: 6000 });
});

Deno.test("updateContainer() troubles nobody with an empty change", async () => {
  const bench = new Bench();
  await bench.update({ oomScoreAdj: 0 });
  assert.deepEqual([bench.updates, bench.calls], [[], []]);
});

for (const state of ["creating", "paused", "exited"] satisfies ContainerState[]) {
  Deno.test(`updateContainer() refuses a container that is ${state}`, async () => {
    const bench = new Bench();
    bench.record = { ...bench.record, state };
    await assert.rejects(bench.update({ cpuShares: 4 }), { kind: "failed_precondition", message: new RegExp(state) });
    assert.deepEqual(bench.updates, []);
  });
}

Deno.test("updateContainer() refuses less memory than is used, and less than a container can have", async () => {
  const bench = new Bench();
  bench.usedBytes = 4001;
  await assert.rejects(bench.update({ memoryLimitBytes: 4000 }), {
    kind: "failed_precondition",
    message: /uses 4001 bytes of memory, more than the limit of 4000/,
  });
  await assert.rejects(bench.update({ memoryLimitBytes: 499 }), { kind: "invalid_argument", message: /too low/ });
  assert.deepEqual([bench.updates, bench.record.resources.memoryLimitBytes], [[], 5000]);
  bench.usedBytes = 4000;
  await bench.update({ memoryLimitBytes: 4000 });
  assert.equal(bench.record.resources.memoryLimitBytes, 4000);
});

Deno.test("updateContainer() takes everything back when the runtime fails half-way", async () => {
  const bench = new Bench();
  bench.failing = 1;
  const before = bench.record;
  await assert.rejects(bench.update({ cpuShares: 9, memoryLimitBytes: 6000 }), /update container .*device busy/);
  assert.equal(bench.record, before);
  assert.deepEqual(bench.updates[1], { cpu: { shares: 2 }, memory: { limit: 5000, swap: 5000 } });
  assert.deepEqual(bench.calls, ["hold cpuShares,memoryLimitBytes,memorySwapLimitBytes", "restore"]);
});

Deno.test("updateContainer() sets what the hooks make of the request, and tells them the outcome", async () => {
  const bench = new Bench();
  const told: unknown[] = [];
  bench.hooks = {
    updating: (_record, limits) => Promise.resolve({ ...limits, cpuShares: 77 }),
    updated: (record) => void told.push(record.resources.cpuShares),
  };
  await bench.update({ cpuShares: 4 });
  assert.deepEqual([bench.updates, told], [[{ cpu: { shares: 77 } }], [77]]);
  bench.hooks = { ...bench.hooks, updating: () => Promise.reject(new Error("vetoed")) };
  await assert.rejects(bench.update({ cpuShares: 5 }), /vetoed/);
  assert.equal(bench.updates.length, 1);
});
