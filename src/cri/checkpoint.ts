import { absolute } from "./convert/_checks.ts";
import { requestId } from "./convert/request_id.ts";
import { execTimeoutMs } from "./convert/timeout.ts";
import type { CheckpointContainerResponse } from "./gen/api.ts";
import type { ContainerOperations } from "./operations.ts";
import type { RuntimeHandlers } from "./server.ts";

/** CheckpointContainer. */
export function checkpointHandlers(containers: Pick<ContainerOperations, "checkpoint">): Required<
  Pick<RuntimeHandlers, "checkpointContainer">
> {
  return {
    async checkpointContainer(request, context): Promise<CheckpointContainerResponse> {
      const id = requestId(request.containerId, "container_id");
      const location = absolute(request.location, "location");
      const timeoutMs = execTimeoutMs(request.timeout);
      await containers.checkpoint(id, { location, timeoutMs, signal: context.signal });
      context.log.info("container checkpointed", { container: id, location });
      return {};
    },
  };
}
