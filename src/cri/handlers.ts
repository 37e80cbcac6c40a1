import { checkpointHandlers } from "./checkpoint.ts";
import { containerHandlers } from "./containers.ts";
import { eventHandlers } from "./events.ts";
import { execHandlers } from "./exec.ts";
import { imageHandlers } from "./images.ts";
import { metricsHandlers } from "./metrics.ts";
import { nodeHandlers } from "./node.ts";
import type {
  ContainerOperations,
  EventOperations,
  ImageOperations,
  MetricsOperations,
  NodeOperations,
  SandboxOperations,
  StatsOperations,
  StreamingOperations,
} from "./operations.ts";
import { resourceHandlers } from "./resources.ts";
import { sandboxHandlers } from "./sandboxes.ts";
import type { ImageHandlers, RuntimeHandlers } from "./server.ts";
import { statsHandlers } from "./stats.ts";
import { streamingHandlers } from "./streaming.ts";

/** The rest of the daemon, as the handlers see it. */
export interface CriOperations {
  readonly sandboxes: SandboxOperations;
  readonly containers: ContainerOperations;
  readonly images: ImageOperations;
  readonly node: NodeOperations;
  readonly stats?: StatsOperations;
  readonly metrics?: MetricsOperations;
  readonly streaming?: StreamingOperations;
  /** Absent: events are off. */
  readonly events?: EventOperations;
}

/** All handlers of both services; what is not here answers UNIMPLEMENTED. */
export function criHandlers(operations: CriOperations): { runtime: RuntimeHandlers; image: ImageHandlers } {
  const { stats, metrics, streaming } = operations;
  return {
    runtime: {
      ...nodeHandlers(operations.node),
      ...sandboxHandlers(operations.sandboxes, operations.events && operations.containers),
      ...containerHandlers(operations),
      ...execHandlers(operations.containers),
      ...eventHandlers(operations.events),
      ...resourceHandlers(operations),
      ...checkpointHandlers(operations.containers),
      ...(stats === undefined ? {} : statsHandlers({ ...operations, stats })),
      ...(metrics === undefined ? {} : metricsHandlers(metrics)),
      ...(streaming === undefined ? {} : streamingHandlers(streaming)),
    },
    image: imageHandlers(operations.images),
  };
}
