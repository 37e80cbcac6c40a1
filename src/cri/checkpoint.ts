import { checkpointRequest } from "./convert/checkpoint.ts";
import type { CheckpointContainerResponse } from "./gen/api.ts";
import type { ContainerOperations } from "./operations.ts";
import type { RuntimeHandlers } from "./server.ts";

/** CheckpointContainer. */
export function checkpointHandlers(containers: Pick<ContainerOperations, "checkpoint">): Required<
  Pick<RuntimeHandlers, "checkpointContainer">
> {
  return {
    async checkpointContainer(request, context): Promise<CheckpointContainerResponse> {
      const { id, ...wish } = checkpointRequest(request);
      await containers.checkpoint(id, { ...wish, signal: context.signal });
      context.log.info("container checkpointed", { container: id, location: wish.location });
      return {};
    },
  };
}
