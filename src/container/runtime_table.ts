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
  constructor(
    /** By name; further ones for images of other platforms by {@link platformName}. */
    private readonly handlers: ReadonlyMap<string, HandlerRuntime>,
    /** The handler of requests that name none. */
    readonly defaultName: string,
  ) {}

  /** @throws InvalidArgumentError that names the handlers that there are */
  find(name: string): HandlerRuntime {
    const handler = this.handlers.get(name === "" ? this.defaultName : name);
    if (handler !== undefined) return handler;
    const known = this.names().join(", ");
    throw new InvalidArgumentError(
      `runtime handler ${JSON.stringify(name)} is not configured (there are: ${known}); add ` +
        `[crio.runtime.runtimes.${name}] to crio.conf`,
    );
  }

  /** The handler that a request with this name gets. */
  effectiveName(name: string): string {
    return this.find(name).name;
  }

  forPlatform(handler: string, platform: string): HandlerRuntime {
    const usual = this.find(handler);
    return this.handlers.get(platformName(usual.name, platform)) ?? usual;
  }

  names(): string[] {
    return [...this.handlers.keys()].filter((name) => !name.includes(SEPARATOR));
  }
}
