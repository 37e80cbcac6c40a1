import {
  CgroupDriver,
  type RuntimeCondition,
  type RuntimeConfigResponse,
  type RuntimeHandler,
  type StatusResponse,
  type UpdateRuntimeConfigResponse,
  type VersionResponse,
} from "./gen/api.ts";
import type { HandlerInfo, NodeOperations } from "./operations.ts";
import type { RuntimeHandlers } from "./server.ts";

type NodeHandlers = Required<Pick<RuntimeHandlers, "version" | "status" | "runtimeConfig" | "updateRuntimeConfig">>;

/** The RPCs about the node itself. */
export function nodeHandlers(node: NodeOperations): NodeHandlers {
  return {
    version(): VersionResponse {
      return { version: "0.1.0", runtimeName: "cri-o", runtimeVersion: node.version, runtimeApiVersion: "v1" };
    },

    status(request): StatusResponse {
      return {
        status: { conditions: [RUNTIME_READY, networkCondition(node.networkProblem())] },
        info: request.verbose ? new Map([["config", JSON.stringify(node.verboseConfig())]]) : new Map(),
        runtimeHandlers: runtimeHandlers(node.handlers()),
        features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: true },
      };
    },

    runtimeConfig(): RuntimeConfigResponse {
      const driver = node.cgroupDriver === "systemd" ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS;
      return { linux: { cgroupDriver: driver } };
    },

    // The pod range belongs to the CNI configuration, which is not ours to write.
    updateRuntimeConfig(request, context): UpdateRuntimeConfigResponse {
      const podCidr = request.runtimeConfig?.networkConfig?.podCidr ?? "";
      context.log.debug("runtime configuration received; nothing depends on it", { podCidr });
      return {};
    },
  };
}

const RUNTIME_READY: RuntimeCondition = { type: "RuntimeReady", status: true, reason: "", message: "" };

function networkCondition(problem: string | undefined): RuntimeCondition {
  if (problem === undefined) return { type: "NetworkReady", status: true, reason: "", message: "" };
  return { type: "NetworkReady", status: false, reason: "NetworkPluginNotReady", message: problem };
}

/** The kubelet looks the default handler up by its empty name. */
function runtimeHandlers(handlers: { default: string; all: readonly HandlerInfo[] }): RuntimeHandler[] {
  return handlers.all.flatMap(({ name, recursiveReadOnlyMounts, userNamespaces }) => {
    const entry = { name, features: { recursiveReadOnlyMounts, userNamespaces } };
    return name === handlers.default ? [{ ...entry, name: "" }, entry] : [entry];
  });
}
