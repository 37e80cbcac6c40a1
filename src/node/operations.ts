/**
 * What `cri/`, `status/` and `streaming/` ask of the daemon, answered by its parts: nothing here decides anything.
 *
 * @module
 */
import type { Logger } from "../base/logger.ts";
import { VERSION } from "../base/version.ts";
import type { CgroupDriver } from "../cgroup/paths.ts";
import type { Config } from "../config/schema.ts";
import type { Containers } from "../container/containers.ts";
import type { NodeRuntimes } from "../container/runtime_table.ts";
import type { ContainerRecord } from "../container/types.ts";
import type {
  ContainerOperations,
  ImageOperations,
  NodeOperations,
  StatsOperations,
  StreamingOperations,
} from "../cri/operations.ts";
import type { PodNetwork } from "../network/pod_network.ts";
import { checkForward, forwardPort } from "../sandbox/port_forward.ts";
import type { Sandboxes } from "../sandbox/sandboxes.ts";
import type { SandboxRecord } from "../sandbox/types.ts";
import type { RecordStore } from "../state/record_store.ts";
import type { StatusDeps } from "../status/types.ts";
import { StreamingServer } from "../streaming/server.ts";

/** Pods and containers with what they stand on. */
export interface Pods {
  readonly containers: Containers;
  readonly sandboxes: Sandboxes;
  readonly records: RecordStore<ContainerRecord>;
  readonly sandboxRecords: RecordStore<SandboxRecord>;
  readonly network: PodNetwork;
  readonly runtimes: NodeRuntimes;
}

/** Containers as the CRI's handlers see them. */
export function containerOperations({ containers, sandboxes }: Pods): ContainerOperations {
  return {
    create: ({ sandbox, spec }, call) => containers.create(sandboxes.contextOf(sandbox), spec, call),
    start: (id, call) => containers.start(id, call),
    stop: (id, call) => containers.stop(id, call),
    remove: (id, call) => containers.remove(id, call),
    updateResources: (id, limits, call) => containers.updateResources(id, limits, call),
    find: (id) => containers.find(id),
    list: () => containers.list(),
    execSync: (id, call) => containers.execSync(id, call),
    reopenLog: (id, call) => containers.reopenLog(id, call),
    checkpoint: (id, request) => containers.checkpoint(id, request),
    runtimeSpec: (record) => containers.runtimeSpec(record),
  };
}

/** The node itself. */
export function nodeOperations(config: Config, { network, runtimes }: Pods): NodeOperations {
  return {
    version: VERSION,
    cgroupDriver: config.runtime.cgroupManager as CgroupDriver,
    networkProblem: (): string | undefined => {
      const status = network.status();
      return status.ready ? undefined : status.message;
    },
    handlers: () => ({
      default: runtimes.defaultName,
      all: runtimes.names().map((name) => {
        const { recursiveReadOnly, userNamespaces } = runtimes.find(name).features;
        return { name, recursiveReadOnlyMounts: recursiveReadOnly, userNamespaces };
      }),
    }),
    verboseConfig: () => ({ sandboxImage: config.image.pauseImage, runtime: config.runtime }),
  };
}

/** The streaming server, which answers by the containers and pods of this node. */
export async function openStreaming(
  { api }: Config,
  { containers, sandboxes }: Pods,
  log: Logger,
): Promise<StreamingServer> {
  const tls = {
    certFile: api.streamTlsCert,
    keyFile: api.streamTlsKey,
    caFile: api.streamTlsCa,
    minVersion: api.tlsMinVersion === "VersionTLS13" ? "TLSv1.3" as const : "TLSv1.2" as const,
  };
  if (api.tlsCipherSuites.length > 0) {
    log.warn("tls_cipher_suites has no effect: only suites with forward secrecy are offered; see tls_min_version");
  }
  return await StreamingServer.listen({
    address: api.streamAddress,
    port: Number(api.streamPort),
    idleTimeoutMs: api.streamIdleTimeoutMs,
    ...(api.streamEnableTls ? { tls } : {}),
  }, {
    log,
    handlers: {
      exec: ({ containerId, command }, streams) => containers.execStream(containerId, command, streams),
      attach: ({ containerId }, streams) => containers.attach(containerId, streams),
      portForward: ({ sandboxId, port }, client, { signal }) =>
        forwardPort(sandboxes.require(sandboxId), client, { port, signal }),
    },
  });
}

/** URLs for exec, attach and port-forward, after the checks that need no connection. */
export function streamingOperations(
  streaming: StreamingServer,
  { containers, sandboxes }: Pods,
): StreamingOperations {
  return {
    exec: (request) =>
      streaming.execUrl({ ...request, containerId: containers.requireForExec(request.containerId).id }),
    attach: (request) =>
      streaming.attachUrl({ ...request, containerId: containers.requireForAttach(request.containerId).id }),
    portForward: (request): string => {
      const record = sandboxes.require(request.sandboxId);
      checkForward(record);
      return streaming.portForwardUrl({ ...request, sandboxId: record.id });
    },
  };
}

/** What the HTTP API on the socket tells and does. */
export function statusDeps(
  config: Config,
  { containers, sandboxes, records, sandboxRecords }: Pods,
  { images, stats }: { readonly images: Pick<ImageOperations, "list">; readonly stats: StatsOperations },
): Omit<StatusDeps, "configToml" | "reload" | "pulls" | "archives" | "signal"> {
  return {
    node: {
      images: (call) => images.list(call),
      figures: (call) => stats.sandboxes.list(sandboxes.list(), call),
      pods: () => sandboxes.list(),
      containers: () => containers.list(),
      usesImage: (id) => containers.usesImage(id),
      watchPods: (changed) => sandboxRecords.subscribe(changed),
      watchContainers: (changed) => records.subscribe(changed),
    },
    findContainer: (id) => containers.findKnown(id),
    findSandbox: (id) => sandboxes.findKnown(id),
    rootOf: (container) => containers.rootOf(container),
    processIn: (sandboxId) => containers.processIn(sandboxId),
    pause: (id, call) => containers.pause(id, call),
    unpause: (id, call) => containers.resume(id, call),
    info: () => ({
      storageDriver: "overlay",
      storageRoot: config.crio.root,
      storageImage: config.crio.imageStore,
      cgroupDriver: config.runtime.cgroupManager,
    }),
    debug: () => ({
      containers: [...containers.list()].length,
      sandboxes: [...sandboxes.list()].length,
      running: [...containers.stages(), ...sandboxes.stages()],
    }),
  };
}
