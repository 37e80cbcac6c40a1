import { InvalidArgumentError } from "../base/errors.ts";
import type { HandlerRuntime } from "./handler_runtime.ts";
import type { RuntimeTable } from "./ports.ts";

/** The runtime handlers of this node by name. */
export class NodeRuntimes implements RuntimeTable {
  constructor(
    private readonly handlers: ReadonlyMap<string, HandlerRuntime>,
    /** The handler of requests that name none. */
    readonly defaultName: string,
  ) {}

  /** @throws InvalidArgumentError that names the handlers that there are */
  find(name: string): HandlerRuntime {
    const handler = this.handlers.get(name === "" ? this.defaultName : name);
    if (handler !== undefined) return handler;
    const known = [...this.handlers.keys()].join(", ");
    throw new InvalidArgumentError(
      `runtime handler ${JSON.stringify(name)} is not configured (there are: ${known}); add ` +
        `[crio.runtime.runtimes.${name}] to crio.conf`,
    );
  }

  /** The handler that a request with this name gets. */
  effectiveName(name: string): string {
    return this.find(name).name;
  }

  names(): string[] {
    return [...this.handlers.keys()];
  }
}
