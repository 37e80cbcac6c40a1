import { deepEqual, equal, rejects } from "node:assert/strict";
import { NotFoundError } from "../../../src/base/errors.ts";
import { newSandboxId } from "../../../src/base/ids.ts";
import type { Logger } from "../../../src/base/logger.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import type { CgroupStats } from "../../../src/cgroup/stats/cgroup_stats.ts";
import { type ContainerStatsDeps, ContainerStatsReader, type LayerUsage } from "../../../src/container/stats.ts";
import type { ContainerRecord } from "../../../src/container/types.ts";
import { someContainer } from "../../fakes/cri_operations.ts";

const clock = { nowNanos: () => 42n, monotonicMs: () => 0 };
const stats = (usageNanos: bigint): CgroupStats => ({ atNanos: 7n, cpu: { usageNanos } });

function container(state: ContainerRecord["state"]): ContainerRecord {
  return someContainer({ sandboxId: newSandboxId(), state, cgroupParent: "/pods/p" });
}

function reader(
  cgroups: ReadonlyMap<string, CgroupStats>,
  changes: Partial<ContainerStatsDeps["layers"]> & { log?: Logger } = {},
): ContainerStatsReader {
  const usage = changes.usage ?? ((): Promise<LayerUsage> => Promise.resolve({ bytes: 10, inodes: 2, atNanos: 41n }));
  return new ContainerStatsReader({
    driver: "cgroupfs",
    cgroups: { read: (path) => Promise.resolve(cgroups.get(path)) },
    layers: { mountpoint: "/store", usage },
    clock,
    log: changes.log ?? silentLogger,
  });
}

const pathOf = (record: ContainerRecord): string => `/pods/p/crio-${record.id}`;

Deno.test("ContainerStatsReader.list() gives those that run, in their order", async () => {
  const states = ["running", "created", "paused", "exited", "running"] as const;
  const records = states.map(container);
  const cgroups = new Map(records.map((record, i) => [pathOf(record), stats(BigInt(i))]));
  const listed = await reader(cgroups).list(records);
  deepEqual(listed.map(({ cgroup }) => cgroup?.cpu?.usageNanos), [0n, 2n, 4n]);
  deepEqual(listed[0], {
    record: records[0],
    cgroup: stats(0n),
    writableLayer: { atNanos: 41n, mountpoint: "/store", usage: { bytes: 10, inodes: 2 } },
  });
});

Deno.test("ContainerStatsReader.list() leaves out a container that ends meanwhile", async () => {
  const [gone, stays] = [container("running"), container("running")];
  const listed = await reader(new Map([[pathOf(stays), stats(1n)]])).list([gone, stays]);
  deepEqual(listed.map(({ record }) => record.id), [stays.id]);
});

Deno.test("ContainerStatsReader.get() of one that does not run tells what its files take", async () => {
  const record = container("exited");
  const got = await reader(new Map([[pathOf(record), stats(1n)]])).get(record);
  equal(got.cgroup, undefined);
  deepEqual(got.writableLayer.usage, { bytes: 10, inodes: 2 });
});

Deno.test("ContainerStatsReader.list() does not wait for the first measurement of a layer", async () => {
  const record = container("running");
  const never = new Promise<never>(() => {});
  const [got] = await reader(new Map([[pathOf(record), stats(1n)]]), { usage: () => never }).list([record]);
  deepEqual(got?.writableLayer, { atNanos: 42n, mountpoint: "/store" });
});

Deno.test("ContainerStatsReader goes on when a layer cannot be measured; only what is strange is logged", async () => {
  const record = container("running");
  const cgroups = new Map([[pathOf(record), stats(1n)]]);
  const lines: string[] = [];
  const log: Logger = { ...silentLogger, warn: (message) => void lines.push(message) };
  const failing = (error: Error): ContainerStatsReader => reader(cgroups, { usage: () => Promise.reject(error), log });
  equal((await failing(new NotFoundError("container", "x")).list([record])).length, 1);
  deepEqual(lines, []);
  equal((await failing(new Error("disk on fire")).list([record])).length, 1);
  deepEqual(lines, ["cannot measure the writable layer: disk on fire"]);
});

Deno.test("ContainerStatsReader.list() leaves out a container of another cgroup driver, and says why", async () => {
  const good = container("running");
  const old = { ...container("running"), cgroupParent: "kubepods-x.slice" };
  const lines: string[] = [];
  const log: Logger = { ...silentLogger, warn: (message) => void lines.push(message) };
  const listed = await reader(new Map([[pathOf(good), stats(1n)]]), { log }).list([old, good]);
  deepEqual(listed.map(({ record }) => record.id), [good.id]);
  equal(lines.length, 1);
});

Deno.test("ContainerStatsReader rejects when the caller goes away", async () => {
  const record = container("running");
  const never = new Promise<never>(() => {});
  const abort = new AbortController();
  const list = reader(new Map(), { usage: () => never }).get(record, { signal: abort.signal });
  abort.abort(new Error("gone"));
  await rejects(list, /gone/);
});
