import { resourceLimits } from "./convert/resources.ts";
import { requestId } from "./convert/request_id.ts";
import type { UpdateContainerResourcesResponse, UpdatePodSandboxResourcesResponse } from "./gen/api.ts";
import type { ContainerOperations, SandboxOperations } from "./operations.ts";
import type { RuntimeHandlers } from "./server.ts";

type ResourceHandlers = Required<Pick<RuntimeHandlers, "updateContainerResources" | "updatePodSandboxResources">>;

/** The RPCs that change limits of what is there. */
export function resourceHandlers(
  { containers, sandboxes }: { containers: ContainerOperations; sandboxes: SandboxOperations },
): ResourceHandlers {
  return {
    async updateContainerResources(request, context): Promise<UpdateContainerResourcesResponse> {
      const id = requestId(request.containerId, "container_id");
      await containers.updateResources(id, resourceLimits(request.linux, "linux"), context);
      context.log.info("container resources updated", { container: id });
      return {};
    },

    async updatePodSandboxResources(request, context): Promise<UpdatePodSandboxResourcesResponse> {
      const id = requestId(request.podSandboxId, "pod_sandbox_id");
      const overhead = resourceLimits(request.overhead, "overhead");
      const resources = resourceLimits(request.resources, "resources");
      await sandboxes.updateResources(id, { overhead, resources }, context);
      return {};
    },
  };
}
