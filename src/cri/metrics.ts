import { mapInTurns } from "../base/turns.ts";
import type { PodMetrics } from "../sandbox/metrics.ts";
import { BASE_LABELS, includedDescriptors } from "./convert/metric_descriptors.ts";
import { streamed } from "./encoded_items.ts";
import { ListMetricDescriptorsResponse } from "./gen/api.ts";
import { MetricEncoder } from "./metric_encoder.ts";
import type { MetricsOperations } from "./operations.ts";
import type { RuntimeHandlers } from "./server.ts";
import { EncodedResponse } from "./unary.ts";
import { concatenate, messageField } from "./wire.ts";

type MetricsHandlers = Required<
  Pick<RuntimeHandlers, "listMetricDescriptors" | "listPodSandboxMetrics" | "streamPodSandboxMetrics">
>;

/** The RPCs on metrics of pods and containers. */
export function metricsHandlers(metrics: MetricsOperations): MetricsHandlers {
  const encoder = new MetricEncoder(metrics.sets);
  const descriptors = new EncodedResponse(
    ListMetricDescriptorsResponse.encode({
      descriptors: includedDescriptors(metrics.sets).map(({ name, help, labels }) => ({
        name,
        help,
        labelKeys: [...BASE_LABELS, ...labels],
      })),
    }).finish(),
  );
  /** In both responses the pods are field 1. */
  const items = (pods: readonly PodMetrics[]): Promise<Uint8Array[]> =>
    mapInTurns(pods, (pod) => messageField(1, encoder.pod(pod)));
  return {
    listMetricDescriptors(): EncodedResponse {
      return descriptors;
    },

    async listPodSandboxMetrics(_request, { signal }): Promise<EncodedResponse> {
      return new EncodedResponse(concatenate(await items(await metrics.list({ signal }))));
    },

    async *streamPodSandboxMetrics(_request, { signal }): AsyncGenerator<EncodedResponse> {
      yield* streamed(await items(await metrics.list({ signal })));
    },
  };
}
