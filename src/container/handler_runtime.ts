import { InternalError } from "../base/errors.ts";
import type { ContainerId } from "../base/ids.ts";
import type { Conmon } from "../oci/monitor/conmon.ts";
import { attachSocketPath, removeAttachLink, reopenLog, resizeTerminal } from "../oci/monitor/control.ts";
import type { HandlerFeatures } from "../oci/runtime/handler_features.ts";
import type { OciRuntime } from "../oci/runtime/runtime.ts";
import type { OciResources } from "../oci/spec/types.ts";
import { identify } from "../linux/process.ts";
import type { ProcessStreams } from "../streaming/handlers.ts";
import type { AttachPoint, ContainerRuntime, ExecResult, MonitorRequest } from "./ports.ts";
import type { ProcessIdentity } from "./types.ts";

export interface HandlerOptions {
  readonly features: HandlerFeatures;
  /** Monitors write exit codes here. */
  readonly exitsDirectory: string;
  readonly socketDirectory: string;
  /** Small files of running execs, best on tmpfs. */
  readonly execDirectory: string;
  readonly createTimeoutMs: number;
  readonly logSizeMaxBytes: number;
  /** Output goes to the journal as well. */
  readonly logToJournald: boolean;
  readonly minMemoryBytes: number;
  readonly noPivot: boolean;
  readonly noSyncLog: boolean;
  /** Puts a monitor into the cgroup where it belongs; absent: it stays in the daemon's. */
  readonly placeMonitor?: (request: MonitorRequest, monitorPid: number) => Promise<void>;
}

/** A runtime handler that creates containers below conmon and does the rest by calling the OCI runtime. */
export class HandlerRuntime implements ContainerRuntime {
  readonly name: string;
  readonly minMemoryBytes: number;
  readonly features: HandlerFeatures;
  readonly #runtime: OciRuntime;
  readonly #conmon: Conmon;

  constructor(private readonly options: HandlerOptions, deps: { runtime: OciRuntime; conmon: Conmon }) {
    this.name = deps.runtime.name;
    this.minMemoryBytes = options.minMemoryBytes;
    this.features = options.features;
    this.#runtime = deps.runtime;
    this.#conmon = deps.conmon;
  }

  async create(
    request: MonitorRequest,
    { signal }: { signal: AbortSignal },
  ): Promise<{ process: ProcessIdentity; monitor: ProcessIdentity }> {
    const { options } = this;
    const { placeMonitor } = options;
    const { container, monitor } = await this.#conmon.create({
      id: request.id,
      name: request.name,
      bundle: request.bundle,
      logPaths: [
        request.logFile === "" ? "/dev/null" : request.logFile,
        ...(options.logToJournald ? ["journald:"] : []),
      ],
      exitDir: options.exitsDirectory,
      persistDir: request.persistDirectory,
      socketDir: options.socketDirectory,
      pidFile: `${request.bundle}/pidfile`,
      monitorPidFile: `${request.bundle}/conmon-pidfile`,
      runtime: this.#runtime,
      terminal: request.terminal,
      stdin: request.stdin,
      leaveStdinOpen: request.stdin && !request.stdinOnce,
      logSizeMaxBytes: options.logSizeMaxBytes,
      noPivot: options.noPivot,
      noSyncLog: options.noSyncLog,
      timeoutMs: options.createTimeoutMs,
      signal,
      ...(request.restoreFrom === undefined ? {} : { restoreFrom: request.restoreFrom }),
      ...(placeMonitor === undefined ? {} : { place: (pid: number) => placeMonitor(request, pid) }),
    });
    return { process: container, monitor };
  }

  async start(id: ContainerId, options: { signal: AbortSignal }): Promise<void> {
    await this.#runtime.start(id, options);
  }

  async delete(id: string, options: { signal: AbortSignal }): Promise<void> {
    await this.#runtime.delete(id, { ...options, force: true });
    await removeAttachLink(this.options.socketDirectory, id);
  }

  async pause(id: ContainerId, options: { signal: AbortSignal }): Promise<void> {
    await this.#runtime.pause(id, options);
  }

  async resume(id: ContainerId, options: { signal: AbortSignal }): Promise<void> {
    await this.#runtime.resume(id, options);
  }

  async update(id: ContainerId, resources: OciResources, options: { signal: AbortSignal }): Promise<void> {
    await this.#runtime.update(id, resources, options);
  }

  async checkpoint(
    id: ContainerId,
    places: { readonly imagePath: string; readonly workPath: string },
    options: { signal: AbortSignal },
  ): Promise<void> {
    await this.#runtime.checkpoint(id, { ...places, ...options });
  }

  async execSync(
    id: ContainerId,
    request: { process: object; timeoutMs: number },
    { signal }: { signal: AbortSignal },
  ): Promise<ExecResult> {
    const { process, timeoutMs } = request;
    return await this.#runtime.execSync(id, {
      processSpec: process,
      timeoutMs,
      directory: this.options.execDirectory,
      signal,
    });
  }

  async execStream(
    id: ContainerId,
    request: { process: { readonly terminal?: boolean }; streams: ProcessStreams },
    { signal }: { signal: AbortSignal },
  ): Promise<number> {
    const { process, streams } = request;
    const directory = this.options.execDirectory;
    return await this.#runtime.execStream(id, { processSpec: process, streams, directory, signal });
  }

  attachPoint({ id, bundle }: { id: ContainerId; bundle: string }): AttachPoint {
    return {
      socketPath: attachSocketPath(this.options.socketDirectory, id),
      resize: (size) => resizeTerminal(bundle, size),
    };
  }

  async reopenLog(
    container: { bundle: string; logFile: string },
    options: { signal: AbortSignal },
  ): Promise<void> {
    await reopenLog({ bundle: container.bundle, logPath: container.logFile, ...options });
  }

  /** Whether the runtime says that it has been started. */
  async wasStarted(id: ContainerId, options: { signal: AbortSignal }): Promise<boolean> {
    const state = await this.#runtime.state(id, options);
    return state !== undefined && state.status !== "created" && state.status !== "creating";
  }

  /** Creates and starts a container without monitor, log or terminal. */
  async runDetached(
    id: string,
    { bundle }: { bundle: string },
    options: { signal: AbortSignal },
  ): Promise<ProcessIdentity> {
    const pidFile = `${bundle}/pidfile`;
    await this.#runtime.runDetached(id, { bundle, pidFile, ...options });
    const pid = Number((await Deno.readTextFile(pidFile)).trim());
    const process = identify(pid);
    if (process === undefined) throw new InternalError(`process ${pid} of ${id} ended as soon as it was started`);
    return process;
  }
}
