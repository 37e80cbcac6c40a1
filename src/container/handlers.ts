import type { Logger } from "../base/logger.ts";
import { startScope } from "../cgroup/systemd.ts";
import { type CgroupDriver, monitorHome, podCgroup } from "../cgroup/paths.ts";
import type { CgroupTree } from "../cgroup/tree.ts";
import type { Config, HandlerConfig } from "../config/schema.ts";
import type { Host } from "../linux/host.ts";
import { Conmon } from "../oci/monitor/conmon.ts";
import { handlerFeatures } from "../oci/runtime/handler_features.ts";
import { OciRuntime } from "../oci/runtime/runtime.ts";
import { runtimePathFor } from "../oci/runtime/wrapper.ts";
import { HandlerRuntime } from "./handler_runtime.ts";
import { assignments } from "./node_defaults.ts";
import type { MonitorRequest } from "./ports.ts";
import { NodeRuntimes, platformName } from "./runtime_table.ts";

export interface HandlerDeps {
  readonly config: Config;
  readonly host: Host;
  readonly tree: CgroupTree;
  /** Volatile directory for wrappers and the files of running execs; exists. */
  readonly directory: string;
  readonly log: Logger;
}

/**
 * The runtime handlers of the configuration, ready for use on this host.
 *
 * @throws ErrnoError when a runtime's program cannot be executed
 */
export async function openHandlers(deps: HandlerDeps): Promise<NodeRuntimes> {
  const { config } = deps;
  const wanted = [...config.handlers.values()].flatMap((handler) => [
    handler,
    ...Object.entries(handler.platformRuntimePaths).map(([platform, runtimePath]): HandlerConfig => ({
      ...handler,
      name: platformName(handler.name, platform),
      runtimePath,
    })),
  ]);
  const handlers = await Promise.all(wanted.map((handler) => open(deps, handler)));
  return new NodeRuntimes(new Map(handlers.map((one) => [one.name, one])), config.runtime.defaultRuntime);
}

async function open(deps: HandlerDeps, handler: HandlerConfig): Promise<HandlerRuntime> {
  const { config, host, directory, log } = deps;
  const systemdCgroup = config.runtime.cgroupManager === "systemd";
  const root = handler.runtimeRoot;
  const bare = new OciRuntime({ name: handler.name, path: handler.runtimePath, root, systemdCgroup });
  const [version, features] = await Promise.all([bare.version(), bare.features()]);
  const path = await runtimePathFor({
    path: handler.runtimePath,
    version,
    cgroup: host.cgroup,
    directory,
    log,
  });
  const runtime = new OciRuntime({ name: handler.name, path, root, systemdCgroup });
  const conmon = new Conmon({ path: handler.monitorPath, log, env: assignments(handler.monitorEnv) });
  const placeMonitor = monitorPlacement(deps, handler);
  return new HandlerRuntime({
    features: handlerFeatures({ version, features, host }),
    exitsDirectory: config.runtime.containerExitsDir,
    socketDirectory: config.runtime.containerAttachSocketDir,
    execDirectory: directory,
    createTimeoutMs: handler.containerCreateTimeoutSeconds * 1000,
    logSizeMaxBytes: config.runtime.logSizeMaxBytes,
    logToJournald: config.runtime.logToJournald,
    minMemoryBytes: leastMemory(handler),
    noPivot: config.runtime.noPivot,
    noSyncLog: handler.noSyncLog,
    ...(placeMonitor === undefined ? {} : { placeMonitor }),
  }, { runtime, conmon });
}

/** What CRI-O takes when the configuration says nothing: crun needs much less than runtimes written in Go. */
function leastMemory({ containerMinMemoryBytes, runtimePath }: HandlerConfig): number {
  if (containerMinMemoryBytes > 0) return containerMinMemoryBytes;
  return /(^|\/)crun[^/]*$/.test(runtimePath) ? 500 * 1024 : 12 * 1024 * 1024;
}

/** With cgroupfs and no wish, monitors stay with the daemon: that costs no file operation per container. */
function monitorPlacement(
  { config, tree }: HandlerDeps,
  handler: HandlerConfig,
): ((request: MonitorRequest, pid: number) => Promise<void>) | undefined {
  const driver = config.runtime.cgroupManager as CgroupDriver;
  if (driver === "systemd") {
    return async ({ id, cgroupParent }, pid) => {
      const pod = podCgroup({ driver, parent: cgroupParent });
      const slice = handler.monitorCgroup === "pod" ? pod.slice(pod.lastIndexOf("/") + 1) : handler.monitorCgroup;
      await startScope({ unit: `crio-conmon-${id}.scope`, slice: slice === "" ? "system.slice" : slice, pid });
    };
  }
  if (handler.monitorCgroup !== "pod") return undefined;
  return async ({ id, cgroupParent }, pid) => {
    await tree.account(monitorHome({ driver, parent: cgroupParent, id }, tree.layout.mode), pid);
  };
}
