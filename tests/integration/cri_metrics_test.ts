import { deepEqual, equal, ok as assert } from "node:assert/strict";
import { METRIC_SETS, type MetricSet } from "../../src/container/metrics.ts";
import { metricsHandlers } from "../../src/cri/metrics.ts";
import { MetricType, StreamPodSandboxMetricsResponse } from "../../src/cri/gen/api.ts";
import type { PodMetrics } from "../../src/sandbox/metrics.ts";
import { CriClient } from "../fakes/cri_client.ts";
import { Front } from "../fakes/cri_front.ts";
import { someContainer, somePod } from "../fakes/cri_operations.ts";

const STREAM = "/runtime.v1.RuntimeService/StreamPodSandboxMetrics";
const BASE = ["id", "image", "namespace", "pod", "container"];

const record = somePod();
const container = someContainer({ sandboxId: record.id, state: "running", startedAtNanos: "1700000000000000000" });

/** A pod with one interface and one container, of which only the limit of a few things is known. */
const POD: PodMetrics = {
  record,
  network: {
    atNanos: 1_700_000_000_000_000_003n,
    interfaces: [{
      name: "eth0",
      rxBytes: 2 ** 40,
      rxPackets: 0,
      rxErrors: 3,
      rxDropped: 4,
      txBytes: 5,
      txPackets: 6,
      txErrors: 7,
      txDropped: 8,
    }],
  },
  containers: [{ record: container, atNanos: 1_700_000_000_000_000_005n }],
};

async function open(
  sets: ReadonlySet<MetricSet>,
  pods: () => readonly PodMetrics[],
): Promise<{ front: Front; client: CriClient }> {
  const runtime = metricsHandlers({ sets, list: () => Promise.resolve(pods()) });
  const front = await Front.open({ runtime });
  return { front, client: new CriClient(front.path) };
}

Deno.test("ListMetricDescriptors gives the descriptors of the sets, base labels first", async () => {
  const { front, client } = await open(new Set(METRIC_SETS), () => []);
  await using _front = front;
  using _client = client;
  const { descriptors } = await client.call("listMetricDescriptors");
  equal(descriptors.length, 56);
  const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys]));
  deepEqual(keys.get("container_last_seen"), BASE);
  deepEqual(keys.get("container_blkio_device_usage_total"), [...BASE, "device", "major", "minor", "operation"]);
  assert(descriptors.every(({ help }) => help !== ""));
});

Deno.test("ListPodSandboxMetrics encodes values, labels, types and times", async () => {
  const { front, client } = await open(new Set(METRIC_SETS), () => [POD]);
  await using _front = front;
  using _client = client;
  for (let round = 0; round < 2; round += 1) {
    const { podMetrics } = await client.call("listPodSandboxMetrics");
    deepEqual(podMetrics.map(({ podSandboxId }) => podSandboxId), [record.id]);
    const [pod] = podMetrics;
    deepEqual(pod?.metrics.slice(0, 3), [
      {
        name: "container_network_receive_bytes_total",
        timestamp: 1_700_000_000_000_000_003n,
        metricType: MetricType.COUNTER,
        labelValues: [record.id, "", "default", "web", "POD", "eth0"],
        value: { value: 2n ** 40n },
      },
      {
        name: "container_network_receive_packets_total",
        timestamp: 1_700_000_000_000_000_003n,
        metricType: MetricType.COUNTER,
        labelValues: [record.id, "", "default", "web", "POD", "eth0"],
        value: { value: 0n },
      },
      {
        name: "container_network_receive_packets_dropped_total",
        timestamp: 1_700_000_000_000_000_003n,
        metricType: MetricType.COUNTER,
        labelValues: [record.id, "", "default", "web", "POD", "eth0"],
        value: { value: 4n },
      },
    ]);
    equal(pod?.metrics.length, 8);
    deepEqual(pod?.containerMetrics.map(({ containerId }) => containerId), [container.id]);
    deepEqual(pod?.containerMetrics[0]?.metrics[0], {
      name: "container_last_seen",
      timestamp: 1_700_000_000_000_000_005n,
      metricType: MetricType.GAUGE,
      labelValues: [container.id, "docker.io/library/busybox:latest", "default", "web", "main"],
      value: { value: 1_700_000_000n },
    });
  }
});

Deno.test("StreamPodSandboxMetrics gives the same in messages that clients take", async () => {
  const pods = Array.from({ length: 700 }, () => POD);
  const { front, client } = await open(new Set(METRIC_SETS), () => pods);
  await using _front = front;
  using _client = client;
  const many = await client.stream(STREAM, new Uint8Array());
  const sizes = many.map((bytes) => bytes.length);
  const decoded = many.map((bytes) => StreamPodSandboxMetricsResponse.decode(bytes).podSandboxMetrics.length);
  equal(decoded.reduce((sum, one) => sum + one, 0), 700);
  assert(Math.max(...sizes) <= 4 * 1024 * 1024, `${sizes}`);
  pods.length = 0;
  deepEqual(await client.stream(STREAM, new Uint8Array()), []);
});
