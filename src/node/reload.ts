/**
 * What has to be done for a reload of the configuration beyond the options themselves: parts that keep something made of
 * them. Each is asked first and changes nothing then; see {@link LiveConfig}.
 *
 * @module
 */
import { FailedPreconditionError, InvalidArgumentError, UnimplementedError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { LiveConfig, Prepare } from "../config/live.ts";
import type { Config } from "../config/schema.ts";
import type { NodeConfinement } from "../container/confinement.ts";
import { type HandlerDeps, openHandlers } from "../container/handlers.ts";
import { nodeDefaults } from "../container/node_defaults.ts";
import type { NodeDefaults } from "../container/ports.ts";
import type { ResourceClasses } from "../container/resource_classes.ts";
import type { NodeRuntimes } from "../container/runtime_table.ts";
import { openResourceClasses } from "./cpu_tuning.ts";
import type { Host } from "../linux/host.ts";
import type { DaemonObserver } from "../metrics/metrics.ts";
import type { StatusDeps } from "../status/types.ts";

/** Options outside the handlers' tables that are part of a handler. */
const HANDLER_OPTIONS: ReadonlySet<string> = new Set(["crio.runtime.default_runtime"]);

/** What of a pod or a container decides which handler runs it. */
interface Handled {
  readonly runtimeHandler: string;
}

export interface RuntimeParts extends Omit<HandlerDeps, "config"> {
  readonly config: Config;
  readonly runtimes: NodeRuntimes;
  readonly metrics: Pick<DaemonObserver, "defaultRuntime">;
  /** Pods and containers that are there. */
  users(): Iterable<Handled>;
}

/** The runtime handlers: only where one of them changes are the programs asked again. */
export function reloadRuntimes({ runtimes, metrics, users, ...deps }: RuntimeParts): Prepare {
  // Those of former handlers too, for the pods that still have them.
  const roots = new Map<string, string>();
  return async (next, changed) => {
    const isAbout = (path: string): boolean => HANDLER_OPTIONS.has(path) || path.startsWith("crio.runtime.runtimes.");
    if (![...changed].some(isAbout)) return undefined;
    for (const [name, { runtimeRoot }] of deps.config.handlers) roots.set(name, runtimeRoot);
    refuseMoved(roots, { next, users: users() });
    const handlers = await openHandlers({ ...deps, config: next });
    return () => {
      runtimes.replace(handlers);
      metrics.defaultRuntime(runtimes.defaultName);
    };
  };
}

/** A runtime knows its containers by its state directory: with another one they could be neither stopped nor removed. */
function refuseMoved(
  roots: ReadonlyMap<string, string>,
  { next, users }: { next: Config; users: Iterable<Handled> },
): void {
  const used = new Set([...users].map(({ runtimeHandler }) => runtimeHandler));
  for (const [name, runtimeRoot] of roots) {
    const after = next.handlers.get(name)?.runtimeRoot;
    if (!used.has(name) || after === undefined || after === runtimeRoot) continue;
    throw new FailedPreconditionError(
      `crio.runtime.runtimes.${name}.runtime_root cannot become ${after}: pods of this handler have their state in ` +
        `${runtimeRoot}; drain the node first`,
    );
  }
}

/** Defaults of containers: they are read for each one. */
export function reloadDefaults(node: NodeDefaults, host: Host): Prepare {
  return (next) => {
    const fresh = { ...nodeDefaults(next, host), handlers: node.handlers };
    return Promise.resolve(() => void Object.assign(node, fresh));
  };
}

export function reloadConfinement(confinement: NodeConfinement): Prepare {
  return (next) => confinement.reload(next);
}

/** Classes of block I/O and cache: their files are read each time, as an administrator who edits them expects. */
export function reloadClasses(classes: ResourceClasses, log: Logger): Prepare {
  return async (next) => {
    const fresh = { blockIo: undefined, ...await openResourceClasses(next, { log }) };
    return () => void Object.assign(classes, fresh);
  };
}

/** What the images of a node do for a reload. */
export interface LiveImages {
  pin(patterns: readonly string[]): void;
  checkFiles(): Promise<void>;
}

export function reloadImages(images: LiveImages): Prepare {
  return async ({ image }, changed) => {
    await images.checkFiles();
    const { pauseImageAuthFile: file } = image;
    if (changed.has("crio.image.pause_image_auth_file") && file !== "") await Deno.stat(file).catch(absent);
    return () => images.pin([...image.pinnedImages, image.pauseImage]);
  };
}

function absent(cause: unknown): never {
  throw new InvalidArgumentError(`crio.image.pause_image_auth_file: ${cause instanceof Error ? cause.message : ""}`, {
    cause,
  });
}

/** What the HTTP API tells and does about the configuration. */
export function reloadOperations(live: LiveConfig | undefined): Pick<StatusDeps, "configToml" | "reload"> {
  if (live === undefined) {
    return {
      configToml: () => "",
      reload: () => Promise.reject(new UnimplementedError("reload")),
    };
  }
  return { configToml: () => live.toml(), reload: () => live.reload() };
}
