import assert from "node:assert/strict";
import type { ContainerDeps } from "../../../src/container/deps.ts";
import { withKernelsOom } from "../../../src/container/oom.ts";
import { containerRecord } from "../../fakes/records.ts";

const record = containerRecord();

async function outcome(exit: { exitCode: number; oomKilled: boolean }, kills: number | undefined): Promise<boolean> {
  const deps = {
    records: { get: () => record },
    cgroups: { oomKills: () => Promise.resolve(kills) },
  } as unknown as ContainerDeps;
  return (await withKernelsOom(deps, { id: record.id, finishedAtNanos: 1n, ...exit })).oomKilled;
}

Deno.test("withKernelsOom() adds what the kernel counted to what the monitor saw", async () => {
  assert.ok(await outcome({ exitCode: 137, oomKilled: false }, 1));
  assert.ok(!(await outcome({ exitCode: 137, oomKilled: false }, 0)));
  assert.ok(!(await outcome({ exitCode: 137, oomKilled: false }, undefined)));
  assert.ok(await outcome({ exitCode: 137, oomKilled: true }, undefined));
  assert.ok(!(await outcome({ exitCode: 0, oomKilled: false }, 1)));
});
