import assert from "node:assert/strict";
import type { ResourceLimits } from "../../../src/base/resources.ts";
import { changedLimits, initialLimits, mergedLimits, previousLimits } from "../../../src/container/limits.ts";

const SWAPPING = { hasSwap: true };
const NO_SWAP = { hasSwap: false };

Deno.test("initialLimits() allows no swap beyond a memory limit unless it was asked for", () => {
  assert.deepEqual(initialLimits({ memoryLimitBytes: 9 }, SWAPPING), { memoryLimitBytes: 9, memorySwapLimitBytes: 9 });
  const asked = { memoryLimitBytes: 9, memorySwapLimitBytes: -1 };
  assert.deepEqual(initialLimits(asked, SWAPPING), asked);
  assert.deepEqual(initialLimits({ memoryLimitBytes: 9 }, NO_SWAP), { memoryLimitBytes: 9 });
  assert.deepEqual(initialLimits({ cpuShares: 2 }, SWAPPING), { cpuShares: 2 });
});

const NOW: ResourceLimits = {
  oomScoreAdj: 7,
  cpuShares: 2,
  cpuQuotaMicros: 50_000,
  cpuPeriodMicros: 200_000,
  memoryLimitBytes: 100,
  memorySwapLimitBytes: 130,
};

const CHANGES: ReadonlyArray<readonly [string, ResourceLimits, ResourceLimits]> = [
  ["nothing but a score that cannot be changed", { oomScoreAdj: 0 }, {}],
  ["shares alone", { cpuShares: 5 }, { cpuShares: 5 }],
  ["a quota with the period that is set", { cpuQuotaMicros: 9 }, { cpuQuotaMicros: 9, cpuPeriodMicros: 200_000 }],
  ["a period with the quota that is set", { cpuPeriodMicros: 9 }, { cpuQuotaMicros: 50_000, cpuPeriodMicros: 9 }],
  ["memory with as much swap as before", { memoryLimitBytes: 200 }, {
    memoryLimitBytes: 200,
    memorySwapLimitBytes: 230,
  }],
  ["swap with the memory that is set", { memorySwapLimitBytes: 150 }, {
    memoryLimitBytes: 100,
    memorySwapLimitBytes: 150,
  }],
  ["both", { memoryLimitBytes: 1, memorySwapLimitBytes: 2 }, { memoryLimitBytes: 1, memorySwapLimitBytes: 2 }],
];

for (const [what, asked, expected] of CHANGES) {
  Deno.test(`changedLimits() sets ${what}`, () => assert.deepEqual(changedLimits(NOW, asked, SWAPPING), expected));
}

Deno.test("changedLimits() keeps unlimited swap, gives none to a first memory limit, and none where none is counted", () => {
  const unlimited = { ...NOW, memorySwapLimitBytes: -1 };
  assert.equal(changedLimits(unlimited, { memoryLimitBytes: 200 }, SWAPPING).memorySwapLimitBytes, -1);
  assert.deepEqual(changedLimits({}, { memoryLimitBytes: 200 }, SWAPPING), {
    memoryLimitBytes: 200,
    memorySwapLimitBytes: 200,
  });
  assert.deepEqual(changedLimits(NOW, { memoryLimitBytes: 200 }, NO_SWAP), { memoryLimitBytes: 200 });
});

Deno.test("mergedLimits() keeps what is not named, huge pages by their size and unified by file", () => {
  const before = {
    ...NOW,
    hugepageLimits: [{ pageSize: "2MB", limitBytes: 1 }, { pageSize: "1GB", limitBytes: 2 }],
    unified: { "memory.high": "1", "memory.low": "2" },
  };
  assert.deepEqual(
    mergedLimits(before, {
      cpuShares: 3,
      hugepageLimits: [{ pageSize: "1GB", limitBytes: 4 }],
      unified: { "memory.low": "9" },
    }),
    {
      ...NOW,
      cpuShares: 3,
      hugepageLimits: [{ pageSize: "2MB", limitBytes: 1 }, { pageSize: "1GB", limitBytes: 4 }],
      unified: { "memory.high": "1", "memory.low": "9" },
    },
  );
  assert.deepEqual(mergedLimits({}, { cpuShares: 3 }), { cpuShares: 3 });
});

Deno.test("previousLimits() gives what was set, or no limit, for what the change names", () => {
  assert.deepEqual(previousLimits(NOW, { cpuShares: 9, memoryLimitBytes: 9 }), { cpuShares: 2, memoryLimitBytes: 100 });
  assert.deepEqual(previousLimits({}, { memoryLimitBytes: 9, cpuQuotaMicros: 9, unified: { a: "b" } }), {
    memoryLimitBytes: -1,
    cpuQuotaMicros: -1,
  });
});
