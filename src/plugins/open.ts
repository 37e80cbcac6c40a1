import type { Logger } from "../base/logger.ts";
import { VERSION } from "../base/version.ts";
import type { Config } from "../config/schema.ts";
import { PluginDoor } from "../nri/door.ts";
import type { PluginRuntime } from "../nri/plugins.ts";
import type { Containers } from "../container/containers.ts";
import type { ContainerRecord } from "../container/types.ts";
import type { Sandboxes } from "../sandbox/sandboxes.ts";
import type { RecordStore } from "../state/record_store.ts";
import type { LifeHooks } from "./hooks.ts";
import type { NodeLife, Relay } from "./relay.ts";

/** What plugins know this runtime as. */
const RUNTIME_NAME = "cri-o";

/**
 * Lets plugins take part in the life of pods and containers: starts the installed ones, and listens for others.
 *
 * @throws FailedPreconditionError when the socket is taken
 */
export async function openPlugins(
  { nri, nriValidator: { enable, ...rules } }: Config,
  { hooks, log, ...pods }: {
    readonly hooks: LifeHooks;
    readonly containers: Containers;
    readonly sandboxes: Sandboxes;
    /** Those of all containers. */
    readonly records: Pick<RecordStore<ContainerRecord>, "subscribe">;
    readonly log: Logger;
  },
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const node = nodeLife(pods);
  const opened: { door?: PluginDoor } = {};
  let loading: Promise<Relay> | undefined;
  const relay = (): Promise<Relay> => {
    loading ??= import("./relay.ts").then(({ Relay }) => new Relay({ node, log, plugins: () => opened.door?.plugins }));
    return loading;
  };
  const runtime: PluginRuntime = {
    state: async () => await (await relay()).state(),
    update: async (updates) => updates.length === 0 ? [] : await (await relay()).apply(updates),
    evict: async (evictions) => {
      if (evictions.length > 0) await (await relay()).evict(evictions);
    },
  };
  hooks.markEnded([...node.containers()].filter(({ state }) => state === "exited").map(({ id }) => id));
  stack.use(pods.records.subscribe((record, previous) => {
    if (record?.state === "exited" && previous?.state !== "exited") void hooks.ended(record);
  }));
  const door = stack.use(
    new PluginDoor({
      ...(nri.nriDisableConnections ? {} : { socketPath: nri.nriListen }),
      pluginDirectory: nri.nriPluginDir,
      configDirectory: nri.nriPluginConfigDir,
      terms: {
        runtimeName: RUNTIME_NAME,
        runtimeVersion: VERSION,
        registrationTimeoutMs: nri.nriPluginRegistrationTimeoutMs,
        requestTimeoutMs: nri.nriPluginRequestTimeoutMs,
      },
      ...(enable ? { validator: rules } : {}),
    }, { runtime, log }),
  );
  opened.door = door;
  // Before a plugin can join: nothing that happens after that may be missed.
  hooks.connect(door, relay);
  await door.open();
  return stack.move();
}

function nodeLife(
  { containers, sandboxes }: { readonly containers: Containers; readonly sandboxes: Sandboxes },
): NodeLife {
  return {
    pods: () => sandboxes.list(),
    pod: (id) => sandboxes.find(id),
    containers: () => containers.list(),
    specOf: (record) => containers.runtimeSpec(record),
    isAlive: (id) => ["created", "running"].includes(containers.find(id)?.state ?? ""),
    changeLimits: (id, limits) => containers.changeLimits(id, limits),
    stop: (id, options) => containers.stop(id, options),
  };
}
