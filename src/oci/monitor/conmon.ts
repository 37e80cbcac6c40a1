import { DeadlineError, messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { DEFAULT_PATH } from "../../linux/command.ts";
import { openPipe, type OwnedFd, type Pair, readNow, writeNow } from "../../linux/pipe.ts";
import { identify, killTree, type ProcessKey } from "../../linux/process.ts";
import { type Child, spawnProcess } from "../../linux/spawn.ts";
import { RuntimeError } from "../runtime/errors.ts";
import type { OciRuntime } from "../runtime/runtime.ts";
import { type MonitorAnswer, readAnswer } from "./_sync_pipe.ts";

const SIGKILL = 9;
/** Numbers that conmon gets its two pipes on, told through its environment. */
const SYNC_FD = 3;
const START_FD = 4;
const STDERR_BYTES = 4096;
/** What remains of a failed create is cleaned up within this, whatever became of the request. */
const CLEANUP_MS = 10_000;
const FORK_MS = 1000;

export interface ConmonOptions {
  /** Absolute path of conmon. */
  readonly path: string;
  readonly log: Logger;
  /** Environment beside PATH and conmon's own variables (`monitor_env`). */
  readonly env?: Readonly<Record<string, string>>;
  /** conmon's `--log-level`; it goes to conmon's stderr and, with `syslog`, to syslog. Default `warn`. */
  readonly logLevel?: string;
  readonly syslog?: boolean;
}

/** One container to be created by a runtime below a new monitor. All paths are absolute; directories exist. */
export interface CreateRequest {
  readonly id: string;
  readonly name: string;
  /** Holds config.json; the attach socket and the `ctl` pipe are made here. */
  readonly bundle: string;
  /** The kubelet's log file; or `journald:`, or several. */
  readonly logPaths: readonly string[];
  readonly exitDir: string;
  /** Gets the marker `oom` and a second copy of the exit code. */
  readonly persistDir: string;
  readonly socketDir: string;
  readonly pidFile: string;
  readonly monitorPidFile: string;
  readonly runtime: OciRuntime;
  readonly terminal?: boolean;
  readonly stdin?: boolean;
  readonly leaveStdinOpen?: boolean;
  /** Absent or negative: no limit. */
  readonly logSizeMaxBytes?: number;
  readonly noPivot?: boolean;
  readonly noSyncLog?: boolean;
  readonly noNewKeyring?: boolean;
  /** Directory that CRIU wrote: the container goes on from there, running, instead of waiting for its start. */
  readonly restoreFrom?: string;
  /** `container_create_timeout`. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Puts the monitor into its cgroup, before it starts the runtime. Failing is logged only. */
  readonly place?: (monitorPid: number) => Promise<void>;
}

export interface MonitoredContainer {
  readonly container: ProcessKey;
  readonly monitor: ProcessKey;
}

/** Creates containers below conmon, one monitor process for each. */
export class Conmon {
  readonly #options: ConmonOptions;

  constructor(options: ConmonOptions) {
    this.#options = options;
  }

  /**
   * Starts a monitor, which has the runtime create the container and watches over it from then on. After any failure
   * no process and no runtime state of the container is left.
   *
   * @throws RuntimeError when the runtime or the monitor fails; DeadlineError; the signal's reason
   */
  async create(request: CreateRequest): Promise<MonitoredContainer> {
    const { signal } = request;
    signal?.throwIfAborted();
    using pipes = new DisposableStack();
    const sync = pipes.use(openPipe());
    const start = pipes.use(openPipe());
    const stderr = pipes.use(openPipe());
    await forget(request.monitorPidFile);
    const child = this.#spawn(request, { sync, start, stderr });
    let isStarted = false;
    for (const end of [sync.write, start.read, stderr.write]) end.close();
    try {
      await this.#place(request, child.pid);
      writeNow(start.write, new Uint8Array(1));
      start.write.close();
      isStarted = true;
      const answer = await this.#answer(request, sync.read);
      const container = answer.pid > 0 ? identify(answer.pid) : undefined;
      await child.exited;
      const monitor = await readMonitor(request.monitorPidFile);
      if (container !== undefined && monitor !== undefined) return { container, monitor };
      throw failure(request, { answer, stderr: stderr.read });
    } catch (error) {
      await this.#cleanUp(request, { child, isStarted });
      throw error;
    }
  }

  #spawn(request: CreateRequest, pipes: Readonly<Record<"sync" | "start" | "stderr", Pair>>): Child {
    const env = {
      PATH: DEFAULT_PATH,
      ...this.#options.env,
      _OCI_SYNCPIPE: String(SYNC_FD),
      _OCI_STARTPIPE: String(START_FD),
    };
    const fds = new Map([[2, pipes.stderr.write.fd], [SYNC_FD, pipes.sync.write.fd], [START_FD, pipes.start.read.fd]]);
    return spawnProcess([this.#options.path, ...this.#arguments(request)], { env, fds, cwd: request.bundle });
  }

  #arguments(request: CreateRequest): string[] {
    const { runtime, logSizeMaxBytes = -1 } = request;
    const flag = (name: string, isSet: boolean | undefined): string[] => isSet === true ? [name] : [];
    return [
      ...["-b", request.bundle, "-c", request.id, "-u", request.id, "-n", request.name],
      ...["--exit-dir", request.exitDir, "--persist-dir", request.persistDir],
      ...["--socket-dir-path", request.socketDir],
      ...["-P", request.monitorPidFile, "-p", request.pidFile],
      ...["--log-level", this.#options.logLevel ?? "warn"],
      ...flag("--syslog", this.#options.syslog),
      ...request.logPaths.flatMap((path) => ["-l", path]),
      ...(logSizeMaxBytes > 0 ? ["--log-size-max", String(logSizeMaxBytes)] : []),
      ...["-r", runtime.path, ...runtime.globalArguments.map((argument) => `--runtime-arg=${argument}`)],
      ...flag("-s", runtime.systemdCgroup),
      ...flag("-t", request.terminal),
      ...flag("-i", request.stdin),
      ...flag("--leave-stdin-open", request.leaveStdinOpen),
      ...flag("--no-pivot", request.noPivot),
      ...flag("--no-sync-log", request.noSyncLog),
      ...flag("--no-new-keyring", request.noNewKeyring),
      ...(request.restoreFrom === undefined ? [] : ["--restore", request.restoreFrom]),
    ];
  }

  async #place({ place, id }: CreateRequest, pid: number): Promise<void> {
    try {
      await place?.(pid);
    } catch (error) {
      this.#options.log.warn("the monitor stays in the daemon's cgroup", { id, error: messageOf(error) });
    }
  }

  async #answer(request: CreateRequest, sync: OwnedFd): Promise<MonitorAnswer> {
    const { timeoutMs, signal } = request;
    const startedMs = performance.now();
    const time = AbortSignal.timeout(timeoutMs);
    const both = signal === undefined ? time : AbortSignal.any([signal, time]);
    try {
      return await readAnswer(sync, { signal: both });
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      if (!time.aborted) throw error;
      const what = `create container ${request.id}`;
      throw new DeadlineError(what, `${request.runtime.name} creates it`, performance.now() - startedMs);
    }
  }

  /** Kills the monitor with the runtime and the container's first process below it, then clears the runtime's state. */
  async #cleanUp(
    request: CreateRequest,
    { child, isStarted }: { readonly child: Child; readonly isStarted: boolean },
  ): Promise<void> {
    // Once started, conmon forks at once; killed in between, it would leave a monitor whose pid nobody wrote down.
    const limit = setTimeout(() => child.kill(SIGKILL), isStarted ? FORK_MS : 0);
    await child.exited;
    clearTimeout(limit);
    const monitor = await readMonitor(request.monitorPidFile);
    if (monitor !== undefined) killTree(monitor);
    try {
      const signal = AbortSignal.timeout(CLEANUP_MS);
      await request.runtime.delete(request.id, { force: true, signal });
    } catch (error) {
      const { id } = request;
      this.#options.log.warn("the runtime keeps state of a container that failed", { id, error: messageOf(error) });
    }
  }
}

async function readMonitor(pidFile: string): Promise<ProcessKey | undefined> {
  try {
    return identify(Number((await Deno.readTextFile(pidFile)).trim()));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** A pid file of an earlier attempt would name a stranger. */
async function forget(pidFile: string): Promise<void> {
  try {
    await Deno.remove(pidFile);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function failure(
  request: CreateRequest,
  { answer, stderr }: { readonly answer: MonitorAnswer; readonly stderr: OwnedFd },
): RuntimeError {
  const said = new TextDecoder().decode(readNow(stderr, STDERR_BYTES));
  return new RuntimeError({
    runtime: request.runtime.name,
    command: "create",
    containerId: request.id,
    stderr: answer.message === "" ? said : answer.message,
    ending: answer.pid > 0
      ? "its first process or its monitor ended at once"
      : "its monitor ended without an answer; see the system log for conmon",
  });
}
