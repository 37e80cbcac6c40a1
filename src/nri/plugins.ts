import type { Socket } from "node:net";
import { FailedPreconditionError } from "../base/errors.ts";
import { KeyedMutex } from "../base/keyed_mutex.ts";
import type { Logger } from "../base/logger.ts";
import { PluginConnections } from "./connections.ts";
import { CreationResult } from "./creation_result.ts";
import { validateByRules, type ValidatorRules } from "./default_validator.ts";
import { PluginRefusal } from "./errors.ts";
import type { EventName } from "./events.ts";
import type { Gate } from "./gate.ts";
import {
  Container,
  type ContainerAdjustment,
  type ContainerEviction,
  type ContainerUpdate,
  type CreateContainerRequest,
  LinuxResources,
  PluginDefinition,
  type StopContainerRequest,
  type UpdateContainerRequest,
  type UpdateContainersRequest,
  type UpdateContainersResponse,
  type ValidateContainerAdjustmentRequest,
} from "./gen/nri.ts";
import type { InstalledPlugin } from "./installed.ts";
import { message } from "./message.ts";
import { Owners } from "./owners.ts";
import type { Plugin, PluginTerms, RequestOf } from "./plugin.ts";
import { type RuntimeState, synchronize } from "./synchronize.ts";
import { type RequestedUpdate, UpdateResult } from "./update_result.ts";

/** Events whose answers say nothing. */
export type Notification = Exclude<
  EventName,
  "CreateContainer" | "UpdateContainer" | "StopContainer" | "ValidateContainerAdjustment"
>;

/** What plugins can ask of the daemon. */
export interface PluginRuntime {
  /** All pods and containers that there are now. */
  state(): Promise<RuntimeState>;
  /**
   * Changes resources of containers, without asking plugins; ids that are not known are passed over. Must not wait for
   * anything that waits for a plugin.
   *
   * @returns those that failed
   */
  update(updates: readonly ContainerUpdate[]): Promise<ReadonlyArray<{ update: ContainerUpdate; reason: string }>>;
  /** Stops containers; ids that are not known are passed over. Never rejects. */
  evict(evictions: readonly ContainerEviction[]): Promise<void>;
}

export interface PluginsOptions {
  readonly terms: PluginTerms;
  /** Rules of the built-in validator, when it is on. */
  readonly validator?: ValidatorRules;
}

export interface PluginsDeps {
  readonly runtime: PluginRuntime;
  readonly log: Logger;
  /** Inside of it is what is being made: neither in the state that a new plugin is told, nor will it hear of it as an event. */
  readonly gate: Gate;
}

interface Call {
  readonly signal?: AbortSignal;
}

/** Plugins get this long to hear that the daemon stops. */
const SHUTDOWN_MS = 500;
const ALL = "all";

/**
 * The plugins of this node, in the order of their index: the door of this folder.
 *
 * They hear of one event at a time, each after the one before it. What they ask of the daemon in answers is done before
 * the next event. Where no plugin wants an event, relaying it costs a look at an empty list.
 */
export class Plugins implements AsyncDisposable {
  #plugins: readonly Plugin[] = [];
  readonly #turns = new KeyedMutex<typeof ALL>();
  readonly #connections: PluginConnections;

  constructor(private readonly options: PluginsOptions, private readonly deps: PluginsDeps) {
    this.#connections = new PluginConnections(options.terms, {
      log: deps.log,
      join: (plugin) => this.#join(plugin),
      leave: (plugin) => {
        this.#plugins = this.#plugins.filter((one) => one !== plugin);
      },
      update: (plugin, request) => this.#updateUnasked(plugin, request),
    });
  }

  /** Takes a connection of a plugin that was started elsewhere. Never rejects. */
  async accept(connection: Socket): Promise<void> {
    await this.#connections.accept(connection);
  }

  /** Starts a plugin; resolves when it has joined or failed. Never rejects. */
  async launch(installed: InstalledPlugin): Promise<void> {
    await this.#connections.launch(installed);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const signal = AbortSignal.timeout(SHUTDOWN_MS);
    await Promise.allSettled(
      this.#plugins.map((plugin) => plugin.call(PluginDefinition.methods.shutdown, {}, { signal })),
    );
    await this.#connections[Symbol.asyncDispose]();
  }

  /** Whether relaying this event does anything. */
  wants(event: EventName): boolean {
    if (event === "CreateContainer" && this.options.validator !== undefined) return true;
    return this.#plugins.some((plugin) => plugin.handles(event));
  }

  /** @throws PluginRefusal when a plugin says no; PluginLost; the signal's reason */
  async notify<Name extends Notification>(event: Name, request: RequestOf<Name>, call: Call = {}): Promise<void> {
    using _turn = await this.#turns.acquire(ALL, call);
    for (const plugin of this.#subscribers(event)) await plugin.request(event, request, call);
  }

  /**
   * Asks how a container is to be made, and updates others as the plugins want it.
   *
   * @param request `request.container` becomes what it is after the adjustment
   * @throws PluginRefusal, PluginConflict, PluginLost; FailedPreconditionError when an update fails
   */
  async create(request: CreateContainerRequest, call: Call = {}): Promise<ContainerAdjustment> {
    const container = request.container ?? message(Container);
    const result = new CreationResult(container);
    {
      using _turn = await this.#turns.acquire(ALL, call);
      const asked = this.#plugins;
      const validation = this.#hasValidators() ? Container.decode(Container.encode(container).finish()) : undefined;
      for (const plugin of this.#subscribers("CreateContainer")) {
        const answer = await plugin.request("CreateContainer", { ...request, container }, call);
        if (answer !== undefined) result.apply(answer, plugin.fullName);
      }
      const update = result.updates.others();
      if (validation !== undefined) {
        const plugins = asked.map(({ identity }) => identity);
        const { adjustment: adjust, owners } = result;
        await this.#validate({
          pod: request.pod,
          container: validation,
          adjust,
          update,
          owners: owners.message(),
          plugins,
        }, call);
      }
      await this.#update(update);
    }
    await this.deps.runtime.evict(result.evictions);
    return result.adjustment;
  }

  /**
   * Asks how the resources of a container are to be changed, and updates others as the plugins want it.
   *
   * @returns the resources to set
   * @throws PluginRefusal, PluginConflict, PluginLost; FailedPreconditionError when an update of another one fails
   */
  async update(request: UpdateContainerRequest, call: Call = {}): Promise<LinuxResources> {
    const resources = request.linuxResources ?? message(LinuxResources);
    const requested: RequestedUpdate = { containerId: request.container?.id ?? "", resources };
    const evictions: ContainerEviction[] = [];
    {
      using _turn = await this.#turns.acquire(ALL, call);
      const result = new UpdateResult(new Owners(), { requested });
      for (const plugin of this.#subscribers("UpdateContainer")) {
        const asked = { ...request, linuxResources: requested.resources };
        const answer = await plugin.request("UpdateContainer", asked, call);
        result.apply(answer?.update ?? [], plugin.fullName);
        evictions.push(...answer?.evict ?? []);
      }
      await this.#update(result.others());
    }
    await this.deps.runtime.evict(evictions);
    return requested.resources;
  }

  /** Tells that a container has ended, and updates others as the plugins want it. @throws as {@link update} does */
  async stop(request: StopContainerRequest, call: Call = {}): Promise<void> {
    using _turn = await this.#turns.acquire(ALL, call);
    const result = new UpdateResult(new Owners());
    for (const plugin of this.#subscribers("StopContainer")) {
      const answer = await plugin.request("StopContainer", request, call);
      result.apply(answer?.update ?? [], plugin.fullName);
    }
    await this.#update(result.others());
  }

  *#subscribers(event: EventName): Generator<Plugin> {
    for (const plugin of this.#plugins) if (!plugin.isClosed && plugin.handles(event)) yield plugin;
  }

  async #join(plugin: Plugin): Promise<void> {
    const { runtime, log, gate } = this.deps;
    using _pause = await gate.pause();
    using _turn = await this.#turns.acquire(ALL);
    const updates = await synchronize(plugin, await runtime.state());
    if (plugin.isClosed) throw new FailedPreconditionError(`plugin ${plugin.fullName} left while it was synchronized`);
    this.#plugins = [...this.#plugins, plugin].sort((a, b) => compare(a.identity.index, b.identity.index));
    log.info(`NRI: plugin ${plugin.fullName} has joined`, {
      order: this.#plugins.map((one) => one.fullName).join(" "),
    });
    for (const { update, reason } of await runtime.update(updates)) {
      log.warn(`NRI: plugin ${plugin.fullName}: update of container ${update.containerId} failed: ${reason}`);
    }
  }

  #hasValidators(): boolean {
    return this.options.validator !== undefined ||
      this.#plugins.some((one) => one.handles("ValidateContainerAdjustment"));
  }

  async #validate(request: ValidateContainerAdjustmentRequest, call: Call): Promise<void> {
    if (this.options.validator !== undefined) validateByRules(this.options.validator, request);
    const validators = [...this.#subscribers("ValidateContainerAdjustment")];
    await Promise.all(validators.map(async (plugin) => {
      const answer = await plugin.request("ValidateContainerAdjustment", request, { ...call, required: true });
      if (answer?.reject === false) return;
      const reason = answer === undefined ? "it has no such method" : answer.reason || "no reason given";
      throw new PluginRefusal(`NRI: validator ${plugin.fullName} refused the adjusted container: ${reason}`);
    }));
  }

  /** @throws FailedPreconditionError when one fails that must not */
  async #update(updates: readonly ContainerUpdate[]): Promise<void> {
    if (updates.length === 0) return;
    const failed = await this.deps.runtime.update(updates);
    for (const { update, reason } of failed) {
      const text = `NRI: update of container ${update.containerId} that plugins want failed: ${reason}`;
      if (!update.ignoreFailure) throw new FailedPreconditionError(text);
      this.deps.log.warn(text);
    }
  }

  /** Takes no turn: a plugin may ask for it while it handles an event. */
  async #updateUnasked(plugin: Plugin, request: UpdateContainersRequest): Promise<UpdateContainersResponse> {
    const { runtime, log } = this.deps;
    const failed = await runtime.update(request.update);
    for (const { update, reason } of failed) {
      log.warn(`NRI: plugin ${plugin.fullName}: update of container ${update.containerId} failed: ${reason}`);
    }
    // Not awaited: its end is an event, whose turn may come only after the one that the plugin is handling now.
    void runtime.evict(request.evict);
    return { failed: failed.map(({ update }) => update) };
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
