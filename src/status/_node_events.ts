/** `GET /events`: what happens to pods and containers, as server-sent events. */
import type { ServerResponse } from "node:http";
import type { Logger } from "../base/logger.ts";
import type { ContainerRecord } from "../container/types.ts";
import type { SandboxRecord } from "../sandbox/types.ts";
import { EventClients } from "./_event_clients.ts";
import { exitFields } from "./_node_documents.ts";
import type { NodeView } from "./types.ts";

/** Sends each change of state to all clients: `event: pod` or `event: container`. What was before is in `/pods`. */
export class NodeEvents {
  readonly #clients: EventClients;

  constructor(private readonly deps: { readonly node: NodeView; readonly signal: AbortSignal; readonly log: Logger }) {
    this.#clients = new EventClients({ ...deps, path: "/events", watch: () => this.#start() });
  }

  /** Answers a request with the stream. */
  add(response: ServerResponse): void {
    this.#clients.add(response, () => ": from now on\n\n");
  }

  #start(): Disposable {
    using watches = new DisposableStack();
    const { node } = this.deps;
    const pods = new Map([...node.pods()].map((pod) => [pod.id, pod.spec.metadata]));
    watches.use(node.watchPods((pod, previous) => {
      if (pod !== undefined) pods.set(pod.id, pod.spec.metadata);
      const one = pod ?? previous;
      const type = podChange(pod, previous);
      if (one !== undefined && type !== undefined) this.#send("pod", podEvent(one, type));
      if (pod === undefined && previous !== undefined) pods.delete(previous.id);
    }));
    watches.use(node.watchContainers((container, previous) => {
      const one = container ?? previous;
      const type = containerChange(container, previous);
      if (one === undefined || type === undefined) return;
      const { name: pod = "", namespace = "" } = pods.get(one.sandboxId) ?? {};
      this.#send("container", { ...containerEvent(one, type), pod, namespace });
    }));
    const open = watches.move();
    return { [Symbol.dispose]: () => open.dispose() };
  }

  #send(kind: "pod" | "container", event: Readonly<Record<string, unknown>>): void {
    const data = JSON.stringify({ kind, at: new Date().toISOString(), ...event });
    this.#clients.send(`event: ${kind}\ndata: ${data}\n\n`);
  }
}

function podChange(pod: SandboxRecord | undefined, previous: SandboxRecord | undefined): string | undefined {
  if (pod === undefined) return previous?.state === "creating" ? undefined : "removed";
  if (pod.state === previous?.state) return undefined;
  return { creating: undefined, ready: "created", not_ready: "stopped" }[pod.state];
}

function containerChange(
  container: ContainerRecord | undefined,
  previous: ContainerRecord | undefined,
): string | undefined {
  if (container === undefined) return previous?.state === "creating" ? undefined : "removed";
  if (container.state === previous?.state) return undefined;
  if (container.state === "running" && previous?.state === "paused") return "resumed";
  const names = { creating: undefined, created: "created", running: "started", paused: "paused", exited: "exited" };
  return names[container.state];
}

function podEvent({ id, spec }: SandboxRecord, type: string): Readonly<Record<string, unknown>> {
  const { name, namespace } = spec.metadata;
  return { type, id, pod: name, namespace };
}

function containerEvent(container: ContainerRecord, type: string): Readonly<Record<string, unknown>> {
  const { id, spec, imageName } = container;
  const end = type === "exited" ? exitFields(container) : {};
  return { type, id, name: spec.metadata.name, image: imageName, ...end };
}
