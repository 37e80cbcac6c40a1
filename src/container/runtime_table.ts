import { InvalidArgumentError } from "../base/errors.ts";
import type { HandlerRuntime } from "./handler_runtime.ts";
import type { RuntimeTable } from "./ports.ts";

const SEPARATOR = "@";

/** Under which name a handler's runtime for images of a platform is kept, in records too. */
export function platformName(handler: string, platform: string): string {
  return `${handler}${SEPARATOR}${platform}`;
}

/** The runtime handlers of this node by name. */
export class NodeRuntimes implements RuntimeTable {
  #handlers: ReadonlyMap<string, HandlerRuntime>;
  #defaultName: string;
  /** Those that the configuration has no more: pods that have them are still stopped and removed. */
  readonly #former = new Map<string, HandlerRuntime>();

  /**
   * @param handlers by name; further ones for images of other platforms by {@link platformName}
   * @param defaultName the handler of requests that name none
   */
  constructor(handlers: ReadonlyMap<string, HandlerRuntime>, defaultName: string) {
    this.#handlers = handlers;
    this.#defaultName = defaultName;
  }

  /** The handler of requests that name none. */
  get defaultName(): string {
    return this.#defaultName;
  }

  /** Takes those of another configuration from the next call on. */
  replace(by: NodeRuntimes): void {
    for (const [name, handler] of this.#handlers) this.#former.set(name, handler);
    for (const name of by.#handlers.keys()) this.#former.delete(name);
    this.#handlers = by.#handlers;
    this.#defaultName = by.#defaultName;
  }

  /** For pods that are there too. @throws InvalidArgumentError that names the handlers that there are */
  find(name: string): HandlerRuntime {
    const handler = this.#handlers.get(name === "" ? this.#defaultName : name) ?? this.#former.get(name);
    if (handler !== undefined) return handler;
    throw this.#unknown(name);
  }

  #unknown(name: string): InvalidArgumentError {
    const known = this.names().join(", ");
    return new InvalidArgumentError(
      `runtime handler ${JSON.stringify(name)} is not configured (there are: ${known}); add ` +
        `[crio.runtime.runtimes.${name}] to crio.conf`,
    );
  }

  /** The handler that a request for a new pod with this name gets. @throws InvalidArgumentError as {@link find} */
  effectiveName(name: string): string {
    const handler = this.#handlers.get(name === "" ? this.#defaultName : name);
    if (handler === undefined) throw this.#unknown(name);
    return handler.name;
  }

  forPlatform(handler: string, platform: string): HandlerRuntime {
    const usual = this.find(handler);
    return this.#handlers.get(platformName(usual.name, platform)) ?? usual;
  }

  names(): string[] {
    return [...this.#handlers.keys()].filter((name) => !name.includes(SEPARATOR));
  }
}
