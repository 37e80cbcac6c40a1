import type { Socket } from "node:net";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { UpdateContainersRequest, UpdateContainersResponse } from "./gen/nri.ts";
import { findInstalled, type InstalledPlugin, launch } from "./installed.ts";
import { listenForPlugins } from "./listener.ts";
import { Plugin, type PluginIdentity, type PluginTerms } from "./plugin.ts";

/** Connections at a time; a node has a handful of plugins. */
const MAX_CONNECTIONS = 64;

export interface ConnectionOptions {
  /** Where plugins that were started elsewhere connect; absent: nowhere. */
  readonly socketPath?: string;
  readonly pluginDirectory: string;
  readonly configDirectory: string;
  readonly terms: PluginTerms;
}

export interface ConnectionDeps {
  readonly log: Logger;
  /** Takes a configured plugin in, synchronized; until then it gets no events. */
  join(plugin: Plugin): Promise<void>;
  leave(plugin: Plugin): void;
  update(plugin: Plugin, request: UpdateContainersRequest): Promise<UpdateContainersResponse>;
}

/**
 * How plugins come and go: those of the plugin directory are started, others connect to a socket. One that fails is
 * closed, and nothing else is disturbed.
 */
export class PluginConnections implements AsyncDisposable {
  readonly #open = new Set<Socket>();
  readonly #stack = new AsyncDisposableStack();

  private constructor(private readonly terms: PluginTerms, private readonly deps: ConnectionDeps) {}

  /** Resolves when the installed plugins have joined or failed, and others can connect. */
  static async start(options: ConnectionOptions, deps: ConnectionDeps): Promise<PluginConnections> {
    const connections = new PluginConnections(options.terms, deps);
    const installed = await findInstalled(options, deps.log);
    await Promise.all(installed.map((plugin) => connections.#launch(plugin)));
    if (options.socketPath !== undefined) {
      const onConnection = (connection: Socket): void => void connections.#connect(connection, { config: "" });
      connections.#stack.use(await listenForPlugins(options.socketPath, { log: deps.log, onConnection }));
    }
    return connections;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#open) connection.destroy();
    await this.#stack.disposeAsync();
  }

  async #launch(installed: InstalledPlugin): Promise<void> {
    const { identity, config, path } = installed;
    try {
      const launched = launch(installed);
      this.#stack.use(launched);
      this.deps.log.info(`NRI: started plugin ${path}`, { pid: launched.pid });
      if (await this.#connect(launched.connection, { identity, config })) return;
      await launched[Symbol.asyncDispose]();
    } catch (error) {
      this.deps.log.error(`NRI: plugin ${path} could not be started: ${messageOf(error)}`);
    }
  }

  /** @returns whether the plugin has joined; never rejects */
  async #connect(
    connection: Socket,
    options: { readonly identity?: PluginIdentity; readonly config: string },
  ): Promise<boolean> {
    const { log, join, update } = this.deps;
    if (this.#open.size >= MAX_CONNECTIONS) {
      log.error(`NRI: a plugin was turned away: ${MAX_CONNECTIONS} are connected`);
      connection.destroy();
      return false;
    }
    this.#open.add(connection);
    connection.once("close", () => this.#open.delete(connection));
    let plugin: Plugin | undefined;
    try {
      plugin = await Plugin.connect(connection, { ...options, terms: this.terms, log, onUpdate: update });
      void this.#awaitEnd(plugin);
      await join(plugin);
      return true;
    } catch (error) {
      log.error(`NRI: a plugin could not join: ${messageOf(error)}`, { plugin: options.identity?.name });
      plugin?.close(messageOf(error));
      return false;
    }
  }

  async #awaitEnd(plugin: Plugin): Promise<void> {
    const reason = await plugin.closed;
    this.deps.leave(plugin);
    this.deps.log.info(`NRI: plugin ${plugin.fullName} has left: ${reason}`);
  }
}
