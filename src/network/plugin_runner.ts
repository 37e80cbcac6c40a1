import type { Clock } from "../base/clock.ts";
import { messageOf, PodError } from "../base/errors.ts";
import { Semaphore } from "../base/semaphore.ts";
import type { CommandOptions, CommandResult } from "../linux/command.ts";
import { isErrno } from "../linux/errno.ts";
import { parseObject } from "./_json.ts";
import { CniError, type CniFailure, pluginError } from "./errors.ts";
import type { Attachment, CniCommand, JsonObject } from "./types.ts";

/** More than any plugin prints. */
const MAX_OUTPUT_BYTES = 1024 * 1024;
const EXCERPT_CHARACTERS = 400;

/** Runs a program; see `commandResult` of `linux/command.ts`. */
export type RunCommand = (argv: readonly string[], options: CommandOptions) => Promise<CommandResult>;

export interface PluginRunnerOptions {
  /** Searched in this order. */
  readonly pluginDirs: readonly string[];
  /** Whole environment of the plugins, without the CNI_ variables; PATH at least, for iptables and its like. */
  readonly env: Readonly<Record<string, string>>;
  /** Plugin processes at one time. */
  readonly maxParallel: number;
}

/** One call of one plugin. */
export interface PluginCall {
  readonly command: CniCommand;
  readonly plugin: string;
  readonly network: string;
  /** Goes to the plugin's stdin. */
  readonly config: JsonObject;
  /** Absent for STATUS and GC, which are not about one container. */
  readonly attachment?: Attachment;
}

/** Starts plugin processes and reads what they print, as the CNI specification's section 3 has it. */
export class PluginRunner {
  readonly #options: PluginRunnerOptions;
  readonly #run: RunCommand;
  readonly #clock: Clock;
  readonly #places: Semaphore;
  /** Where plugins were found; emptied when one of them is not there any more. */
  readonly #found = new Map<string, string>();

  constructor(options: PluginRunnerOptions, deps: { readonly run: RunCommand; readonly clock: Clock }) {
    this.#options = options;
    this.#run = deps.run;
    this.#clock = deps.clock;
    this.#places = new Semaphore(options.maxParallel);
  }

  /** The path of a plugin in the plugin directories, or undefined. */
  async find(type: string): Promise<string | undefined> {
    const known = this.#found.get(type);
    if (known !== undefined) return known;
    for (const directory of this.#options.pluginDirs) {
      const path = `${directory.replace(/\/+$/, "")}/${type}`;
      const isFile = await Deno.stat(path).then((info) => info.isFile, () => false);
      if (!isFile) continue;
      this.#found.set(type, path);
      return path;
    }
    return undefined;
  }

  /** Looks plugins up anew from now on. */
  forgetPaths(): void {
    this.#found.clear();
  }

  /**
   * Runs a plugin to its end; aborting kills its process group.
   *
   * @returns what it printed; undefined when that was nothing
   * @throws CniError
   */
  async call(call: PluginCall, options: { readonly signal: AbortSignal }): Promise<JsonObject | undefined> {
    const { signal } = options;
    const startMs = this.#clock.monotonicMs();
    const failure = (stage: CniFailure["stage"], message: string, more: Partial<CniFailure> = {}): CniFailure => ({
      plugin: call.plugin,
      network: call.network,
      command: call.command,
      stage,
      elapsedMs: this.#clock.monotonicMs() - startMs,
      message,
      ...more,
    });
    const path = await this.find(call.plugin);
    if (path === undefined) {
      const places = this.#options.pluginDirs.join(", ");
      const message = `no such plugin in ${places}; install it there or correct plugin_dirs`;
      throw new CniError(failure("find plugin", message, { kind: "failed_precondition" }));
    }
    let result: CommandResult;
    try {
      // A pod that starts goes before pods that end: somebody waits for it.
      using _place = await this.#places.acquire({ signal, urgent: call.command === "ADD" });
      result = await this.#run([path], {
        signal,
        stdin: JSON.stringify(call.config),
        env: this.#environment(call),
        maxOutputBytes: MAX_OUTPUT_BYTES,
      });
    } catch (error) {
      if (isErrno(error, "ENOENT", "EACCES")) this.forgetPaths();
      throw new CniError(stoppedOrUnstartable(failure, error, signal), { cause: error });
    }
    return readOutput(result, failure);
  }

  #environment(call: PluginCall): Record<string, string> {
    const { attachment } = call;
    const env = { ...this.#options.env, CNI_COMMAND: call.command, CNI_PATH: this.#options.pluginDirs.join(":") };
    if (attachment === undefined) return env;
    return {
      ...env,
      CNI_CONTAINERID: attachment.containerId,
      CNI_NETNS: attachment.netns,
      CNI_IFNAME: attachment.ifName,
      CNI_ARGS: attachment.cniArgs.map(([name, value]) => `${name}=${value}`).join(";"),
    };
  }
}

type MakeFailure = (stage: CniFailure["stage"], message: string, more?: Partial<CniFailure>) => CniFailure;

function stoppedOrUnstartable(failure: MakeFailure, error: unknown, signal: AbortSignal): CniFailure {
  if (!signal.aborted) {
    return failure("start", messageOf(error), error instanceof PodError ? { kind: error.kind } : {});
  }
  const timedOut = signal.reason instanceof DOMException && signal.reason.name === "TimeoutError";
  return timedOut
    ? failure("run", "out of time; the plugin was killed", { kind: "deadline_exceeded" })
    : failure("run", `cancelled; the plugin was killed: ${messageOf(signal.reason)}`, { kind: "cancelled" });
}

function readOutput(result: CommandResult, failure: MakeFailure): JsonObject | undefined {
  const text = new TextDecoder().decode(result.stdout).trim();
  const output = parseObject(text);
  if (result.exitCode === 0) {
    if (text === "") return undefined;
    if (output !== undefined) return output;
    throw new CniError(failure("read result", `printed something that is no JSON object: ${excerpt(text)}`));
  }
  const own = pluginError(output);
  if (own !== undefined) {
    const { message, code } = own;
    throw new CniError(failure("run", message, code === undefined ? {} : { code }));
  }
  const end = result.signal === undefined ? `exit code ${result.exitCode}` : `signal ${result.signal}`;
  const stderr = new TextDecoder().decode(result.stderr).trim();
  const said = [text, stderr].filter((part) => part !== "").map(excerpt).join("; ");
  throw new CniError(failure("run", `ended with ${end}, ${said === "" ? "no message" : `and said: ${said}`}`));
}

/** The end of a text: that is where programs say why they gave up. */
function excerpt(text: string): string {
  return JSON.stringify(text.length > EXCERPT_CHARACTERS ? `…${text.slice(-EXCERPT_CHARACTERS)}` : text);
}
