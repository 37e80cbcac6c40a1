/** How `crio status` shows pods, containers and images. */
import { age, decimalSize, tableLines } from "./table.ts";

const SHORT_ID = 13;

/** As `GET /pods` gives them. */
export interface PodEntry {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly attempt: number;
  readonly state: string;
  readonly created_at: string;
  readonly ip_addresses: readonly string[];
  readonly host_network: boolean;
  readonly containers: readonly ContainerEntry[];
}

/** A container of a {@link PodEntry}. */
export interface ContainerEntry {
  readonly id: string;
  readonly name: string;
  readonly attempt: number;
  readonly state: string;
  readonly image: string;
  readonly created_at: string;
  readonly exit_code?: number;
  readonly oom_killed?: boolean;
}

/** As `GET /images` gives them. */
export interface ImageEntry {
  readonly id: string;
  readonly names: readonly string[];
  readonly digests: readonly string[];
  readonly size: number;
  readonly pinned: boolean;
  readonly in_use: boolean;
}

/** One line for each pod, oldest first. */
export function podLines(pods: readonly PodEntry[], nowMs: number): string[] {
  const columns = ["POD ID", "NAMESPACE", "NAME", "STATE", "AGE", "RUNNING", "IP"].map((title) => ({ title }));
  return tableLines(
    columns,
    pods.map((pod) => [
      pod.id.slice(0, SHORT_ID),
      pod.namespace,
      pod.name,
      pod.state,
      age(pod.created_at, nowMs),
      `${pod.containers.filter(({ state }) => state === "running").length}/${pod.containers.length}`,
      pod.host_network ? "host" : pod.ip_addresses.join(","),
    ]),
  );
}

/** One line for each container, by pod. */
export function containerLines(pods: readonly PodEntry[], nowMs: number): string[] {
  const titles = ["CONTAINER ID", "NAME", "ATTEMPT", "STATE", "AGE", "IMAGE", "POD"];
  return tableLines(
    titles.map((title) => ({ title })),
    pods.flatMap((pod) =>
      pod.containers.map((container) => [
        container.id.slice(0, SHORT_ID),
        container.name,
        String(container.attempt),
        stateOf(container),
        age(container.created_at, nowMs),
        container.image,
        `${pod.namespace}/${pod.name}`,
      ])
    ),
  );
}

/** One line for each name of an image. */
export function imageLines(images: readonly ImageEntry[]): string[] {
  return tableLines(
    [{ title: "IMAGE" }, { title: "IMAGE ID" }, { title: "SIZE", right: true }, { title: "NOTES" }],
    images.flatMap(({ id, names, digests, size, pinned, in_use }) => {
      const shown = names.length > 0 ? names : digests.length > 0 ? digests : ["<none>"];
      const notes = [...(in_use ? ["in use"] : []), ...(pinned ? ["pinned"] : [])].join(", ");
      return shown.map((name) => [name, id.slice(0, SHORT_ID), decimalSize(size), notes]);
    }),
  );
}

function stateOf({ state, exit_code: code, oom_killed: oom }: ContainerEntry): string {
  if (state !== "exited") return state;
  return oom === true ? `exited (${code}, out of memory)` : `exited (${code})`;
}
