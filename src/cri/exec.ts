import { execRequest, execResponse } from "./convert/exec.ts";
import type { ExecSyncResponse } from "./gen/api.ts";
import type { ContainerOperations } from "./operations.ts";
import type { RuntimeHandlers } from "./server.ts";

/** The RPCs that run something in a container. */
export function execHandlers(containers: Pick<ContainerOperations, "execSync">): Required<
  Pick<RuntimeHandlers, "execSync">
> {
  return {
    async execSync(request, { signal }): Promise<ExecSyncResponse> {
      const { id, ...command } = execRequest(request);
      return execResponse(await containers.execSync(id, { ...command, signal }));
    },
  };
}
