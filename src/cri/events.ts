import type { PodEvent, PodEventType } from "../sandbox/pod_events.ts";
import { containerStatus } from "./convert/container_reply.ts";
import { podSandboxStatus } from "./convert/sandbox_reply.ts";
import { ContainerEventResponse, ContainerEventType } from "./gen/api.ts";
import type { EventOperations } from "./operations.ts";
import type { RuntimeHandlers } from "./server.ts";
import { EncodedResponse } from "./unary.ts";

type EventHandlers = Required<Pick<RuntimeHandlers, "getContainerEvents">>;

const TYPES: Readonly<Record<PodEventType, ContainerEventType>> = {
  created: ContainerEventType.CONTAINER_CREATED_EVENT,
  started: ContainerEventType.CONTAINER_STARTED_EVENT,
  stopped: ContainerEventType.CONTAINER_STOPPED_EVENT,
  deleted: ContainerEventType.CONTAINER_DELETED_EVENT,
};

/**
 * GetContainerEvents: each client gets all events from its call on, until it goes away or the daemon stops.
 *
 * @param events undefined when events are off: the stream then ends at once, as in CRI-O
 */
export function eventHandlers(events: EventOperations | undefined): EventHandlers {
  // All clients get the same event: it is encoded for the first of them.
  const encoded = new WeakMap<PodEvent, EncodedResponse>();
  return {
    async *getContainerEvents(_request, { signal }): AsyncGenerator<EncodedResponse> {
      if (events === undefined) return;
      using subscription = events.subscribe();
      for (;;) {
        const event = await subscription.next({ signal });
        if (event === undefined) return;
        const response = encoded.get(event) ?? new EncodedResponse(encode(event));
        encoded.set(event, response);
        yield response;
      }
    },
  };
}

function encode({ type, id, atNanos, sandbox, containers }: PodEvent): Uint8Array {
  return ContainerEventResponse.encode({
    containerId: id,
    containerEventType: TYPES[type],
    createdAt: atNanos,
    podSandboxStatus: sandbox === undefined ? undefined : podSandboxStatus(sandbox),
    containersStatuses: containers.map(containerStatus),
  }).finish();
}
