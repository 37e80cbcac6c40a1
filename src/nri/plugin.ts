import type { Socket } from "node:net";
import { atStage, InvalidArgumentError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { nextTurn } from "../base/turns.ts";
import { CallStatus, PluginLost, PluginRefusal } from "./errors.ts";
import { type EventName, EVENTS } from "./events.ts";
import {
  ConfigureRequest,
  Empty,
  type FailurePolicy,
  PluginDefinition,
  RegisterPluginRequest,
  RuntimeDefinition,
  StateChangeEvent,
  UpdateContainersRequest,
  UpdateContainersResponse,
} from "./gen/nri.ts";
import { checkIdentity, type PluginIdentity } from "./identity.ts";
import { type Codec, message } from "./message.ts";
import { CODE, PluginSocket } from "./plugin_socket.ts";

/** The version of NRI whose definition this daemon speaks. */
export const NRI_VERSION = "v0.12.5";

const METHODS = PluginDefinition.methods;
type MethodOf<Name extends EventName> = (typeof METHODS)[Uncapitalize<Name>];
export type RequestOf<Name extends EventName> = ReturnType<MethodOf<Name>["requestType"]["decode"]>;
export type ResponseOf<Name extends EventName> = ReturnType<MethodOf<Name>["responseType"]["decode"]>;

/** Events for which plugins before 0.12 have no method of their own, but one for all. */
const STATE_CHANGES: ReadonlySet<EventName> = new Set([
  "RunPodSandbox",
  "PostUpdatePodSandbox",
  "StopPodSandbox",
  "RemovePodSandbox",
  "PostCreateContainer",
  "StartContainer",
  "PostStartContainer",
  "PostUpdateContainer",
  "RemoveContainer",
]);
const VALID_EVENTS = (1 << Object.keys(EVENTS).length) - 1;

/** What a plugin is told of us, and how long it may take. */
export interface PluginTerms {
  readonly runtimeName: string;
  readonly runtimeVersion: string;
  readonly registrationTimeoutMs: number;
  readonly requestTimeoutMs: number;
}

export interface PluginOptions {
  readonly terms: PluginTerms;
  readonly log: Logger;
  /** Of a plugin that we started, which does not choose its name itself. */
  readonly identity?: PluginIdentity;
  /** The text of its configuration file; may be empty. */
  readonly config: string;
  /** Applies updates that the plugin wants at a time of its own choice. */
  onUpdate(plugin: Plugin, request: UpdateContainersRequest): Promise<UpdateContainersResponse>;
}

/**
 * One connected plugin.
 *
 * Life: `connect` (it registers, then is configured) -> requests, one at a time -> `closed`, by either side. A plugin that does
 * not answer is closed, unless it said that it wants to be kept.
 */
export class Plugin {
  #events = VALID_EVENTS;
  #policy: FailurePolicy | undefined;
  /** Methods that the plugin does not have. */
  readonly #missing = new Set<string>();

  private constructor(
    readonly identity: PluginIdentity,
    private readonly socket: PluginSocket,
    private readonly options: PluginOptions,
  ) {}

  /**
   * Waits until the plugin has registered, and configures it.
   *
   * @throws PluginLost, PluginRefusal, InvalidArgumentError; the connection is closed then
   */
  static async connect(connection: Socket, options: PluginOptions): Promise<Plugin> {
    const registered = Promise.withResolvers<PluginIdentity>();
    const connected: { plugin?: Plugin } = {};
    const register = (request: RegisterPluginRequest): void => {
      try {
        registered.resolve(identityOf(request, options.identity));
      } catch (error) {
        // The plugin hears why before it is closed.
        void nextTurn().then(() => registered.reject(error));
        throw error;
      }
    };
    const { terms } = options;
    const socket = new PluginSocket(connection, {
      serve: async ({ service, method, payload }) => {
        if (service !== RuntimeDefinition.fullName) throw new CallStatus(CODE.unimplemented, `service ${service}`);
        if (method === "RegisterPlugin") {
          register(RegisterPluginRequest.decode(payload));
          return Empty.encode({}).finish();
        }
        if (method !== "UpdateContainers") throw new CallStatus(CODE.unimplemented, `method ${method}`);
        if (connected.plugin === undefined) throw new CallStatus(CODE.unknown, "register first");
        const answer = await options.onUpdate(connected.plugin, UpdateContainersRequest.decode(payload));
        return UpdateContainersResponse.encode(answer).finish();
      },
    });
    const timer = setTimeout(
      () => socket.close(`not registered within ${terms.registrationTimeoutMs} ms`),
      terms.registrationTimeoutMs,
    );
    socket.closed.then((reason) => registered.reject(new PluginLost(`not registered: ${reason}`, "closed")));
    try {
      socket.start();
      const plugin = new Plugin(await registered.promise, socket, options);
      connected.plugin = plugin;
      await plugin.#configure();
      return plugin;
    } catch (error) {
      socket.close(messageOf(error));
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** `NN-name`. */
  get fullName(): string {
    return `${this.identity.index}-${this.identity.name}`;
  }

  get isClosed(): boolean {
    return this.socket.isClosed;
  }

  /** Resolves with the reason when it is gone. */
  get closed(): Promise<string> {
    return this.socket.closed;
  }

  close(reason: string): void {
    this.socket.close(reason);
  }

  /** Whether it asked for this event. */
  handles(event: EventName): boolean {
    return (this.#events & (1 << (EVENTS[event] - 1))) !== 0;
  }

  /**
   * Relays an event.
   *
   * @param options.required nothing goes on without an answer, whatever the plugin's policy is
   * @returns undefined when the plugin has no such method, or does not answer and is done without
   * @throws PluginRefusal when it says no; PluginLost when it does not answer and wants requests to fail then; the
   * signal's reason
   */
  async request<Name extends EventName>(
    event: Name,
    request: RequestOf<Name>,
    options: { readonly signal?: AbortSignal; readonly required?: boolean } = {},
  ): Promise<ResponseOf<Name> | undefined> {
    try {
      return await this.#relay(event, request, options);
    } catch (error) {
      if (error instanceof CallStatus) {
        throw new PluginRefusal(`NRI: plugin ${this.fullName} refused ${event}: ${error.message}`, { cause: error });
      }
      if (!(error instanceof PluginLost)) throw error;
      const { failRequest = false, keepConnected = false } = this.#policy ?? {};
      const message = `NRI: plugin ${this.fullName} did not handle ${event}: ${error.message}`;
      if (error.reason === "closed" || !keepConnected) this.close(message);
      if (failRequest || options.required === true) throw new PluginLost(message, error.reason, { cause: error });
      this.options.log.warn(`${message}; went on without it`);
      return undefined;
    }
  }

  /** Calls a method that is no event. @throws CallStatus, PluginLost, OversizedMessage */
  async call<Request, Response>(
    method: { readonly name: string; readonly requestType: Codec<Request>; readonly responseType: Codec<Response> },
    request: Request,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<Response> {
    const payload = method.requestType.encode(request).finish();
    return method.responseType.decode(await this.callEncoded(method.name, payload, options));
  }

  /** {@link call} with messages as bytes. @param options.timeoutMs default: that of requests */
  async callEncoded(
    method: string,
    payload: Uint8Array,
    options: { readonly signal?: AbortSignal; readonly timeoutMs?: number } = {},
  ): Promise<Uint8Array> {
    const { timeoutMs = this.options.terms.requestTimeoutMs } = options;
    return await this.socket.call({ service: PluginDefinition.fullName, method, payload }, { ...options, timeoutMs });
  }

  /** How long it may take over the state of the whole node: that is a part of joining, and more work than an event. */
  get synchronizationTimeoutMs(): number {
    const { registrationTimeoutMs, requestTimeoutMs } = this.options.terms;
    return Math.max(registrationTimeoutMs, requestTimeoutMs);
  }

  async #configure(): Promise<void> {
    const { config, terms } = this.options;
    const request = message(ConfigureRequest, {
      config,
      runtimeName: terms.runtimeName,
      runtimeVersion: terms.runtimeVersion,
      registrationTimeout: BigInt(terms.registrationTimeoutMs),
      requestTimeout: BigInt(terms.requestTimeoutMs),
      NRIVersion: NRI_VERSION,
    });
    const { events, failurePolicy } = await this.call(METHODS.configure, request).catch((error): never => {
      throw atStage(`configure plugin ${this.fullName}`, error);
    });
    if ((events & ~VALID_EVENTS) !== 0) {
      throw new InvalidArgumentError(
        `plugin ${this.fullName} asks for events 0x${(events >>> 0).toString(16)}, of which NRI ${NRI_VERSION} knows ` +
          `0x${VALID_EVENTS.toString(16)}: use a plugin that was built for it`,
      );
    }
    if (events !== 0) this.#events = events;
    this.#policy = failurePolicy;
  }

  async #relay<Name extends EventName>(
    event: Name,
    request: RequestOf<Name>,
    options: { readonly signal?: AbortSignal },
  ): Promise<ResponseOf<Name> | undefined> {
    const method = METHODS[uncapitalized(event)] as unknown as {
      readonly name: string;
      readonly requestType: Codec<RequestOf<Name>>;
      readonly responseType: Codec<ResponseOf<Name>>;
    };
    if (!this.#missing.has(event)) {
      const answer = await this.#ifThere(event, () => this.call(method, request, options));
      if (answer !== undefined) return answer;
    }
    if (!STATE_CHANGES.has(event) || this.#missing.has(METHODS.stateChange.name)) return undefined;
    const change = message(StateChangeEvent, { event: EVENTS[event], ...request as Partial<StateChangeEvent> });
    await this.#ifThere(METHODS.stateChange.name, () => this.call(METHODS.stateChange, change, options));
    return undefined;
  }

  /** Undefined when the plugin says that it has no such method, which is remembered. */
  async #ifThere<Answer>(method: string, call: () => Promise<Answer>): Promise<Answer | undefined> {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof CallStatus) || error.code !== CODE.unimplemented) throw error;
      this.#missing.add(method);
      return undefined;
    }
  }
}

/** @throws InvalidArgumentError */
function identityOf(request: RegisterPluginRequest, given: PluginIdentity | undefined): PluginIdentity {
  if (given !== undefined) return given;
  const { pluginIdx: index, pluginName: name } = request;
  checkIdentity({ index, name });
  return { index, name };
}

function uncapitalized<Name extends EventName>(event: Name): Uncapitalize<Name> {
  return `${event.charAt(0).toLowerCase()}${event.slice(1)}` as Uncapitalize<Name>;
}
