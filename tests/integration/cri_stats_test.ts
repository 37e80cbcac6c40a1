import { deepEqual, equal, ok as assert } from "node:assert/strict";
import { status } from "@grpc/grpc-js";
import { newSandboxId } from "../../src/base/ids.ts";
import type { CgroupStats } from "../../src/cgroup/stats/cgroup_stats.ts";
import type { ContainerStats as ContainerFigures } from "../../src/container/stats.ts";
import type { ContainerRecord } from "../../src/container/types.ts";
import {
  type ContainerStats,
  ListContainerStatsResponse,
  StreamContainersResponse,
  StreamContainerStatsResponse,
  StreamImagesResponse,
  StreamPodSandboxesResponse,
  StreamPodSandboxStatsResponse,
} from "../../src/cri/gen/api.ts";
import type { StatsOperations } from "../../src/cri/operations.ts";
import { statsHandlers } from "../../src/cri/stats.ts";
import type { InterfaceStats } from "../../src/network/interface_stats.ts";
import type { SandboxRecord } from "../../src/sandbox/types.ts";
import { CriClient } from "../fakes/cri_client.ts";
import { codeOf, Front } from "../fakes/cri_front.ts";
import { FakeNode, someContainer, somePod } from "../fakes/cri_operations.ts";

const RUNTIME = "/runtime.v1.RuntimeService";
const NOTHING = new Uint8Array();

const line = (total: number) => ({ totalMicros: total, avg10: 1.5, avg60: 0, avg300: 0.25 });
const CGROUP: CgroupStats = {
  atNanos: 1_700_000_000_000_000_001n,
  cpu: { usageNanos: 123n, usageNanoCores: 7n, pressure: { some: line(1), full: line(2) } },
  memory: {
    usageBytes: 2 ** 40,
    workingSetBytes: 5,
    availableBytes: 0,
    rssBytes: 3,
    pageFaults: 2,
    majorPageFaults: 1,
    pressure: { some: line(3) },
  },
  swap: { usageBytes: 0 },
  pids: { current: 9 },
  io: { pressure: { some: line(4), full: line(5) } },
};

const nic = (name: string): InterfaceStats => ({
  name,
  rxBytes: 1,
  rxPackets: 2,
  rxErrors: 3,
  rxDropped: 4,
  txBytes: 5,
  txPackets: 6,
  txErrors: 7,
  txDropped: 8,
});

function containerFigures(record: ContainerRecord): ContainerFigures {
  const writableLayer = { atNanos: 11n, mountpoint: "/store", usage: { bytes: 4096, inodes: 2 } };
  return record.state === "running" ? { record, cgroup: CGROUP, writableLayer } : { record, writableLayer };
}

const OPERATIONS: StatsOperations = {
  containers: {
    list: (records) => Promise.resolve([...records].map(containerFigures).filter(({ cgroup }) => cgroup !== undefined)),
    get: (record) => Promise.resolve(containerFigures(record)),
  },
  sandboxes: {
    list: (records, call) => Promise.all([...records].map((record) => OPERATIONS.sandboxes.get(record, call))),
    get: (record) =>
      Promise.resolve({
        record,
        cgroup: CGROUP,
        network: { atNanos: 13n, interfaces: [nic("net1"), nic("eth0")] },
        containers: [containerFigures(someContainer({ sandboxId: record.id, state: "running" }))],
      }),
  },
};

async function open(node: FakeNode = new FakeNode()): Promise<{ front: Front; node: FakeNode }> {
  const runtime = statsHandlers({ ...node.operations, stats: OPERATIONS });
  return { front: await Front.open({ runtime }), node };
}

function add(node: FakeNode, ...records: ReadonlyArray<SandboxRecord | ContainerRecord>): void {
  for (const record of records) {
    if ("sandboxId" in record) node.containers.set(record.id, record);
    else node.pods.set(record.id, record);
  }
}

const psi = (total: bigint) => ({ Total: total, Avg10: 1.5, Avg60: 0, Avg300: 0.25 });
const value = (number: number | bigint) => ({ value: BigInt(number) });

const CPU = {
  timestamp: CGROUP.atNanos,
  usageCoreNanoSeconds: value(123),
  usageNanoCores: value(7),
  psi: { Some: psi(1n), Full: psi(2n) },
};
const MEMORY = {
  timestamp: CGROUP.atNanos,
  workingSetBytes: value(5),
  availableBytes: value(0),
  usageBytes: value(2n ** 40n),
  rssBytes: value(3),
  pageFaults: value(2),
  majorPageFaults: value(1),
  psi: { Some: psi(3n), Full: undefined },
};
const IO = { timestamp: CGROUP.atNanos, psi: { Some: psi(4n), Full: psi(5n) } };

function expected(record: ContainerRecord): ContainerStats {
  return {
    attributes: {
      id: record.id,
      metadata: { name: "main", attempt: 0 },
      labels: new Map(Object.entries(record.spec.labels)),
      annotations: new Map(),
    },
    cpu: CPU,
    memory: MEMORY,
    writableLayer: {
      timestamp: 11n,
      fsId: { mountpoint: "/store" },
      usedBytes: value(4096),
      inodesUsed: value(2),
    },
    swap: { timestamp: CGROUP.atNanos, swapAvailableBytes: undefined, swapUsageBytes: value(0) },
    io: IO,
  };
}

Deno.test("ContainerStats and its list give each figure, and lists follow their filters", async () => {
  const { front, node } = await open();
  await using _front = front;
  using client = new CriClient(front.path);
  const [one, two] = [somePod(), somePod()];
  const a = someContainer({ sandboxId: one.id, state: "running" }, { labels: new Map([["app", "a"]]) });
  const b = someContainer({ sandboxId: two.id, state: "running" }, { labels: new Map([["app", "b"]]) });
  const ended = someContainer({ sandboxId: two.id, state: "exited" });
  add(node, one, two, a, b, ended);
  deepEqual((await client.call("containerStats", { containerId: a.id.slice(0, 20) })).stats, expected(a));
  deepEqual((await client.call("listContainerStats")).stats, [expected(a), expected(b)]);
  deepEqual((await client.call("listContainerStats")).stats, [expected(a), expected(b)], "with known attributes");
  const idsOf = async (filter: { id?: string; podSandboxId?: string; labelSelector?: Map<string, string> }) => {
    const whole = { id: "", podSandboxId: "", labelSelector: new Map(), ...filter };
    return (await client.call("listContainerStats", { filter: whole })).stats.map(({ attributes }) => attributes?.id);
  };
  deepEqual(await idsOf({ id: b.id.slice(0, 20) }), [b.id]);
  deepEqual(await idsOf({ podSandboxId: one.id }), [a.id]);
  deepEqual(await idsOf({ labelSelector: new Map([["app", "b"]]) }), [b.id]);
  deepEqual(await idsOf({ id: "nothing" }), []);
  const { stats } = await client.call("containerStats", { containerId: ended.id });
  equal(stats?.cpu, undefined);
  deepEqual(stats?.writableLayer?.usedBytes, value(4096));
  equal(await codeOf(client.call("containerStats", { containerId: "nothing" })), status.NOT_FOUND);
  equal(await codeOf(client.call("containerStats")), status.INVALID_ARGUMENT);
});

Deno.test("PodSandboxStats and its list give each figure, with containers and the interfaces beside the default", async () => {
  const { front, node } = await open();
  await using _front = front;
  using client = new CriClient(front.path);
  const pod = somePod({}, { labels: new Map([["app", "web"]]) });
  const other = somePod();
  add(node, pod, other);
  const { stats } = await client.call("podSandboxStats", { podSandboxId: pod.id });
  deepEqual(stats?.attributes, {
    id: pod.id,
    metadata: { name: "web", namespace: "default", uid: "u-1", attempt: 0 },
    labels: new Map(Object.entries(pod.spec.labels)),
    annotations: new Map(),
  });
  const { containers = [], ...linux } = stats?.linux ?? {};
  const counters = { rxBytes: value(1), rxErrors: value(3), txBytes: value(5), txErrors: value(7) };
  deepEqual(linux, {
    cpu: CPU,
    memory: MEMORY,
    network: {
      timestamp: 13n,
      defaultInterface: { name: "eth0", ...counters },
      interfaces: [{ name: "net1", ...counters }],
    },
    process: { timestamp: CGROUP.atNanos, processCount: value(9) },
    io: IO,
  });
  deepEqual(containers.map(({ cpu, memory }) => [cpu, memory]), [[CPU, MEMORY]]);
  const filter = { id: "", labelSelector: new Map([["app", "web"]]) };
  const listed = (await client.call("listPodSandboxStats", { filter })).stats;
  deepEqual(listed.map(({ attributes }) => attributes?.id), [pod.id]);
  equal((await client.call("listPodSandboxStats")).stats.length, 2);
  equal(await codeOf(client.call("podSandboxStats", { podSandboxId: "nothing" })), status.NOT_FOUND);
});

Deno.test("streamed lists come in messages of 3000 items, an empty one in none", async () => {
  const { front, node } = await open();
  await using _front = front;
  using client = new CriClient(front.path);
  const pod = somePod();
  const many = Array.from({ length: 3001 }, () => someContainer({ sandboxId: pod.id, state: "running" }));
  deepEqual(await client.stream(`${RUNTIME}/StreamContainerStats`, NOTHING), []);
  deepEqual(await client.stream(`${RUNTIME}/StreamContainers`, NOTHING), []);
  add(node, pod, ...many);
  add(front.node, pod, ...many);
  const stats = await client.stream(`${RUNTIME}/StreamContainerStats`, NOTHING);
  deepEqual(stats.map((bytes) => StreamContainerStatsResponse.decode(bytes).containerStats.length), [3000, 1]);
  const containers = await client.stream(`${RUNTIME}/StreamContainers`, NOTHING);
  const decoded = containers.map((bytes) => StreamContainersResponse.decode(bytes).containers);
  deepEqual(decoded.map((chunk) => chunk.length), [3000, 1]);
  deepEqual(decoded.flat(), (await client.call("listContainers")).containers);
  const [pods] = await client.stream(`${RUNTIME}/StreamPodSandboxes`, NOTHING);
  deepEqual(StreamPodSandboxesResponse.decode(pods ?? NOTHING).podSandboxes.map(({ id }) => id), [pod.id]);
  const [podStats] = await client.stream(`${RUNTIME}/StreamPodSandboxStats`, NOTHING);
  equal(StreamPodSandboxStatsResponse.decode(podStats ?? NOTHING).podSandboxStats.length, 1);
});

Deno.test("StreamImages gives what ListImages gives", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const image = {
    id: "a".repeat(64),
    repoTags: ["x:1"],
    repoDigests: [],
    sizeBytes: 5,
    user: "",
    pinned: false,
    annotations: {},
  };
  front.node.images.set(image.id, image);
  const [first, ...rest] = await client.stream("/runtime.v1.ImageService/StreamImages", NOTHING);
  deepEqual(StreamImagesResponse.decode(first ?? NOTHING).images, (await client.call("listImages")).images);
  deepEqual(rest, []);
});

Deno.test("without a source of figures their RPCs are unimplemented", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  equal(await codeOf(client.call("listContainerStats")), status.UNIMPLEMENTED);
  equal(await codeOf(client.call("podSandboxStats", { podSandboxId: newSandboxId() })), status.UNIMPLEMENTED);
  assert(ListContainerStatsResponse.decode(NOTHING).stats.length === 0);
});
