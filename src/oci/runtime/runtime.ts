import { sleep } from "../../base/clock.ts";
import { type CommandResult, commandResult, DEFAULT_PATH } from "../../linux/command.ts";
import type { Program } from "./_exec_process.ts";
import { RuntimeError, type RuntimeFailure } from "./errors.ts";
import { type ExecOutcome, type ExecRequest, runExec } from "./exec.ts";
import { type ExecStreamOptions, runExecStream } from "./exec_stream.ts";
import { parseFeatures, parseVersion, type RuntimeFeatures, type RuntimeVersion } from "./version.ts";

export interface RuntimeOptions {
  /** The handler's name, for messages, e.g. `crun`. */
  readonly name: string;
  /** Absolute path of the program, or of the wrapper that runs it. */
  readonly path: string;
  /** Directory of the runtime's own state (`--root`). */
  readonly root: string;
  /** systemd makes the containers' cgroups. */
  readonly systemdCgroup?: boolean;
  /** The whole environment of the runtime. Default: PATH only. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
}

/** OCI runtime-spec "State", as `<runtime> state` prints it. */
export interface RuntimeState {
  readonly id: string;
  readonly status: "creating" | "created" | "running" | "paused" | "stopped";
  /** 0 when stopped. */
  readonly pid: number;
  readonly bundle: string;
}

/**
 * Before each further try of a delete. A process that ends and is reaped while the runtime looks makes it fail: crun 1.8
 * says "open pidfd: No such file or directory".
 */
const DELETE_PAUSES_MS = [10, 50, 200, undefined] as const;

const STATUSES: readonly string[] = ["creating", "created", "running", "paused", "stopped"];

/**
 * One OCI runtime program on this node: arguments in, results out. Containers are created through a monitor (which gets
 * `path` and `globalArguments`); everything after that goes through here.
 */
export class OciRuntime {
  readonly name: string;
  readonly path: string;
  readonly root: string;
  readonly systemdCgroup: boolean;
  readonly #env: Readonly<Record<string, string>>;

  constructor(options: RuntimeOptions) {
    this.name = options.name;
    this.path = options.path;
    this.root = options.root;
    this.systemdCgroup = options.systemdCgroup ?? false;
    this.#env = options.env ?? { PATH: DEFAULT_PATH };
  }

  /** What stands before each command. */
  get globalArguments(): readonly string[] {
    return [`--root=${this.root}`, ...(this.systemdCgroup ? ["--systemd-cgroup"] : [])];
  }

  /** @throws RuntimeError, or ErrnoError when there is no such program */
  async version(options: CallOptions = {}): Promise<RuntimeVersion> {
    const result = await commandResult([this.path, "--version"], { ...options, env: this.#env });
    if (result.exitCode !== 0) throw this.#error("--version", { id: "", result });
    return parseVersion(decode(result.stdout));
  }

  /** undefined when the program has no `features` command (crun before 1.8.4, runc before 1.1). */
  async features(options: CallOptions = {}): Promise<RuntimeFeatures | undefined> {
    const result = await commandResult([this.path, "features"], { ...options, env: this.#env });
    return result.exitCode === 0 ? parseFeatures(decode(result.stdout)) : undefined;
  }

  /**
   * Creates and starts a container that nobody watches: no log, no exit code.
   *
   * @throws RuntimeError
   */
  async runDetached(
    id: string,
    options: CallOptions & { readonly bundle: string; readonly pidFile: string },
  ): Promise<void> {
    const { bundle, pidFile, ...rest } = options;
    await this.#run("run", { id, flags: ["--detach", "--bundle", bundle, "--pid-file", pidFile], ...rest });
  }

  /** @throws RuntimeError */
  async start(id: string, options: CallOptions = {}): Promise<void> {
    await this.#run("start", { id, ...options });
  }

  /**
   * Sends a signal to a container's first process, or to all its processes.
   *
   * @param signal a number, or a name such as `SIGTERM`
   * @returns false when it does not run
   * @throws RuntimeError
   */
  async kill(
    id: string,
    signal: string | number,
    options: CallOptions & { readonly all?: boolean } = {},
  ): Promise<boolean> {
    const flags = options.all === true ? ["--all"] : [];
    return await this.#unless(["container_not_found", "not_running"], "kill", {
      id,
      flags,
      after: [String(signal)],
      ...options,
    });
  }

  /**
   * Removes what the runtime holds of a container: its state and cgroups. With `force` a running one is killed first;
   * to be used too for one that has just exited, whose zombie the runtime may still take for running. Absent is fine.
   *
   * @throws RuntimeError
   */
  async delete(id: string, options: CallOptions & { readonly force?: boolean } = {}): Promise<void> {
    const flags = options.force === true ? ["--force"] : [];
    for (const pauseMs of DELETE_PAUSES_MS) {
      try {
        await this.#unless(["container_not_found"], "delete", { id, flags, ...options });
        return;
      } catch (error) {
        if (pauseMs === undefined || !(error instanceof RuntimeError)) throw error;
        await sleep(pauseMs, options);
      }
    }
  }

  /**
   * @returns undefined when the runtime does not know the container
   * @throws RuntimeError
   */
  async state(id: string, options: CallOptions = {}): Promise<RuntimeState | undefined> {
    try {
      const { stdout } = await this.#run("state", { id, ...options });
      const state = parseState(decode(stdout));
      if (state !== undefined) return state;
      throw new RuntimeError({ ...this.#fields("state", id), stderr: "", ending: "its answer is no state object" });
    } catch (error) {
      if (error instanceof RuntimeError && error.failure === "container_not_found") return undefined;
      throw error;
    }
  }

  /** @throws RuntimeError */
  async pause(id: string, options: CallOptions = {}): Promise<void> {
    await this.#run("pause", { id, ...options });
  }

  /** @throws RuntimeError */
  async resume(id: string, options: CallOptions = {}): Promise<void> {
    await this.#run("resume", { id, ...options });
  }

  /**
   * Has CRIU write a container's processes into `imagePath` (exists, empty); they go on afterwards. CRIU's log is
   * `dump.log` in `workPath`.
   *
   * @throws RuntimeError, also where the runtime was built without CRIU
   */
  async checkpoint(
    id: string,
    options: CallOptions & { readonly imagePath: string; readonly workPath: string },
  ): Promise<void> {
    const { imagePath, workPath, ...rest } = options;
    const flags = ["--image-path", imagePath, "--work-path", workPath, "--leave-running"];
    await this.#run("checkpoint", { id, flags, ...rest });
  }

  /**
   * Changes a container's limits.
   *
   * @param resources `linux.resources` of the OCI runtime-spec
   * @throws RuntimeError
   */
  async update(id: string, resources: object, options: CallOptions = {}): Promise<void> {
    const stdin = JSON.stringify(resources);
    await this.#run("update", { id, flags: ["--resources=/dev/stdin"], stdin, ...options });
  }

  /** The command line that runs a process in a container; for callers that connect the streams themselves. */
  execArguments(id: string, files: ExecFiles): string[] {
    const { processFile, pidFile, consoleSocket, detach = false } = files;
    return [
      this.path,
      ...this.globalArguments,
      "exec",
      ...(detach ? ["--detach"] : []),
      ...(consoleSocket === undefined ? [] : ["--console-socket", consoleSocket]),
      "--pid-file",
      pidFile,
      "--process",
      processFile,
      id,
    ];
  }

  /**
   * Runs a process in a container to its end, without input, and gives its output.
   *
   * @throws RuntimeError when it cannot be started; the signal's reason when aborted (the process is killed)
   */
  execSync(id: string, request: ExecRequest): Promise<ExecOutcome> {
    return runExec(this.#execProgram(id), id, { request });
  }

  /**
   * Runs a process in a container to its end with its streams connected to somebody; gives its exit code.
   *
   * @throws RuntimeError when it cannot be started; the signal's reason when aborted (the process is killed)
   */
  execStream(id: string, options: ExecStreamOptions): Promise<number> {
    return runExecStream(this.#execProgram(id), id, options);
  }

  #execProgram(id: string): Program {
    return { name: this.name, env: this.#env, argumentsFor: (files) => this.execArguments(id, files) };
  }

  /** Runs a command that may find nothing to do; false then. */
  async #unless(harmless: readonly RuntimeFailure[], command: string, call: Call): Promise<boolean> {
    try {
      await this.#run(command, call);
      return true;
    } catch (error) {
      if (error instanceof RuntimeError && harmless.includes(error.failure)) return false;
      throw error;
    }
  }

  async #run(command: string, call: Call): Promise<CommandResult> {
    const { id, flags = [], after = [], stdin, signal } = call;
    const argv = [this.path, ...this.globalArguments, command, ...flags, id, ...after];
    const result = await commandResult(argv, {
      env: this.#env,
      ...(stdin === undefined ? {} : { stdin }),
      ...(signal === undefined ? {} : { signal }),
    });
    if (result.exitCode !== 0) throw this.#error(command, { id, result });
    return result;
  }

  #fields(command: string, id: string): { runtime: string; command: string; containerId: string } {
    return { runtime: this.name, command, containerId: id };
  }

  #error(command: string, { id, result }: { readonly id: string; readonly result: CommandResult }): RuntimeError {
    const ending = result.signal === undefined ? `exit code ${result.exitCode}` : `ended by signal ${result.signal}`;
    return new RuntimeError({ ...this.#fields(command, id), stderr: decode(result.stderr), ending });
  }
}

/** Files through which a runtime's `exec` gets and gives what does not fit on its command line. */
export interface ExecFiles {
  /** OCI process object as JSON. */
  readonly processFile: string;
  /** Written by the runtime when the process runs. */
  readonly pidFile: string;
  /** Unix socket that receives the terminal. */
  readonly consoleSocket?: string;
  readonly detach?: boolean;
}

interface Call {
  readonly id: string;
  readonly flags?: readonly string[];
  readonly after?: readonly string[];
  readonly stdin?: string;
  readonly signal?: AbortSignal;
}

/** Parses the JSON of `<runtime> state`; undefined when it is none. */
export function parseState(output: string): RuntimeState | undefined {
  let value: unknown;
  try {
    value = JSON.parse(output);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { id, status, pid, bundle } = value as Record<string, unknown>;
  if (typeof id !== "string" || typeof status !== "string" || !isStatus(status)) return undefined;
  return { id, status, pid: typeof pid === "number" ? pid : 0, bundle: typeof bundle === "string" ? bundle : "" };
}

function isStatus(status: string): status is RuntimeState["status"] {
  return STATUSES.includes(status);
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
