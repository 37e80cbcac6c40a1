import { createServer } from "node:http";
import { openArchives } from "./node/archives.ts";
import { openCheckpoints } from "./node/checkpoints.ts";
import { systemClock } from "./base/clock.ts";
import { DataLossError, FailedPreconditionError, messageOf } from "./base/errors.ts";
import type { IdMaps } from "./base/id_maps.ts";
import type { Logger } from "./base/logger.ts";
import { every } from "./base/periodic.ts";
import type { CgroupDriver } from "./cgroup/paths.ts";
import { CgroupTree } from "./cgroup/tree.ts";
import { AnnotationGate } from "./config/annotation_gate.ts";
import type { LiveConfig } from "./config/live.ts";
import type { Config } from "./config/schema.ts";
import { NodeConfinement } from "./container/confinement.ts";
import { Containers } from "./container/containers.ts";
import { type ContainerExit, ContainerExits } from "./container/exits.ts";
import { openHandlers } from "./container/handlers.ts";
import { NodeCgroups } from "./container/node_cgroups.ts";
import { assignments, nodeDefaults } from "./container/node_defaults.ts";
import { ReachableRoots } from "./container/volumes/reachable_roots.ts";
import { UserNamespaces } from "./sandbox/user_namespaces/user_namespaces.ts";
import { type ArtifactSource, openImageVolumes } from "./container/volumes/image_volumes.ts";
import { NodeProcesses } from "./container/node_processes.ts";
import type { ImageSource } from "./container/ports.ts";
import type { SeccompArtifacts } from "./container/seccomp_artifact.ts";
import { openSeccompNotifiers } from "./container/seccomp_watch.ts";
import { StoreRootfs } from "./container/store_rootfs.ts";
import type { ContainerRecord } from "./container/types.ts";
import { openCpuTuning, openResourceClasses } from "./node/cpu_tuning.ts";
import { criHandlers } from "./cri/handlers.ts";
import { checkStatus } from "./cri/self_check.ts";
import { CriServer } from "./cri/server.ts";
import { openFigures } from "./node/figures.ts";
import { RunningPulls } from "./image/progress/running_pulls.ts";
import { PullClient } from "./image/pull_client.ts";
import { type Host, inspectHost } from "./linux/host.ts";
import { trimMemory } from "./linux/memory.ts";
import { RecordLockFile } from "./linux/record_lock.ts";
import { burstCommand } from "./linux/self.ts";
import { adoptOrphans } from "./linux/spawn.ts";
import { openLibraries } from "./linux/warm_up.ts";
import type { DaemonObserver } from "./metrics/metrics.ts";
import { openMetrics } from "./node/open_metrics.ts";
import { HostPorts } from "./network/host_ports/host_ports.ts";
import { PodNetwork } from "./network/pod_network.ts";
import { OciHooks } from "./oci/hooks/hooks.ts";
import { ExitWatcher, readExit, wasOomKilled } from "./oci/monitor/exits.ts";
import {
  containerOperations,
  nodeOperations,
  openStreaming,
  type Pods,
  statusDeps,
  streamingOperations,
} from "./node/operations.ts";
import { observePods } from "./node/pod_observers.ts";
import { LifeHooks } from "./plugins/hooks.ts";
import { openPlugins } from "./plugins/open.ts";
import {
  type LiveImages,
  reloadClasses,
  reloadConfinement,
  reloadDefaults,
  reloadImages,
  reloadOperations,
  reloadRuntimes,
} from "./node/reload.ts";
import { PauseProcesses } from "./sandbox/infra.ts";
import { NodeMounts } from "./sandbox/node_mounts.ts";
import { NodePins } from "./sandbox/node_pins.ts";
import { openPodLabels } from "./sandbox/pod_labels.ts";
import { Sandboxes } from "./sandbox/sandboxes.ts";
import type { SandboxRecord } from "./sandbox/types.ts";
import type { Service } from "./node/service.ts";
import { CrioSocket } from "./node/socket.ts";
import { RecordStore } from "./state/record_store.ts";
import { CdiRegistry } from "./security/cdi/registry.ts";
import { createStatusHandler } from "./status/handler.ts";
import type { Store } from "./storage/store.ts";
import { openImages } from "./node/open_images.ts";
import { CleanShutdown } from "./node/clean_shutdown.ts";
import { openStore } from "./node/open_store.ts";
import { wipeAtStart, type WipedNode } from "./node/wipe.ts";

/** What the daemon gets besides its configuration. */
export interface DaemonOptions {
  /** Aborts when the daemon is to stop; containers keep running. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** Told when the daemon serves and when it stops. */
  readonly service?: Service;
  /** The configuration that can be reloaded. Absent for commands: theirs stays. */
  readonly live?: LiveConfig;
  /** Does this with the node instead of serving it: for commands. Gives the exit code. */
  readonly instead?: (node: WipedNode) => Promise<number>;
}

/** Requests that run at the end get this long. */
const GRACE_MS = 5000;
/** Monitors write no sign of life: one sweep looks at all of them (FEATURES 1.4). */
const SWEEP_MS = 10_000;
/** Freed memory goes back to the system this long after the last burst of requests. */
const TRIM_AFTER_MS = 2000;
const GARBAGE_LIMIT_MS = 120_000;
const RUN_LIMIT_MS = 300_000;
/** Containers of a pod that is stopped get this long, when nobody stopped them before (FEATURES 1.4). */
const STOP_MS = 10_000;
/** Requests that make a burst. */
const BURST_CALLS = 100;
/** Where every kubelet keeps the volumes of its pods, unless its --root-dir says otherwise. */
const KUBELET_PODS = "/var/lib/kubelet/pods";
const SHM_BYTES = 64 * 1024 * 1024;
const DEFAULT_GRAPH_ROOT = "/var/lib/containers/storage";
const DEFAULT_CNI_CACHE = "/var/lib/cni";

/** Directories that are not options of their own. */
interface Places {
  readonly records: string;
  readonly sandboxes: string;
  readonly runtime: string;
  /** Beside the exit files, where tools look for it. */
  readonly imageVolumes: string;
  /** What the root users of user namespaces have to reach. */
  readonly userRoots: string;
  readonly cniCache: string;
}

/**
 * Builds the daemon from its configuration and runs it until the signal aborts. This is the only file that knows all
 * parts; it decides nothing but what belongs together.
 */
export async function runDaemon(config: Config, options: DaemonOptions): Promise<number> {
  const { log, signal, service, live } = options;
  await using stack = new AsyncDisposableStack();
  const [host, places] = await Promise.all([inspectHost(), makePlaces(config)]);
  stack.use(holdLock(`${places.records}/lock`));
  // CRI-O on the same roots knows no lock of ours: what it runs must not be taken for leftovers.
  await CrioSocket.check(config.api.listen);
  // What an exec or a killed monitor leaves behind is reaped at once; PID 1 may take its time.
  stack.use(adoptOrphans());
  const { cleanShutdownFile: path, root, imageStore } = config.crio;
  const roots = [root, imageStore].filter((one) => one !== "");
  const shutdown = stack.use(await CleanShutdown.begin({ path, roots, log }));
  const { wasUnclean } = shutdown;
  const store = stack.use(await openStore(config, { log, host, wasUnclean, signal }));
  const users: { inUse: (imageId: string) => boolean } = { inUse: () => false };
  const metrics = await openMetrics(config, { stack, log });
  const puller = stack.use(
    new PullClient({
      ...{ command: burstCommand, log, environment: Deno.env.toObject() },
      observer: metrics.pullProcesses,
    }),
  );
  const pulls = new RunningPulls({
    progressTimeoutMs: config.image.pullProgressTimeoutMs,
    observer: metrics.images,
  });
  const archives = await openArchives(config, {
    ...{ store, puller, pulls, log },
    recordsFile: `${places.records}/archives.json`,
  });
  const imageDeps = { store, puller, pulls, log, ...archives, inUse: (id: string): boolean => users.inUse(id) };
  const images = stack.use(await openImages(config, imageDeps));
  const hooks = config.nri.enableNri ? new LifeHooks(log) : undefined;
  const pods = await buildPods(config, { log, host, store, places, images, metrics, hooks, live });
  users.inUse = (id): boolean => pods.containers.usesImage(id);
  stack.use(pods.network);
  await pods.network.start(signal);
  await restore(pods);
  const node = { pods, store, images };
  if (options.instead !== undefined) return await options.instead(node);
  stack.use(await wipeAtStart(config, node, { log, signal }));
  if (hooks !== undefined) stack.use(await openPlugins(config, { ...pods, hooks, log }));
  stack.use(await watchExits(pods, config, log));
  stack.use(every(SWEEP_MS, () => sweepPods(pods), log));
  collectGarbage(pods, { log, signal });

  const { events } = stack.use(observePods(config, pods, { metrics: metrics.containers, log, signal }));
  const trimmer = stack.use(new MemoryTrimmer());
  const streaming = stack.use(await openStreaming(config, pods, log));
  const figures = stack.use(await openFigures(config, { pods, host, store, log }));
  const cri = new CriServer(
    criHandlers({
      ...pods,
      containers: containerOperations(pods),
      images,
      node: nodeOperations(config, pods),
      ...figures,
      streaming: streamingOperations(streaming, pods),
      ...(events === undefined ? {} : { events }),
    }),
    { maxReceiveBytes: config.api.grpcMaxRecvMsgSizeBytes, maxSendBytes: config.api.grpcMaxSendMsgSizeBytes },
    {
      log,
      metrics: {
        observe: (operation, durationMs, failed): void => {
          metrics.observe(operation, durationMs, failed);
          trimmer.touch();
        },
      },
    },
  );
  const http = createServer(
    createStatusHandler({
      ...statusDeps(config, pods, { images, stats: figures.stats }),
      ...{ log, signal, pulls, archives, ...reloadOperations(live) },
    }),
  );
  const socket = await CrioSocket.listen({ listen: config.api.listen }, { grpc: cri, http }, log);
  openLibraries();
  if (!host.capabilities.effective.includes("CAP_SYS_RESOURCE")) {
    log.warn(`without CAP_SYS_RESOURCE: oom_score_adj below ${host.oomScoreAdj} is raised to it for all containers`);
  }
  stack.use(archives.start(signal));
  log.info("Listening", { socket: socket.path });
  live?.open();
  service?.ready(`Serving on ${socket.path}`);
  service?.watch((limit) => checkStatus(socket.path, limit));
  await aborted(signal);
  service?.stopping();
  await socket.close({ graceMs: GRACE_MS });
  shutdown.finish();
  log.info("Stopped; containers keep running");
  return 0;
}

async function makePlaces(config: Config): Promise<Places> {
  const { root, runRoot } = config.crio;
  const places = {
    records: `${root}/crio`,
    sandboxes: `${runRoot}/crio/sandboxes`,
    runtime: `${runRoot}/crio/runtime`,
    imageVolumes: `${config.runtime.containerExitsDir.replace(/\/[^/]*\/*$/, "")}/image-volumes`,
    userRoots: `${config.runtime.containerExitsDir.replace(/\/[^/]*\/*$/, "")}/user-roots`,
    // A second daemon on other roots must not take the first one's attachments for garbage.
    cniCache: root === DEFAULT_GRAPH_ROOT ? DEFAULT_CNI_CACHE : `${root}/crio/cni`,
  };
  const { containerExitsDir, containerAttachSocketDir, namespacesDir } = config.runtime;
  const directories = [...Object.values(places), containerExitsDir, containerAttachSocketDir, namespacesDir];
  await Promise.all(directories.map((path) => Deno.mkdir(path, { recursive: true, mode: 0o700 })));
  return places;
}

/** Two daemons on the same records would each take the other's containers for leftovers. */
function holdLock(path: string): Disposable {
  const lock = RecordLockFile.open(path);
  if (lock.tryLock("write")) return lock;
  lock[Symbol.dispose]();
  throw new FailedPreconditionError(`another crio uses ${path}: stop it, or choose another root`);
}

async function buildPods(
  config: Config,
  deps: {
    log: Logger;
    host: Host;
    store: Store;
    places: Places;
    images: ImageSource & LiveImages & ArtifactSource & SeccompArtifacts;
    metrics: DaemonObserver;
    hooks: LifeHooks | undefined;
    live: LiveConfig | undefined;
  },
): Promise<Pods> {
  const { log, host, store, places, images, hooks, live } = deps;
  const stalled = (stage: string): void => deps.metrics.containers.stalled(stage);
  const staged = (stage: string, elapsedMs: number): void => deps.metrics.containers.staged(stage, elapsedMs);
  const plugins = hooks === undefined ? {} : { plugins: hooks, updateHooks: hooks };
  const driver = config.runtime.cgroupManager as CgroupDriver;
  const tree = new CgroupTree(host.cgroup);
  const [containerRecords, sandboxRecords, runtimes, checkpoints] = await Promise.all([
    openRecords<ContainerRecord>(`${places.records}/containers`, "container", log),
    openRecords<SandboxRecord>(`${places.records}/sandboxes`, "sandbox", log),
    openHandlers({ config, host, tree, directory: places.runtime, log }),
    openCheckpoints(config, `${places.records}/checkpoints`),
  ]);
  const confinement = await NodeConfinement.open({ config, host, log });
  const selinux = await openPodLabels({ config, host, records: sandboxRecords });
  const seccompNotifiers = openSeccompNotifiers({
    records: containerRecords,
    listen: config.api.listen,
    log,
    count: (name, syscall) => deps.metrics.containers.seccompNotified(name, syscall),
    stop: (id, options) => containers.stop(id, options),
  });
  const node = nodeDefaults(config, host);
  const cgroups = new NodeCgroups(driver, tree);
  const processes = new NodeProcesses();
  const annotations = new AnnotationGate(config);
  const imageVolumes = openImageVolumes(places.imageVolumes, {
    ...{ store, images, artifacts: images, records: containerRecords, log },
    mountsArtifacts: config.image.ociArtifactMountSupport,
  });
  const exits = new ContainerExits({ records: containerRecords, log });
  const performance = await openCpuTuning(config, host, { records: containerRecords, exits, log });
  const classes = await openResourceClasses(config, { log });
  const reachable = new ReachableRoots(`${places.userRoots}/containers`, log);
  const containers = new Containers({
    records: containerRecords,
    exits,
    performance,
    classes,
    ...plugins,
    images,
    rootfs: new StoreRootfs(store),
    runtimes,
    checkpoints,
    cgroups,
    processes,
    node,
    confinement,
    hooks: new OciHooks(config.runtime, log),
    imageVolumes,
    seccompArtifacts: images,
    ...(selinux === undefined ? {} : { selinux }),
    seccompNotifiers,
    reachable,
    annotations,
    cdi: new CdiRegistry({ source: config.runtime, log }),
    clock: systemClock,
    log,
    readExit: (record) => exitOf(record, config),
    exitsDirectory: config.runtime.containerExitsDir,
    monitorLost: (name) => deps.metrics.containers.monitorLost(name),
    ...{ stalled, staged },
  });
  const { cniDefaultNetwork, networkDir, pluginDirs, cniStatusGracePeriodMs } = config.network;
  const network = new PodNetwork({
    configDir: networkDir,
    pluginDirs,
    cacheDir: places.cniCache,
    statusGracePeriodMs: cniStatusGracePeriodMs,
    logger: log,
    ...(cniDefaultNetwork === "" ? {} : { defaultNetwork: cniDefaultNetwork }),
  }, hostPortsOf(config, places, log));
  const sandboxes = new Sandboxes({
    ...(hooks === undefined ? {} : {
      plugins: hooks.pods,
      vetResources: (record, change, call) => hooks.vetPodResources(record, change, call),
    }),
    records: sandboxRecords,
    containers,
    network,
    namespaces: new NodePins(config.runtime.namespacesDir),
    userNamespaces: new UserNamespaces({
      config: config.runtime,
      used: () => usedIdMaps(sandboxRecords, store),
    }),
    infra: new PauseProcesses({
      rootDirectory: `${places.runtime}/infra-root`,
      reachable: new ReachableRoots(`${places.userRoots}/pods`, log),
      minOomScoreAdj: node.minOomScoreAdj,
      cpuset: () => config.runtime.infraCtrCpuset,
      runtimeOf: (handler) => runtimes.find(handler),
      cgroupsPath: (parent, id) => cgroups.containerPath(parent, id),
      removeCgroup: (parent, id) => cgroups.remove(parent, id),
      isAlive: (process) => processes.isAlive(process),
      confinement,
    }),
    ...(selinux === undefined ? {} : { selinux }),
    mounts: new NodeMounts(),
    cgroups,
    killNaming: (id) => processes.killNaming(id),
    clock: systemClock,
    log,
    runDirectory: places.sandboxes,
    annotations,
    logDirectory: () => config.crio.logDir,
    resolveHandler: (name) => runtimes.effectiveName(name),
    defaultSysctls: () => assignments(config.runtime.defaultSysctls),
    shmSizeBytes: SHM_BYTES,
    kubeletPods: KUBELET_PODS,
    stopTimeoutMs: STOP_MS,
    runLimitMs: RUN_LIMIT_MS,
    ...{ stalled, staged },
  });
  deps.metrics.defaultRuntime(runtimes.defaultName);
  if (live !== undefined) {
    const users = (): Iterable<
      { runtimeHandler: string }
    > => [...containerRecords.values(), ...sandboxRecords.values()];
    const directory = places.runtime;
    live.join(reloadRuntimes({ config, host, tree, directory, log, runtimes, metrics: deps.metrics, users }));
    live.join(reloadDefaults(node, host));
    live.join(reloadConfinement(confinement));
    live.join(reloadClasses(classes, log));
    live.join(reloadImages(images));
  }
  return { containers, sandboxes, records: containerRecords, sandboxRecords, network, runtimes };
}

/** Ids that pods have, and containers of other programs in the same store. */
async function usedIdMaps(sandboxes: RecordStore<SandboxRecord>, store: Store): Promise<IdMaps[]> {
  const others = (await store.containers()).map(({ idMaps }) => idMaps);
  const pods = [...sandboxes.values()].map(({ userMaps }) => userMaps);
  return [...pods, ...others].filter((maps) => maps !== undefined);
}

/** Daemons on other roots than the usual ones keep their rules apart. */
function hostPortsOf({ runtime }: Config, { cniCache }: Places, logger: Logger): { hostPorts?: HostPorts } {
  if (runtime.disableHostportMapping) return {};
  return { hostPorts: new HostPorts({ instance: cniCache === DEFAULT_CNI_CACHE ? "" : cniCache, logger }) };
}

async function openRecords<R extends { version: number; id: string; name: string; createdAtNanos: string }>(
  directory: string,
  what: string,
  log: Logger,
): Promise<RecordStore<R>> {
  const parse = (json: unknown): R => {
    const record = json as R;
    if (record.version !== 1) throw new DataLossError(`record version ${record.version} is not known here`);
    return record;
  };
  const compare = (a: R, b: R): number => Number(BigInt(a.createdAtNanos) - BigInt(b.createdAtNanos));
  return await RecordStore.open<R>({ directory, what, log, parse, compare });
}

/** Containers first: a pod that has to be taken down must not have containers that still count as running. */
async function restore({ containers, sandboxes }: Pods): Promise<void> {
  await containers.restore();
  await sandboxes.restore();
}

/** Looks for what nobody tells of: dead monitors, and pods and containers whose clean-up failed. */
async function sweepPods({ containers, sandboxes }: Pods): Promise<void> {
  await containers.sweepMonitors();
  await sandboxes.restore();
  await containers.retryCleanups();
  await sandboxes.retryCleanups();
}

async function exitOf(record: ContainerRecord, config: Config): Promise<ContainerExit | undefined> {
  const exit = await readExit(config.runtime.containerExitsDir, record.id);
  return exit === undefined ? undefined : { ...exit, oomKilled: await wasOomKilled(record.directory) };
}

async function watchExits(pods: Pods, config: Config, log: Logger): Promise<AsyncDisposable> {
  const onExit = (exit: Omit<ContainerExit, "oomKilled">): void => {
    const record = pods.records.get(exit.id);
    if (record === undefined || record.state === "exited") return;
    wasOomKilled(record.directory)
      .then((oomKilled) => pods.containers.handleExit({ ...exit, oomKilled }))
      .catch((error) => log.error(`exit could not be recorded: ${messageOf(error)}`, { container: exit.id }));
  };
  return await ExitWatcher.start({ directory: config.runtime.containerExitsDir, log, onExit });
}

/** What a crash left of pods and networks goes in the background; no request waits for it. */
function collectGarbage(pods: Pods, { log, signal }: { log: Logger; signal: AbortSignal }): void {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(GARBAGE_LIMIT_MS)]);
  const collect = async (): Promise<void> => {
    await pods.sandboxes.retryCleanups();
    const valid = new Set([...pods.sandboxes.list()].map((record) => record.id as string));
    await pods.network.collectGarbage(valid, { signal: limit });
  };
  collect().catch((error) => {
    if (!signal.aborted) log.warn(`network garbage collection failed: ${messageOf(error)}`);
  });
}

/** Gives freed memory back to the system once a burst of requests is over. */
class MemoryTrimmer implements Disposable {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #calls = 0;

  /** One request has ended. */
  touch(): void {
    this.#calls += 1;
    if (this.#timer !== undefined || this.#calls < BURST_CALLS) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#calls = 0;
      trimMemory();
    }, TRIM_AFTER_MS);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
