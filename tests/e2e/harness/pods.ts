import {
  ContainerConfig,
  ContainerMetadata,
  ImageSpec,
  LinuxContainerConfig,
  LinuxPodSandboxConfig,
  LinuxSandboxSecurityContext,
  NamespaceMode,
  NamespaceOption,
  PodSandboxConfig,
  PodSandboxMetadata,
} from "../../../src/cri/gen/api.ts";
import { type CriClient, message } from "./cri_client.ts";

/** What a test wants of a pod. */
export interface PodWish {
  readonly name: string;
  readonly namespace?: string;
  readonly logDirectory: string;
  readonly cgroupParent: string;
  /** Default: a network of its own. */
  readonly hostNetwork?: boolean;
  readonly labels?: Readonly<Record<string, string>>;
}

/** What a test wants of a container. */
export interface ContainerWish {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  /** The pod that it is for: clients find its name in the labels. */
  readonly pod?: PodSandboxConfig;
}

/** Ends at once on SIGTERM, also as the first process of its PID namespace. */
export const SLEEPER = ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"];

/** A pod as the kubelet describes one. */
export function podConfig(wish: PodWish): PodSandboxConfig {
  const network = wish.hostNetwork === true ? NamespaceMode.NODE : NamespaceMode.POD;
  const namespaceOptions = message(NamespaceOption, { network, pid: NamespaceMode.CONTAINER });
  const { name, namespace = "default" } = wish;
  const uid = crypto.randomUUID();
  const kubelet = {
    "io.kubernetes.pod.name": name,
    "io.kubernetes.pod.namespace": namespace,
    "io.kubernetes.pod.uid": uid,
  };
  return message(PodSandboxConfig, {
    metadata: message(PodSandboxMetadata, { name, namespace, uid }),
    hostname: wish.hostNetwork === true ? "" : wish.name,
    logDirectory: `${wish.logDirectory}/${wish.name}`,
    labels: new Map(Object.entries({ ...kubelet, ...wish.labels })),
    linux: message(LinuxPodSandboxConfig, {
      cgroupParent: wish.cgroupParent,
      securityContext: message(LinuxSandboxSecurityContext, { namespaceOptions }),
    }),
  });
}

/** A container as the kubelet describes one; its log is `<name>/0.log` below the pod's log directory. */
export function containerConfig(wish: ContainerWish): ContainerConfig {
  return message(ContainerConfig, {
    metadata: message(ContainerMetadata, { name: wish.name }),
    image: message(ImageSpec, { image: wish.image }),
    command: [...wish.command],
    labels: new Map([["io.kubernetes.container.name", wish.name], ...(wish.pod?.labels ?? [])]),
    logPath: `${wish.name}/0.log`,
    linux: message(LinuxContainerConfig, {}),
  });
}

/** A pod with one running container. */
export interface RunningPod {
  readonly podSandboxId: string;
  readonly containerId: string;
  readonly config: PodSandboxConfig;
}

/** RunPodSandbox, CreateContainer, StartContainer. */
export async function startPod(
  client: CriClient,
  options: { pod: PodWish; container: ContainerWish },
): Promise<RunningPod> {
  const config = podConfig(options.pod);
  // The kubelet makes the container's directory below the pod's log directory.
  await Deno.mkdir(`${config.logDirectory}/${options.container.name}`, { recursive: true });
  const { podSandboxId } = await client.call("runPodSandbox", { config });
  const { containerId } = await client.call("createContainer", {
    podSandboxId,
    config: containerConfig({ ...options.container, pod: config }),
    sandboxConfig: config,
  });
  await client.call("startContainer", { containerId });
  return { podSandboxId, containerId, config };
}

/** StopPodSandbox, RemovePodSandbox. */
export async function removePod(client: CriClient, podSandboxId: string): Promise<void> {
  await client.call("stopPodSandbox", { podSandboxId });
  await client.call("removePodSandbox", { podSandboxId });
}

/** Removes every pod that the daemon knows, a few at a time. */
export async function removeAllPods(client: CriClient): Promise<void> {
  const { items } = await client.call("listPodSandbox", {});
  const queue = items.map((item) => item.id);
  const worker = async (): Promise<void> => {
    for (let id = queue.pop(); id !== undefined; id = queue.pop()) await removePod(client, id);
  };
  const WORKERS = 4;
  await Promise.all(Array.from({ length: WORKERS }, worker));
}
