import { type Clock, systemClock } from "../base/clock.ts";
import { InvalidArgumentError, messageOf, UnavailableError } from "../base/errors.ts";
import { abortable } from "../base/keyed_mutex.ts";
import type { Logger } from "../base/logger.ts";
import { commandResult, DEFAULT_PATH } from "../linux/command.ts";
import { isNamespacePinned } from "../linux/namespaces.ts";
import { AttachmentCache, type CachedAttachment } from "./attachment_cache.ts";
import { capabilityArgs, podArgs, wantsCapability } from "./capability_args.ts";
import type { HostPorts } from "./host_ports/host_ports.ts";
import { PodPorts } from "./host_ports/pod_ports.ts";
import { NetworkMonitor } from "./network_monitor.ts";
import { PluginChain } from "./plugin_chain.ts";
import { PluginRunner, type RunCommand } from "./plugin_runner.ts";
import { parseResult, podAddresses } from "./result.ts";
import type { Attachment, CniResult, NetworkConfig, NetworkStatus, PodIdentity, PodNetworkRequest } from "./types.ts";

/** The interface that Kubernetes expects in a pod. */
const POD_INTERFACE = "eth0";
/**
 * Plugin processes at one time: one more than there are processors. More only contend for the kernel's RTNL lock and for
 * xtables.lock: with 8 pods at once on 2 processors, 3 instead of 8 made pods run 25 % sooner and 9 % more of them.
 */
const DEFAULT_MAX_PARALLEL = navigator.hardwareConcurrency + 1;

/** Time for taking back what cannot be kept. */
const UNDO_TIMEOUT_MS = 60_000;

export interface PodNetworkOptions {
  readonly configDir: string;
  readonly pluginDirs: readonly string[];
  /** libcni's cache directory; `results` is below it. Usually /var/lib/cni. */
  readonly cacheDir: string;
  /** Name of the network for pods. Default: the first one by file name. */
  readonly defaultNetwork?: string;
  /** How long a failing STATUS is tolerated once the network was ready; above 0 it is asked every 5 s. Default 0. */
  readonly statusGracePeriodMs?: number;
  /** Environment of the plugins. Default: PATH only. */
  readonly env?: Readonly<Record<string, string>>;
  readonly maxParallel?: number;
  readonly logger: Logger;
}

/** The world outside; each has the real one as default. */
export interface PodNetworkDeps {
  readonly run?: RunCommand;
  readonly clock?: Clock;
  /** Whether a network namespace is at this path. */
  readonly isNamespace?: (path: string) => boolean;
  /** Maps host ports where the network has no plugin for them. Absent: nobody does. */
  readonly hostPorts?: HostPorts;
}

/**
 * Attaches pods to the node's CNI network.
 *
 * Life: `start` reads the configuration and watches it until its signal aborts or the object is disposed; `attach` and
 * `detach` may run for many pods at a time, for one pod only one after the other. Every attachment is on disk before
 * its first plugin runs, so a daemon that is killed at any point leaves nothing that {@link detach} or
 * {@link collectGarbage} would not find.
 */
export class PodNetwork implements AsyncDisposable {
  readonly #options: PodNetworkOptions;
  readonly #runner: PluginRunner;
  readonly #chain: PluginChain;
  readonly #cache: AttachmentCache;
  readonly #monitor: NetworkMonitor;
  readonly #isNamespace: (path: string) => boolean;
  readonly #ports: PodPorts;
  /** Pods attached, or being attached, by this process: never garbage. */
  readonly #live = new Set<string>();

  constructor(options: PodNetworkOptions, deps: PodNetworkDeps = {}) {
    const { pluginDirs, env = { PATH: DEFAULT_PATH }, maxParallel = DEFAULT_MAX_PARALLEL } = options;
    const { run = commandResult, clock = systemClock, isNamespace = isNamespacePinned } = deps;
    this.#options = options;
    this.#runner = new PluginRunner({ pluginDirs, env, maxParallel }, { run, clock });
    this.#chain = new PluginChain(this.#runner);
    this.#cache = new AttachmentCache(options.cacheDir);
    this.#isNamespace = isNamespace;
    this.#ports = new PodPorts(deps.hostPorts, options.logger);
    this.#monitor = new NetworkMonitor(options, {
      clock,
      findPlugin: (type) => this.#runner.find(type),
      forgetPaths: () => this.#runner.forgetPaths(),
      askStatus: (network, signal) => this.#chain.status(network, { signal }),
    });
  }

  /** Reads the configuration once; from then on follows its changes in the background until `signal` aborts. */
  async start(signal: AbortSignal): Promise<void> {
    await this.#monitor.start(signal);
    this.#ports.start(() => this.#cache.list());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ports.ready;
    await this.#monitor[Symbol.asyncDispose]();
  }

  /** Costs nothing: the answer is kept up to date in the background. */
  status(): NetworkStatus {
    return this.#monitor.status();
  }

  /**
   * Waits until pods can be attached.
   *
   * @throws UnavailableError that says what is missing, when the signal aborts first
   */
  async waitReady(options: { readonly signal: AbortSignal }): Promise<void> {
    for (;;) {
      const status = this.#monitor.status();
      if (status.ready) return;
      try {
        await abortable(this.#monitor.changed, options.signal);
      } catch (cause) {
        throw new UnavailableError(`pod network is not ready: ${status.message}`, { cause });
      }
    }
  }

  /**
   * Runs ADD for a pod whose network namespace is pinned and has `lo` up. On failure everything is taken back.
   *
   * @returns the addresses without prefix, the primary one first, and the whole result
   * @throws UnavailableError when there is no usable network; FailedPreconditionError when host ports are asked for
   *   and nothing can map them; CniError of the plugin that failed, also when the signal aborted it
   */
  async attach(
    pod: PodNetworkRequest,
    options: { readonly signal: AbortSignal },
  ): Promise<{ readonly ips: readonly string[]; readonly result: CniResult }> {
    const { signal } = options;
    signal.throwIfAborted();
    const attachment = attachmentOf(pod);
    const network = this.#networkFor(attachment);
    this.#live.add(pod.sandboxId);
    try {
      await this.#cache.begin(network, attachment);
      const added = await this.#chain.add(network, attachment, { signal });
      if (added.kind === "failed") {
        await this.#afterFailure(network, attachment, added.undoError);
        throw added.error;
      }
      const result = await this.#keep(network, attachment, added.result);
      await this.#openPorts(network, attachment, result);
      return { ips: podAddresses(result), result };
    } catch (error) {
      this.#live.delete(pod.sandboxId);
      throw error;
    }
  }

  /**
   * Runs DEL for a pod, with the configuration and result of its ADD. Idempotent; works when the namespace is gone and
   * when the network's configuration has changed or vanished since.
   *
   * @throws CniError of the first plugin that failed; the attachment stays known for the next try
   */
  async detach(pod: PodNetworkRequest, options: { readonly signal: AbortSignal }): Promise<void> {
    const current = this.#monitor.network;
    const cached = await this.#cache.find(pod.sandboxId, { ifName: POD_INTERFACE, network: current?.name });
    const network = cached?.network ?? current;
    const attachment = cached?.attachment ?? attachmentIfValid(pod);
    if (network !== undefined && attachment !== undefined) {
      const netns = pod.netnsPath === "" ? attachment.netns : pod.netnsPath;
      await this.#delete(network, { ...attachment, netns }, { ...options, previous: cached?.result });
    }
    this.#live.delete(pod.sandboxId);
  }

  /**
   * Asks the plugins whether a pod's attachment is as they left it. Does nothing for an unknown pod or an old network.
   *
   * @throws CniError of the plugin that found damage
   */
  async check(pod: PodIdentity, options: { readonly signal: AbortSignal }): Promise<void> {
    const network = this.#monitor.network?.name;
    const cached = await this.#cache.find(pod.sandboxId, { ifName: POD_INTERFACE, network });
    if (cached === undefined) return;
    await this.#chain.check(cached.network, cached.attachment, { ...options, previous: cached.result });
  }

  /** Addresses of a pod that was attached before this process started; undefined when nothing is known. */
  async restore(sandboxId: string): Promise<readonly string[] | undefined> {
    const network = this.#monitor.network?.name;
    const cached = await this.#cache.find(sandboxId, { ifName: POD_INTERFACE, network });
    if (cached?.result === undefined) return undefined;
    try {
      return podAddresses(parseResult(cached.result, cached.network.cniVersion));
    } catch (error) {
      this.#options.logger.warn("damaged CNI result", { file: cached.file, error: messageOf(error) });
      return undefined;
    }
  }

  /**
   * Deletes attachments of pods that are not in `validSandboxIds`, then lets the plugins do the same (CNI 1.1.0 GC).
   * Attachments of other runtimes are left alone while their namespace exists. Failures are logged; the next call
   * tries again.
   */
  async collectGarbage(
    validSandboxIds: ReadonlySet<string>,
    options: { readonly signal: AbortSignal },
  ): Promise<void> {
    const { logger } = this.#options;
    const kept: CachedAttachment[] = [];
    for (const entry of await this.#cache.list()) {
      options.signal.throwIfAborted();
      if (!this.#isGarbage(entry, validSandboxIds)) {
        kept.push(entry);
        continue;
      }
      const { containerId } = entry.attachment;
      try {
        await this.#delete(entry.network, entry.attachment, { ...options, previous: entry.result });
        logger.info("deleted the network of a pod that is gone", { sandbox: containerId, network: entry.network.name });
      } catch (error) {
        kept.push(entry);
        logger.warn("cannot delete the network of a pod that is gone; will try again at the next start", {
          sandbox: containerId,
          error: messageOf(error),
        });
      }
    }
    const network = this.#monitor.network;
    if (network === undefined) return;
    const known = new Set([...validSandboxIds, ...this.#live]);
    for (const { network: { name }, attachment } of kept) if (name === network.name) known.add(attachment.containerId);
    const valid = [...known].map((containerID) => ({ containerID, ifname: POD_INTERFACE }));
    await this.#chain.collectGarbage(network, valid, options).catch((error) => {
      options.signal.throwIfAborted();
      logger.warn("CNI garbage collection failed", { error: messageOf(error) });
    });
  }

  #isGarbage({ attachment, isOurs }: CachedAttachment, valid: ReadonlySet<string>): boolean {
    const { containerId, netns, ifName } = attachment;
    if (valid.has(containerId) || this.#live.has(containerId)) return false;
    if (isOurs) return true;
    const isPod = attachment.cniArgs.some(([name]) => name === "K8S_POD_INFRA_CONTAINER_ID");
    return isPod && ifName === POD_INTERFACE && !this.#isNamespace(netns);
  }

  #networkFor(attachment: Attachment): NetworkConfig {
    const network = this.#monitor.network;
    const status = this.#monitor.status();
    if (network === undefined) {
      throw new UnavailableError(`pod network is not ready: ${status.ready ? "no network" : status.message}`);
    }
    const { capabilityArgs: args } = attachment;
    if (args["bandwidth"] !== undefined && !wantsCapability(network, "bandwidth")) {
      this.#options.logger.warn("bandwidth limits are ignored: the CNI network has no bandwidth plugin", {
        sandbox: attachment.containerId,
        network: network.name,
      });
    }
    return network;
  }

  /** Host ports, where no plugin of the network maps them; when that fails the whole ADD is taken back. */
  async #openPorts(network: NetworkConfig, attachment: Attachment, result: CniResult): Promise<void> {
    try {
      await this.#ports.open(network, attachment, result);
    } catch (error) {
      const undo = { signal: AbortSignal.timeout(UNDO_TIMEOUT_MS), previous: result.raw };
      await this.#delete(network, attachment, undo).catch((left) => this.#logLeftover(attachment, left));
      throw error;
    }
  }

  /** Puts an ADD's result on disk; what cannot be read or kept is taken back. */
  async #keep(network: NetworkConfig, attachment: Attachment, raw: CniResult["raw"]): Promise<CniResult> {
    try {
      const result = parseResult(raw, network.cniVersion);
      await this.#cache.commit(network, attachment, raw);
      return result;
    } catch (error) {
      const signal = AbortSignal.timeout(UNDO_TIMEOUT_MS);
      const undone = this.#delete(network, attachment, { signal, previous: raw });
      await undone.catch((undoError) => this.#logLeftover(attachment, undoError));
      throw new UnavailableError(`result of CNI network ${network.name}: ${messageOf(error)}`, { cause: error });
    }
  }

  async #afterFailure(network: NetworkConfig, attachment: Attachment, undoError: unknown): Promise<void> {
    if (undoError === undefined) await this.#cache.remove(network, attachment);
    else this.#logLeftover(attachment, undoError);
  }

  #logLeftover(attachment: Attachment, error: unknown): void {
    this.#options.logger.warn("cannot undo a failed CNI ADD; it is tried again at the next start", {
      sandbox: attachment.containerId,
      error: messageOf(error),
    });
  }

  async #delete(network: NetworkConfig, attachment: Attachment, options: {
    readonly signal: AbortSignal;
    readonly previous: CniResult["raw"] | undefined;
  }): Promise<void> {
    const netns = attachment.netns !== "" && this.#isNamespace(attachment.netns) ? attachment.netns : "";
    // A port that stays open would lead to whoever gets the address next: it is closed first.
    await this.#ports.close(attachment.containerId);
    await this.#chain.delete(network, { ...attachment, netns }, options);
    await this.#cache.remove(network, attachment);
  }
}

/** Undefined for a pod that could not have been attached in the first place. */
function attachmentIfValid(pod: PodNetworkRequest): Attachment | undefined {
  try {
    return attachmentOf(pod);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return undefined;
    throw error;
  }
}

function attachmentOf(pod: PodNetworkRequest): Attachment {
  return {
    containerId: pod.sandboxId,
    netns: pod.netnsPath,
    ifName: POD_INTERFACE,
    cniArgs: podArgs(pod),
    capabilityArgs: capabilityArgs(pod),
  };
}
