import { attachStreamRequest, execStreamRequest } from "./convert/exec.ts";
import { requestId } from "./convert/request_id.ts";
import type { AttachResponse, ExecResponse, PortForwardResponse } from "./gen/api.ts";
import type { StreamingOperations } from "./operations.ts";
import type { RuntimeHandlers } from "./server.ts";

type StreamingHandlers = Required<Pick<RuntimeHandlers, "exec" | "attach" | "portForward">>;

/** The RPCs that give a client the URL of a stream. */
export function streamingHandlers(streaming: StreamingOperations): StreamingHandlers {
  return {
    exec: (request): ExecResponse => ({ url: streaming.exec(execStreamRequest(request)) }),
    attach: (request): AttachResponse => ({ url: streaming.attach(attachStreamRequest(request)) }),
    portForward({ podSandboxId, port }): PortForwardResponse {
      return { url: streaming.portForward({ sandboxId: requestId(podSandboxId, "pod_sandbox_id"), ports: port }) };
    },
  };
}
