import type { ContainerRecord } from "../container/types.ts";
import type { SandboxRecord } from "../sandbox/types.ts";
import type { DefaultIdMap, NodeInfo } from "./types.ts";

const ALL_IDS: readonly DefaultIdMap[] = [{ containerId: 0, hostId: 0, size: 4_294_967_295 }];

/** The document of `GET /info`. */
export function infoDocument(info: NodeInfo): string {
  return JSON.stringify({
    storage_driver: info.storageDriver,
    storage_image: info.storageImage,
    storage_root: info.storageRoot,
    cgroup_driver: info.cgroupDriver,
    default_id_mappings: { uids: idMaps(info.uidMaps), gids: idMaps(info.gidMaps) },
  });
}

function idMaps(maps: readonly DefaultIdMap[] = ALL_IDS): readonly unknown[] {
  return maps.map(({ containerId, hostId, size }) => ({ container_id: containerId, host_id: hostId, size }));
}

/** The document of `GET /containers/:id` for a container. */
export function containerDocument(
  container: ContainerRecord,
  { sandbox, rootfs }: { readonly sandbox: SandboxRecord; readonly rootfs: string },
): string {
  return withCreatedTime(container.createdAtNanos, {
    name: container.name,
    pid: container.state === "running" || container.state === "paused" || container.state === "created"
      ? container.process?.pid ?? 0
      : 0,
    image: container.imageName,
    image_ref: container.imageRef,
    created_time: 0,
    labels: container.spec.labels,
    annotations: container.spec.annotations,
    crio_annotations: crioAnnotations({
      ContainerID: container.id,
      ContainerName: container.name,
      ContainerType: "container",
      ImageName: container.imageName,
      ImageRef: container.imageRef,
      LogPath: container.logFile,
      SandboxID: sandbox.id,
      SandboxName: sandbox.name,
    }),
    log_path: container.logFile,
    root: rootfs,
    sandbox: sandbox.id,
    ip_addresses: sandbox.ips,
    host_network: hostNetwork(sandbox),
  });
}

/**
 * The document of `GET /containers/:id` for a pod: that of its infra container, real or dropped. cAdvisor reads the pod's
 * network figures through `pid`, of what has the label `io.kubernetes.container.name: POD`.
 */
export function sandboxDocument(sandbox: SandboxRecord, options: { readonly processIn: number }): string {
  return withCreatedTime(sandbox.createdAtNanos, {
    name: sandbox.name.replace(/^k8s_/, "k8s_POD_"),
    pid: sandbox.infra?.pid ?? options.processIn,
    image: "",
    image_ref: "",
    created_time: 0,
    labels: { ...sandbox.spec.labels, "io.kubernetes.container.name": "POD" },
    annotations: sandbox.spec.annotations,
    crio_annotations: crioAnnotations({
      ContainerType: "sandbox",
      HostName: sandbox.hostname,
      Namespace: sandbox.spec.metadata.namespace,
      KubeName: sandbox.spec.metadata.name,
      ResolvPath: sandbox.resolvConf,
      SandboxID: sandbox.id,
      SandboxName: sandbox.name,
      ShmPath: sandbox.shmPath,
    }),
    log_path: sandbox.spec.logDirectory,
    root: "",
    sandbox: sandbox.id,
    ip_addresses: sandbox.ips,
    host_network: hostNetwork(sandbox),
  });
}

function hostNetwork(sandbox: SandboxRecord): boolean {
  return sandbox.spec.security.namespaces.network === "node";
}

function crioAnnotations(entries: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(entries).map(([key, value]) => [`io.kubernetes.cri-o.${key}`, value]));
}

/** Nanoseconds since the epoch do not fit a JavaScript number: the digits are put in as they are. */
function withCreatedTime(nanos: string, fields: Readonly<Record<string, unknown>>): string {
  const digits = /^\d+$/.test(nanos) ? nanos : "0";
  const [before, after] = splitAt(fields, "created_time");
  return `{${[before, `"created_time":${digits}`, after].filter((part) => part !== "").join(",")}}`;
}

function splitAt(fields: Readonly<Record<string, unknown>>, key: string): readonly [string, string] {
  const entries = Object.entries(fields);
  const index = entries.findIndex(([name]) => name === key);
  const inner = (part: ReadonlyArray<[string, unknown]>): string =>
    JSON.stringify(Object.fromEntries(part)).slice(1, -1);
  return [inner(entries.slice(0, index)), inner(entries.slice(index + 1))];
}
