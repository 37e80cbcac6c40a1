/** `GET /pods`, `/images` and `/stats`: what there is on the node, and what it uses. */
import type { ContainerRecord } from "../container/types.ts";
import type { SandboxStats } from "../sandbox/stats.ts";
import type { SandboxRecord } from "../sandbox/types.ts";
import type { NodeView } from "./types.ts";

type Document = Readonly<Record<string, unknown>>;

/** Pods with their containers, oldest first. */
export function podsDocument(node: NodeView): Document {
  const containers = Map.groupBy(node.containers(), ({ sandboxId }) => sandboxId);
  return { pods: [...node.pods()].map((pod) => podDocument(pod, containers.get(pod.id) ?? [])) };
}

function podDocument(pod: SandboxRecord, containers: readonly ContainerRecord[]): Document {
  const { metadata, security } = pod.spec;
  return {
    id: pod.id,
    ...metadata,
    state: pod.state,
    created_at: time(pod.createdAtNanos),
    ip_addresses: pod.ips,
    host_network: security.namespaces.network === "node",
    runtime_handler: pod.runtimeHandler,
    cgroup_parent: pod.cgroupParent,
    containers: containers.map(containerEntry),
  };
}

function containerEntry(container: ContainerRecord): Document {
  const { id, spec, state, process, exitCode, message } = container;
  return {
    id,
    name: spec.metadata.name,
    attempt: spec.metadata.attempt,
    state,
    image: container.imageName,
    image_ref: container.imageRef,
    created_at: time(container.createdAtNanos),
    ...(container.startedAtNanos === "0" ? {} : { started_at: time(container.startedAtNanos) }),
    ...(state === "exited" ? exitFields(container) : { pid: process?.pid ?? 0 }),
    ...(exitCode === 0 && message === "" ? {} : { message }),
  };
}

/** How a container ended. */
export function exitFields(container: ContainerRecord): Document {
  const { finishedAtNanos, exitCode, oomKilled, seccompKilled } = container;
  return {
    finished_at: time(finishedAtNanos),
    exit_code: exitCode,
    ...(oomKilled ? { oom_killed: true } : {}),
    ...(seccompKilled ? { seccomp_killed: true } : {}),
  };
}

/** All images and artifacts. */
export async function imagesDocument(node: NodeView, signal: AbortSignal): Promise<Document> {
  const images = await node.images({ signal });
  return {
    images: [...images].map(({ id, repoTags, repoDigests, sizeBytes, pinned }) => ({
      id,
      names: repoTags,
      digests: repoDigests,
      size: sizeBytes,
      pinned,
      in_use: node.usesImage(id),
    })),
  };
}

/** What ready pods use; counters only grow, so that a client makes rates of two answers. */
export async function statsDocument(node: NodeView, signal: AbortSignal): Promise<Document> {
  const pods = await node.figures({ signal });
  return { at: new Date().toISOString(), cpus: navigator.hardwareConcurrency, pods: pods.map(figuresOf) };
}

function figuresOf({ record, cgroup, network, containers }: SandboxStats): Document {
  const interfaces = network?.interfaces ?? [];
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  return {
    id: record.id,
    name: record.spec.metadata.name,
    namespace: record.spec.metadata.namespace,
    containers: containers.length,
    // Exact for a hundred days of CPU time, and close enough later.
    at_nanoseconds: Number(cgroup?.atNanos ?? 0n),
    cpu_nanoseconds: Number(cgroup?.cpu?.usageNanos ?? 0n),
    memory_working_set: cgroup?.memory?.workingSetBytes ?? 0,
    memory_usage: cgroup?.memory?.usageBytes ?? 0,
    processes: cgroup?.pids?.current ?? 0,
    ...(network === undefined ? {} : {
      network: {
        at_nanoseconds: Number(network.atNanos),
        rx_bytes: sum(interfaces.map(({ rxBytes }) => rxBytes)),
        tx_bytes: sum(interfaces.map(({ txBytes }) => txBytes)),
      },
    }),
  };
}

/** RFC 3339 of nanoseconds since the epoch. */
export function time(nanos: string): string {
  return new Date(Number(BigInt(nanos) / 1_000_000n)).toISOString();
}
