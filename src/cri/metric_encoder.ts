import type { ContainerMetrics, MetricSet } from "../container/metrics.ts";
import type { ContainerRecord } from "../container/types.ts";
import type { PodMetrics } from "../sandbox/metrics.ts";
import type { SandboxRecord } from "../sandbox/types.ts";
import { ByteWriter, varintLength } from "./byte_writer.ts";
import { POD_METRICS } from "./convert/metric_descriptors.ts";
import { containerMetrics, type MetricValues, podMetrics } from "./convert/pod_metrics.ts";
import { ContainerMetrics as ContainerMetricsMessage, Metric, MetricType, PodSandboxMetrics } from "./gen/api.ts";
import { concatenate, messageField } from "./wire.ts";

/** Fields of PodSandboxMetrics and ContainerMetrics, and of Metric, with their wire type. */
const METRICS = 2;
const METRICS_TAG = (METRICS << 3) | 2;
const CONTAINER_METRICS = 3;
const TIMESTAMP_TAG = 2 << 3;
const VALUE_TAG = (5 << 3) | 2;
/** Of UInt64Value. */
const NUMBER_TAG = 1 << 3;

/**
 * Encodes metrics. A pod has some seventy, with the same names and labels each time: what does not change is encoded
 * once.
 */
export class MetricEncoder {
  readonly #names = new Map<string, Uint8Array>();
  readonly #containerLabels = new WeakMap<ContainerRecord, Uint8Array>();
  readonly #podLabels = new WeakMap<SandboxRecord, Uint8Array>();
  /** Labels after the base ones: interfaces, devices and kinds are few, and come again in each pod. */
  readonly #ownLabels = new Map<string, Uint8Array>();

  constructor(private readonly sets: ReadonlySet<MetricSet>) {
    for (const [key, { name, type }] of POD_METRICS) {
      const metricType = type === "counter" ? MetricType.COUNTER : MetricType.GAUGE;
      this.#names.set(key, Metric.encode({ ...NOTHING, name, metricType }).finish());
    }
  }

  /** A PodSandboxMetrics message. */
  pod(pod: PodMetrics): Uint8Array {
    const { record, containers } = pod;
    const { name, namespace } = record.spec.metadata;
    const labels = known(this.#podLabels, record, () => labelBytes([record.id, "", namespace, name, "POD"]));
    return concatenate([
      PodSandboxMetrics.encode({ podSandboxId: record.id, metrics: [], containerMetrics: [] }).finish(),
      this.#metrics(labels, podMetrics(pod)),
      ...containers.map((one) => messageField(CONTAINER_METRICS, this.#container(one, record))),
    ]);
  }

  #container(metrics: ContainerMetrics, pod: SandboxRecord): Uint8Array {
    const { record } = metrics;
    const { name, namespace } = pod.spec.metadata;
    const labels = known(this.#containerLabels, record, () => {
      const image = record.imageName || record.spec.image.image;
      return labelBytes([record.id, image, namespace, name, record.spec.metadata.name]);
    });
    return concatenate([
      ContainerMetricsMessage.encode({ containerId: record.id, metrics: [] }).finish(),
      this.#metrics(labels, containerMetrics(metrics, this.sets)),
    ]);
  }

  /** Metrics as field 2, one after the other. */
  #metrics(labels: Uint8Array, groups: readonly MetricValues[]): Uint8Array {
    const writer = new ByteWriter();
    for (const { atNanos, values } of groups) {
      const time = timestampBytes(atNanos);
      for (const { key, value, labels: more } of values) {
        const name = this.#names.get(key);
        if (name === undefined) throw new RangeError(`no metric ${key}`);
        const own = more === undefined ? NO_BYTES : this.#own(more);
        // A message leaves a zero out.
        const number = value === 0 || value === 0n ? 0 : 1 + varintLength(value);
        writer.byte(METRICS_TAG);
        writer.varint(name.length + labels.length + own.length + time.length + 2 + number);
        writer.bytes(name);
        writer.bytes(labels);
        writer.bytes(own);
        writer.bytes(time);
        writer.byte(VALUE_TAG);
        writer.byte(number);
        if (number === 0) continue;
        writer.byte(NUMBER_TAG);
        writer.varint(value);
      }
    }
    return writer.finish();
  }

  #own(labels: readonly string[]): Uint8Array {
    const key = labels.join("\0");
    const present = this.#ownLabels.get(key);
    if (present !== undefined) return present;
    if (this.#ownLabels.size >= MOST_LABELS) this.#ownLabels.clear();
    const bytes = labelBytes(labels);
    this.#ownLabels.set(key, bytes);
    return bytes;
  }
}

/** Names of interfaces can be many in time. */
const MOST_LABELS = 1000;
const NO_BYTES = new Uint8Array();
const NOTHING = { name: "", timestamp: 0n, metricType: MetricType.COUNTER, labelValues: [], value: undefined };

function labelBytes(labelValues: readonly string[]): Uint8Array {
  return Metric.encode({ ...NOTHING, labelValues: [...labelValues] }).finish();
}

function timestampBytes(atNanos: bigint): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(TIMESTAMP_TAG);
  writer.varint(atNanos);
  return writer.finish();
}

function known<Item extends object>(
  cache: WeakMap<Item, Uint8Array>,
  item: Item,
  encode: () => Uint8Array,
): Uint8Array {
  const bytes = cache.get(item) ?? encode();
  cache.set(item, bytes);
  return bytes;
}
