import { systemClock } from "../base/clock.ts";
import { NotFoundError } from "../base/errors.ts";
import type { SandboxRecord } from "../sandbox/types.ts";
import { containerStatus } from "./convert/container_reply.ts";
import { requestId } from "./convert/request_id.ts";
import { podSandbox, podSandboxInfo, podSandboxStatus, podState } from "./convert/sandbox_reply.ts";
import { sandboxSpec } from "./convert/sandbox_spec.ts";
import { EncodedItems } from "./encoded_items.ts";
import {
  PodSandbox,
  type PodSandboxFilter,
  type PodSandboxStatusResponse,
  type RemovePodSandboxResponse,
  type RunPodSandboxResponse,
  type StopPodSandboxResponse,
} from "./gen/api.ts";
import { hasLabels } from "./label_selector.ts";
import type { ContainerOperations, SandboxOperations } from "./operations.ts";
import type { RuntimeHandlers } from "./server.ts";
import type { EncodedResponse } from "./unary.ts";

type SandboxHandlers = Required<
  Pick<
    RuntimeHandlers,
    | "runPodSandbox"
    | "stopPodSandbox"
    | "removePodSandbox"
    | "podSandboxStatus"
    | "listPodSandbox"
    | "streamPodSandboxes"
  >
>;

/**
 * The RPCs on pod sandboxes.
 *
 * @param containers when events are on: a pod's status then holds those of its containers, which spares a client of
 *   events one request for each
 */
export function sandboxHandlers(
  sandboxes: SandboxOperations,
  containers?: Pick<ContainerOperations, "list">,
): SandboxHandlers {
  const items = new EncodedItems((record: SandboxRecord) => PodSandbox.encode(podSandbox(record)).finish());
  return {
    async runPodSandbox(request, context): Promise<RunPodSandboxResponse> {
      const spec = sandboxSpec(request);
      const podSandboxId = await sandboxes.run(spec, context);
      const { name, namespace } = spec.metadata;
      context.log.info("pod sandbox runs", { sandbox: podSandboxId, pod: name, namespace });
      return { podSandboxId };
    },

    async stopPodSandbox(request, context): Promise<StopPodSandboxResponse> {
      await sandboxes.stop(requestId(request.podSandboxId, "pod_sandbox_id"), context);
      context.log.info("pod sandbox stopped", { sandbox: request.podSandboxId });
      return {};
    },

    async removePodSandbox(request, context): Promise<RemovePodSandboxResponse> {
      await sandboxes.remove(requestId(request.podSandboxId, "pod_sandbox_id"), context);
      context.log.info("pod sandbox removed", { sandbox: request.podSandboxId });
      return {};
    },

    podSandboxStatus(request): PodSandboxStatusResponse {
      const record = requireSandbox(sandboxes, request.podSandboxId);
      return {
        status: podSandboxStatus(record),
        info: request.verbose ? podSandboxInfo(record) : new Map(),
        containersStatuses: containers === undefined
          ? []
          : [...containers.list()].filter(({ sandboxId }) => sandboxId === record.id).map(containerStatus),
        timestamp: containers === undefined ? 0n : systemClock.nowNanos(),
      };
    },

    listPodSandbox(request): EncodedResponse {
      return items.response(matchingSandboxes(sandboxes, request.filter));
    },

    async *streamPodSandboxes(request): AsyncGenerator<EncodedResponse> {
      yield* items.responses(matchingSandboxes(sandboxes, request.filter));
    },
  };
}

/** @throws NotFoundError, InvalidArgumentError when the id is empty */
export function requireSandbox(sandboxes: Pick<SandboxOperations, "find">, id: string): SandboxRecord {
  const record = sandboxes.find(requestId(id, "pod_sandbox_id"));
  if (record === undefined) throw new NotFoundError("pod sandbox", id);
  return record;
}

/** The pods that a list with this filter shows. */
export function matchingSandboxes(
  sandboxes: SandboxOperations,
  filter: PodSandboxFilter | undefined,
): Iterable<SandboxRecord> {
  if (filter === undefined) return sandboxes.list();
  const { id, state, labelSelector } = filter;
  return candidates(sandboxes, id).filter((record) =>
    (state === undefined || podState(record) === state.state) && hasLabels(record.spec.labels, labelSelector)
  );
}

/** An id that names nothing is an empty list, not an error. */
function candidates(sandboxes: SandboxOperations, id: string): SandboxRecord[] {
  if (id === "") return [...sandboxes.list()];
  const record = sandboxes.find(id);
  return record === undefined ? [] : [record];
}
