import type { Socket } from "node:net";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { UpdateContainersRequest, UpdateContainersResponse } from "./gen/nri.ts";
import type { PluginIdentity } from "./identity.ts";
import { type InstalledPlugin, launch } from "./installed.ts";
import { Plugin, type PluginTerms } from "./plugin.ts";

/** Connections at a time; a node has a handful of plugins. */
const MAX_CONNECTIONS = 64;

export interface ConnectionDeps {
  readonly log: Logger;
  /** Takes a configured plugin in, synchronized; until then it gets no events. */
  join(plugin: Plugin): Promise<void>;
  leave(plugin: Plugin): void;
  update(plugin: Plugin, request: UpdateContainersRequest): Promise<UpdateContainersResponse>;
}

/** How plugins come and go. One that fails is closed, and nothing else is disturbed. */
export class PluginConnections implements AsyncDisposable {
  readonly #open = new Set<Socket>();
  readonly #stack = new AsyncDisposableStack();

  constructor(private readonly terms: PluginTerms, private readonly deps: ConnectionDeps) {}

  /** Takes a connection of a plugin that was started elsewhere. Never rejects. */
  async accept(connection: Socket): Promise<void> {
    await this.#connect(connection, { config: "" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#open) connection.destroy();
    await this.#stack.disposeAsync();
  }

  /** Starts a plugin; resolves when it has joined or failed. Never rejects. */
  async launch(installed: InstalledPlugin): Promise<void> {
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
