import { type Clock, sleep } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { type LoadedNetworks, loadNetworks } from "./config.ts";
import { watchDirectories } from "./directory_watch.ts";
import type { NetworkConfig, NetworkStatus } from "./types.ts";
import { versionAtLeast } from "./versions.ts";

/** How often STATUS is asked until it is good the first time, and after that (as CRI-O does). */
const STATUS_RETRY_MS = 500;
const STATUS_INTERVAL_MS = 5_000;
const STATUS_TIMEOUT_MS = 10_000;

export interface MonitorOptions {
  readonly configDir: string;
  readonly pluginDirs: readonly string[];
  readonly defaultNetwork?: string;
  readonly statusGracePeriodMs?: number;
  readonly logger: Logger;
}

export interface MonitorDeps {
  readonly clock: Clock;
  /** Path of a plugin, or undefined. */
  findPlugin(type: string): Promise<string | undefined>;
  forgetPaths(): void;
  /** STATUS of a network; rejects when it is not ready. */
  askStatus(network: NetworkConfig, signal: AbortSignal): Promise<void>;
}

/**
 * Knows which network pods get, and whether it is ready: follows the configuration directory and the plugin
 * directories, and asks networks of version 1.1.0 and later for their STATUS.
 */
export class NetworkMonitor implements AsyncDisposable {
  readonly #options: MonitorOptions;
  readonly #deps: MonitorDeps;
  readonly #stop = new AbortController();
  #background: Promise<void> = Promise.resolve();
  #probing: { readonly stop: AbortController; readonly done: Promise<void> } | undefined;
  #network: NetworkConfig | undefined;
  #status: NetworkStatus;
  #changed = Promise.withResolvers<void>();
  /** What the last load found, to tell a real change from a touched file. */
  #fingerprint = "";

  constructor(options: MonitorOptions, deps: MonitorDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#status = notReady("the CNI configuration has not been read yet");
  }

  /** The network for new pods; absent while there is none that is configured well. */
  get network(): NetworkConfig | undefined {
    return this.#network;
  }

  /** Resolves at the next change of {@link status}. */
  get changed(): Promise<void> {
    return this.#changed.promise;
  }

  status(): NetworkStatus {
    return this.#status;
  }

  async start(signal: AbortSignal): Promise<void> {
    const { configDir, pluginDirs, logger } = this.#options;
    const both = AbortSignal.any([signal, this.#stop.signal]);
    const onChange = (): Promise<void> => this.#reload(both);
    await onChange();
    this.#background = watchDirectories([configDir, ...pluginDirs], { signal: both, logger, onChange });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#background;
    await this.#stopProbing();
  }

  async #reload(signal: AbortSignal): Promise<void> {
    const { configDir, defaultNetwork, logger } = this.#options;
    this.#deps.forgetPaths();
    const loaded = await loadNetworks(configDir);
    const choice = await this.#choose(loaded);
    const problems = loaded.problems.map(messageOf);
    const fingerprint = JSON.stringify([choice.network?.raw, choice.network?.source, choice.problem, problems]);
    if (fingerprint === this.#fingerprint || signal.aborted) return;
    this.#fingerprint = fingerprint;
    for (const problem of problems) logger.warn(`skipping a CNI configuration: ${problem}`);
    await this.#stopProbing();
    this.#network = choice.network;
    if (choice.network === undefined) {
      this.#set(notReady([choice.problem, ...problems].join("; ")));
      logger.warn("no usable CNI network", { problem: choice.problem, wanted: defaultNetwork });
      return;
    }
    const { name, cniVersion, source } = choice.network;
    logger.info("pods get their network from this CNI configuration", { network: name, cniVersion, file: source });
    if (versionAtLeast(cniVersion, "1.1.0")) this.#startProbing(choice.network, signal);
    else this.#set({ ready: true });
  }

  /** The network to use, or why there is none. */
  async #choose({ networks, problems }: LoadedNetworks): Promise<
    { readonly network: NetworkConfig; readonly problem?: never } | {
      readonly network?: never;
      readonly problem: string;
    }
  > {
    const { configDir, pluginDirs, defaultNetwork } = this.#options;
    const wanted = defaultNetwork === undefined || defaultNetwork === ""
      ? networks
      : networks.filter(({ name }) => name === defaultNetwork);
    if (networks.length === 0) {
      const what = problems.length === 0 ? "No CNI configuration file" : "No usable CNI configuration file";
      return { problem: `${what} in ${configDir}. Has your network provider started?` };
    }
    const missing: string[] = [];
    for (const network of wanted) {
      const absent: string[] = [];
      for (const { type } of network.plugins) {
        if (await this.#deps.findPlugin(type) === undefined) absent.push(type);
      }
      if (absent.length === 0) return { network };
      missing.push(
        `${network.source} needs the CNI plugin ${absent.join(", ")}, which is not in ${pluginDirs.join(", ")}`,
      );
    }
    if (missing.length > 0) return { problem: missing.join("; ") };
    const names = networks.map(({ name }) => name).join(", ");
    return {
      problem: `CNI network "${defaultNetwork}" (cni_default_network) not found in ${configDir}, which has ${names}`,
    };
  }

  #startProbing(network: NetworkConfig, signal: AbortSignal): void {
    const stop = new AbortController();
    const done = this.#probe(network, AbortSignal.any([signal, stop.signal]));
    this.#probing = { stop, done };
  }

  async #stopProbing(): Promise<void> {
    this.#probing?.stop.abort();
    await this.#probing?.done;
    this.#probing = undefined;
  }

  /** Asks STATUS until it is good; where a grace period is set, goes on for ever. Never rejects. */
  async #probe(network: NetworkConfig, signal: AbortSignal): Promise<void> {
    const { statusGracePeriodMs = 0, logger } = this.#options;
    let failingSinceMs: number | undefined;
    if (this.#status.ready) failingSinceMs = this.#deps.clock.monotonicMs();
    while (!signal.aborted) {
      try {
        await this.#deps.askStatus(network, AbortSignal.any([signal, AbortSignal.timeout(STATUS_TIMEOUT_MS)]));
        failingSinceMs = undefined;
        this.#set({ ready: true });
        if (statusGracePeriodMs === 0) return;
      } catch (error) {
        if (signal.aborted) return;
        const nowMs = this.#deps.clock.monotonicMs();
        failingSinceMs ??= nowMs;
        if (!this.#status.ready || nowMs - failingSinceMs >= statusGracePeriodMs) {
          if (this.#status.ready) logger.warn("the CNI network is not ready any more", { error: messageOf(error) });
          this.#set(notReady(messageOf(error)));
        }
      }
      const pauseMs = this.#status.ready ? STATUS_INTERVAL_MS : STATUS_RETRY_MS;
      await sleep(pauseMs, { signal }).catch(() => undefined);
    }
  }

  #set(status: NetworkStatus): void {
    if (JSON.stringify(status) === JSON.stringify(this.#status)) return;
    this.#status = status;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** In CRI-O's words, which node conditions and their readers know. */
function notReady(problem: string): NetworkStatus {
  return {
    ready: false,
    reason: "NetworkPluginNotReady",
    message: `Network plugin returns error: ${problem}`,
  };
}
