import { NotFoundError } from "../base/errors.ts";
import type { ContainerRecord } from "../container/types.ts";
import { container, containerInfo, containerState, containerStatus } from "./convert/container_reply.ts";
import { containerSpec } from "./convert/container_spec.ts";
import { requestId } from "./convert/request_id.ts";
import { sandboxSpec } from "./convert/sandbox_spec.ts";
import { stopTimeoutMs } from "./convert/timeout.ts";
import { EncodedItems } from "./encoded_items.ts";
import {
  Container,
  type ContainerFilter,
  type ContainerStatusResponse,
  type CreateContainerResponse,
  type RemoveContainerResponse,
  type ReopenContainerLogResponse,
  type StartContainerResponse,
  type StopContainerResponse,
} from "./gen/api.ts";
import { hasLabels } from "./label_selector.ts";
import type { ContainerOperations, SandboxOperations } from "./operations.ts";
import { requireSandbox } from "./sandboxes.ts";
import type { RuntimeHandlers } from "./server.ts";
import type { EncodedResponse } from "./unary.ts";

type ContainerHandlers = Required<
  Pick<
    RuntimeHandlers,
    | "createContainer"
    | "startContainer"
    | "stopContainer"
    | "removeContainer"
    | "containerStatus"
    | "listContainers"
    | "streamContainers"
    | "reopenContainerLog"
  >
>;

/** Which pods and containers the handlers work on. */
export interface ContainerHandlerDeps {
  readonly sandboxes: SandboxOperations;
  readonly containers: ContainerOperations;
}

/** The RPCs on containers. */
export function containerHandlers(deps: ContainerHandlerDeps): ContainerHandlers {
  const { containers, sandboxes } = deps;
  const items = new EncodedItems((record: ContainerRecord) => Container.encode(container(record)).finish());
  return {
    async createContainer(request, context): Promise<CreateContainerResponse> {
      const spec = containerSpec(request.config);
      const podSpec = sandboxSpec({ config: request.sandboxConfig, runtimeHandler: "" }, "sandbox_config");
      const sandbox = requireSandbox(sandboxes, request.podSandboxId);
      const containerId = await containers.create({ sandbox, spec, sandboxSpec: podSpec }, context);
      context.log.info("container created", { container: containerId, sandbox: sandbox.id, of: spec.metadata.name });
      return { containerId };
    },

    async startContainer(request, context): Promise<StartContainerResponse> {
      await containers.start(requestId(request.containerId, CONTAINER_ID), context);
      context.log.info("container started", { container: request.containerId });
      return {};
    },

    async stopContainer(request, context): Promise<StopContainerResponse> {
      const { signal } = context;
      const id = requestId(request.containerId, CONTAINER_ID);
      await containers.stop(id, { signal, timeoutMs: stopTimeoutMs(request.timeout) });
      context.log.info("container stopped", { container: id });
      return {};
    },

    async removeContainer(request, context): Promise<RemoveContainerResponse> {
      await containers.remove(requestId(request.containerId, CONTAINER_ID), context);
      context.log.info("container removed", { container: request.containerId });
      return {};
    },

    async containerStatus(request): Promise<ContainerStatusResponse> {
      const record = requireContainer(containers, request.containerId);
      const info = request.verbose ? containerInfo(record, await containers.runtimeSpec(record)) : new Map();
      return { status: containerStatus(record), info };
    },

    listContainers(request): EncodedResponse {
      return items.response(matchingContainers(deps, request.filter));
    },

    async *streamContainers(request): AsyncGenerator<EncodedResponse> {
      yield* items.responses(matchingContainers(deps, request.filter));
    },

    async reopenContainerLog(request, context): Promise<ReopenContainerLogResponse> {
      await containers.reopenLog(requestId(request.containerId, CONTAINER_ID), context);
      return {};
    },
  };
}

const CONTAINER_ID = "container_id";

/** @throws NotFoundError, InvalidArgumentError when the id is empty */
export function requireContainer(containers: ContainerOperations, id: string): ContainerRecord {
  const record = containers.find(requestId(id, CONTAINER_ID));
  if (record === undefined) throw new NotFoundError("container", id);
  return record;
}

/** The containers that a list with this filter shows. */
export function matchingContainers(
  deps: ContainerHandlerDeps,
  filter: ContainerFilter | undefined,
): Iterable<ContainerRecord> {
  if (filter === undefined) return deps.containers.list();
  const { state, labelSelector } = filter;
  // An id that names nothing is an empty list, not an error.
  const sandboxId = filter.podSandboxId === "" ? undefined : sandboxIdOf(deps, filter.podSandboxId);
  return candidates(deps.containers, filter.id).filter((record) =>
    (sandboxId === undefined || record.sandboxId === sandboxId) &&
    (state === undefined || containerState(record) === state.state) && hasLabels(record.spec.labels, labelSelector)
  );
}

/** A container whose pod is gone can still be found by the pod's full id. */
function sandboxIdOf({ sandboxes }: ContainerHandlerDeps, id: string): string {
  return sandboxes.find(id)?.id ?? id;
}

function candidates(containers: ContainerOperations, id: string): ContainerRecord[] {
  if (id === "") return [...containers.list()];
  const record = containers.find(id);
  return record === undefined ? [] : [record];
}
