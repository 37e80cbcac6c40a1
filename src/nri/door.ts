import type { Socket } from "node:net";
import { Gate } from "./gate.ts";
import { findInstalled } from "./installed.ts";
import { listenForPlugins } from "./listener.ts";
import type { Plugins, PluginsDeps, PluginsOptions } from "./plugins.ts";

export interface DoorOptions extends PluginsOptions {
  /** Where plugins that were started elsewhere connect; absent: nowhere. */
  readonly socketPath?: string;
  readonly pluginDirectory: string;
  readonly configDirectory: string;
}

/**
 * Where plugins come in. Until the first one does, there is a listening socket and nothing else: the code that speaks with
 * plugins is not even loaded.
 */
export class PluginDoor implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly #gate = new Gate();
  #loading: Promise<Plugins> | undefined;
  #plugins: Plugins | undefined;

  constructor(private readonly options: DoorOptions, private readonly deps: Omit<PluginsDeps, "gate">) {}

  /**
   * Starts the installed plugins, waits until each has joined or failed, and listens for others.
   *
   * @throws FailedPreconditionError when the socket is taken
   */
  async open(): Promise<void> {
    const { options, deps: { log } } = this;
    const installed = await findInstalled(options, log);
    if (installed.length > 0 || options.validator !== undefined) {
      const plugins = await this.#load();
      await Promise.all(installed.map((plugin) => plugins.launch(plugin)));
    }
    if (options.socketPath === undefined) return;
    const onConnection = (connection: Socket): void => void this.#accept(connection);
    this.#stack.use(await listenForPlugins(options.socketPath, { log, onConnection }));
  }

  /** The plugins, once one has been there. */
  get plugins(): Plugins | undefined {
    return this.#plugins;
  }

  /**
   * Keeps plugins from joining until it is disposed: what is being made is neither in the state that a new plugin is
   * told, nor would that hear of it as an event.
   */
  hold(options: { readonly signal?: AbortSignal } = {}): Promise<Disposable> {
    return this.#gate.enter(options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#plugins?.[Symbol.asyncDispose]();
    await this.#stack.disposeAsync();
  }

  async #accept(connection: Socket): Promise<void> {
    // A connection that is reset meanwhile must not end the process.
    connection.on("error", () => {});
    await (await this.#load()).accept(connection);
  }

  async #load(): Promise<Plugins> {
    this.#loading ??= import("./plugins.ts").then(({ Plugins }) => {
      this.#plugins = new Plugins(this.options, { ...this.deps, gate: this.#gate });
      return this.#plugins;
    });
    return await this.#loading;
  }
}
