import { deepEqual, equal } from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import type { CgroupStats } from "../../../src/cgroup/stats/cgroup_stats.ts";
import type { ContainerStats } from "../../../src/container/stats.ts";
import type { ContainerRecord } from "../../../src/container/types.ts";
import type { NetworkStats } from "../../../src/network/interface_stats.ts";
import { SandboxStatsReader } from "../../../src/sandbox/stats.ts";
import type { SandboxRecord } from "../../../src/sandbox/types.ts";
import { someContainer, somePod } from "../../fakes/cri_operations.ts";

const NETWORK: NetworkStats = { atNanos: 3n, interfaces: [] };

function pod(cgroupParent: string, changes: Partial<SandboxRecord> = {}): SandboxRecord {
  const record = somePod({ cgroupParent: cgroupParent || "/crio", ...changes });
  return { ...record, spec: { ...record.spec, cgroupParent } };
}

/** Counters that tell who is meant: `n` times something. */
function figures(n: number): CgroupStats {
  return {
    atNanos: BigInt(n),
    cpu: { usageNanos: BigInt(n * 1000), usageNanoCores: BigInt(n * 10) },
    memory: {
      usageBytes: n * 100,
      workingSetBytes: n * 90,
      availableBytes: 5,
      rssBytes: n * 80,
      pageFaults: n * 7,
      majorPageFaults: n,
    },
    pids: { current: n },
  };
}

function reader(
  pods: readonly SandboxRecord[],
  containers: ReadonlyArray<readonly [ContainerRecord, CgroupStats]> = [],
): { stats: SandboxStatsReader; cgroups: Map<string, CgroupStats>; warnings: string[] } {
  const warnings: string[] = [];
  const cgroups = new Map<string, CgroupStats>();
  const byRecord = new Map(containers);
  const stats = new SandboxStatsReader({
    driver: "cgroupfs",
    cgroups: { read: (path) => Promise.resolve(cgroups.get(path)) },
    interfaces: {
      read: (pin) =>
        pin === "/run/netns/bad"
          ? Promise.reject(new Error("no descriptor left"))
          : Promise.resolve(pin === "/run/netns/x" ? NETWORK : undefined),
    },
    containerStats: {
      list: (records) =>
        Promise.resolve([...records].flatMap((record): ContainerStats[] => {
          const cgroup = byRecord.get(record);
          return cgroup === undefined ? [] : [{ record, cgroup, writableLayer: { atNanos: 1n, mountpoint: "/" } }];
        })),
    },
    containers: { list: () => byRecord.keys() },
    sandboxes: { list: () => pods },
    clock: { nowNanos: () => 99n, monotonicMs: () => 0 },
    log: { ...silentLogger, warn: (message) => void warnings.push(message) },
  });
  return { stats, cgroups, warnings };
}

Deno.test("SandboxStatsReader.list() reads the pod's own cgroup and network, with its containers", async () => {
  const [one, two, off] = [pod("/kubepods/one"), pod("/kubepods/two"), pod("/kubepods/off", { state: "not_ready" })];
  const mine = someContainer({ sandboxId: one.id, state: "running" });
  const { stats, cgroups } = reader([one, two, off], [[mine, figures(1)]]);
  cgroups.set("/kubepods/one", figures(5)).set("/kubepods/two", figures(6)).set("/kubepods/off", figures(7));
  const [first, second, ...rest] = await stats.list([one, two, off]);
  deepEqual([first?.cgroup, second?.cgroup, rest], [figures(5), figures(6), []]);
  equal(first?.network, NETWORK);
  deepEqual(first?.containers.map(({ record }) => record.id), [mine.id]);
  deepEqual(second?.containers, []);
});

Deno.test("SandboxStatsReader adds containers up where a pod has no cgroup of its own", async () => {
  const [unnamed, a, b, ended] = [pod(""), pod("/same"), pod("/same"), pod("/alone", { state: "not_ready" })];
  const alone = pod("/alone");
  const containers = [unnamed, unnamed, a].map((record, i) =>
    [someContainer({ sandboxId: record.id, state: "running" }), figures(i + 1)] as const
  );
  const { stats, cgroups } = reader([unnamed, a, b, ended, alone], containers);
  for (const path of ["/crio", "/same", "/alone"]) cgroups.set(path, figures(100));
  const [sum, one, none, own] = await stats.list([unnamed, a, b, alone]);
  const { availableBytes: _, ...memory } = figures(3).memory ?? {};
  deepEqual(sum?.cgroup, { ...figures(3), atNanos: 1n, memory });
  equal(one?.cgroup?.cpu?.usageNanos, 3000n);
  deepEqual(none?.cgroup?.pids, { current: 0 });
  equal(own?.cgroup?.cpu?.usageNanos, 100_000n, "one that has ended shares nothing");
});

Deno.test("SandboxStatsReader tells no rate of containers before each has one", async () => {
  const unnamed = pod("");
  const fresh: CgroupStats = { atNanos: 2n, cpu: { usageNanos: 5n } };
  const containers = [figures(1), fresh].map((one) =>
    [someContainer({ sandboxId: unnamed.id, state: "running" }), one] as const
  );
  const { cgroup } = await reader([unnamed], containers).stats.get(unnamed);
  deepEqual(cgroup?.cpu, { usageNanos: 1005n });
});

Deno.test("SandboxStatsReader gives no network for a pod on the node's, nothing for one that is not ready", async () => {
  const [host, off] = [pod("/h", { namespaces: {} }), pod("/o", { state: "not_ready" })];
  const { stats, cgroups } = reader([host, off]);
  cgroups.set("/h", figures(1)).set("/o", figures(2));
  equal((await stats.get(host)).network, undefined);
  deepEqual(await stats.get(off), { record: off, containers: [] });
});

Deno.test("SandboxStatsReader gives the other pods when one cannot be read, and says why", async () => {
  const good = pod("/kubepods/good");
  const bad = pod("kubepods-x.slice", { namespaces: { network: "/run/netns/bad" } });
  const { stats, cgroups, warnings } = reader([bad, good]);
  cgroups.set("/kubepods/good", figures(1));
  const [first, second] = await stats.list([bad, good]);
  equal(first?.network, undefined);
  deepEqual(first?.cgroup?.pids, { current: 0 });
  deepEqual(second?.cgroup, figures(1));
  equal(warnings.length, 2);
});
