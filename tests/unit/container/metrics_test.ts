import { deepEqual, equal } from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { ContainerMetricsReader, detailKinds, METRIC_SETS, type MetricSet } from "../../../src/container/metrics.ts";
import { PodMetricsReader } from "../../../src/sandbox/metrics.ts";
import type { SandboxRecord } from "../../../src/sandbox/types.ts";
import { containerRecord, sandboxRecord } from "../../fakes/records.ts";

const STATS = { atNanos: 2n };
const DETAILS = { atNanos: 3n, oomKills: 1 };
const CENSUS = { atNanos: 4n, processes: 1, fileDescriptors: 2, sockets: 3 };
const USED = { bytes: 9, inodes: 1, atNanos: 5n };
const SIZE = { totalBytes: 5, totalInodes: 6, freeInodes: 7 };

/** Sources that note who asks them, some of which fail. */
class Sources {
  readonly asked: string[] = [];
  failing = new Set<string>();

  reader(...sets: MetricSet[]): ContainerMetricsReader {
    return new ContainerMetricsReader({
      sets: new Set(sets),
      driver: "cgroupfs",
      stats: { read: (path) => this.#answer("stats", path, STATS) },
      details: { read: (path) => this.#answer("details", path, DETAILS) },
      processes: {
        read: ({ id, cgroup, initPid }) => this.#answer("processes", `${id} ${cgroup} ${initPid}`, CENSUS),
        retain: (ids) => void this.asked.push(`retain ${[...ids]}`),
      },
      filesystem: { size: () => SIZE, used: ({ id }) => this.#answer("layer", id, USED) },
      clock: { nowNanos: () => 1n, monotonicMs: () => 0 },
      log: silentLogger,
    });
  }

  #answer<Value>(source: string, what: string, value: Value): Promise<Value> {
    this.asked.push(`${source} ${what}`);
    return this.failing.has(source) ? Promise.reject(new Error(`no ${source}`)) : Promise.resolve(value);
  }
}

const record = containerRecord({ cgroupParent: "/pod", process: { pid: 77, startTime: "1" } });
const CGROUP = `/pod/crio-${record.id}`;

Deno.test("ContainerMetricsReader.list() reads what the sets need, and nothing else", async () => {
  const needs: Array<[MetricSet[], string[]]> = [
    [[], []],
    [["spec", "network"], []],
    [["oom"], [`details ${CGROUP}`]],
    [["pressure"], [`stats ${CGROUP}`]],
    [["cpu"], [`stats ${CGROUP}`, `details ${CGROUP}`]],
    [["process"], [`details ${CGROUP}`, `processes ${record.id} ${CGROUP} 77`]],
    [["disk"], [`layer ${record.id}`]],
  ];
  for (const [sets, expected] of needs) {
    const sources = new Sources();
    await sources.reader(...sets).list([record]);
    deepEqual(sources.asked.filter((line) => !line.startsWith("retain")), expected, sets.join());
  }
  deepEqual(detailKinds(new Set(METRIC_SETS)).sort(), ["cpu", "hugetlb", "io", "memory", "oom", "pids"]);
});

Deno.test("ContainerMetricsReader.list() gives all parts of containers that run", async () => {
  const sources = new Sources();
  const ended = containerRecord({ state: "exited" });
  const [metrics, ...others] = await sources.reader(...METRIC_SETS).list([ended, record]);
  deepEqual(others, []);
  deepEqual(metrics, {
    record,
    atNanos: 1n,
    stats: STATS,
    details: DETAILS,
    processes: CENSUS,
    filesystem: { ...SIZE, atNanos: 1n, used: USED },
  });
  equal(sources.asked[0], `retain ${record.id}`);
});

Deno.test("ContainerMetricsReader.list() gives the rest when a part cannot be read", async () => {
  const sources = new Sources();
  sources.failing = new Set(["stats", "processes", "layer"]);
  deepEqual(await sources.reader(...METRIC_SETS).list([record]), [{ record, atNanos: 1n, details: DETAILS }]);
});

Deno.test("PodMetricsReader.list() gives pods that are ready, each with its containers and its network", async () => {
  const network = { atNanos: 8n, interfaces: [] };
  const pods: SandboxRecord[] = [
    sandboxRecord({ namespaces: { network: "/run/netns/a" } }),
    sandboxRecord({ namespaces: {} }),
    sandboxRecord({ namespaces: { network: "/broken" } }),
    sandboxRecord({ state: "not_ready" }),
  ];
  const containers = pods.map(({ id }) => containerRecord({ sandboxId: id }));
  const list = async (withNetwork: boolean): Promise<unknown[]> => {
    const reader = new PodMetricsReader({
      withNetwork,
      interfaces: {
        read: (path) => path === "/broken" ? Promise.reject(new Error("broken")) : Promise.resolve(network),
      },
      containerMetrics: { list: (own) => Promise.resolve([...own].map((one) => ({ record: one, atNanos: 1n }))) },
      containers: { list: () => containers },
      sandboxes: { list: () => pods },
      log: silentLogger,
    });
    return (await reader.list()).map(({ record, containers: own, network: net }) => [
      pods.indexOf(record),
      own.map(({ record: one }) => containers.indexOf(one)),
      net,
    ]);
  };
  const wanted = Math.random() < 2;
  deepEqual(await list(wanted), [[0, [0], network], [1, [1], undefined], [2, [2], undefined]]);
  deepEqual(await list(!wanted), [[0, [0], undefined], [1, [1], undefined], [2, [2], undefined]]);
});
