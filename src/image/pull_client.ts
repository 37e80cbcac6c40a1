/**
 * The daemon's side of the pull process: starts it when it is needed, gives it jobs, and lets it go when there are none.
 *
 * @module
 */
import { type ErrorKind, PodError, UnavailableError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { duplexOf, openSocketPair } from "../linux/pipe.ts";
import { restrictedPrefix } from "../linux/privileges.ts";
import { type Child, spawnProcess } from "../linux/spawn.ts";
import { noPullProcesses, type PullProcessObserver } from "../metrics/process_metrics.ts";
import { systemAuthorities } from "./distribution/certificates.ts";
import type { LayerProgress } from "./progress/pull_status.ts";
import { LineChannel } from "./pull/line_channel.ts";
import {
  type ArchiveContents,
  type BlobTarget,
  CHANNEL_FD,
  type EndpointMessage,
  type FailureMessage,
  type FromProcess,
  type LayerResult,
  type LayerTarget,
  NEEDED_CAPABILITIES,
  type OpenRequest,
  type PullJob,
  type ResolvedMessage,
  type ToProcess,
  type VerifyJob,
} from "./pull/protocol.ts";

export interface PullClientOptions {
  /** What starts this program: see `selfCommand`. `internal pull` is added. */
  readonly command: () => readonly string[];
  readonly log: Logger;
  /** How long a process without work stays. Default 20 s: starting costs 0.1 s, staying 40 MB. */
  readonly idleMs?: number;
  /** The environment that the process's own are taken from. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Counts processes and what they do. Default: nobody. */
  readonly observer?: PullProcessObserver;
}

export interface PullHooks {
  readonly signal: AbortSignal;
  /** Called once with what the registry has; answers which layers are wanted, and where. */
  plan(resolved: ResolvedMessage): Promise<readonly (LayerTarget | BlobTarget)[]>;
  /** A place is asked, or has failed. */
  endpoint?(message: EndpointMessage): void;
  progress?(progress: LayerProgress): void;
}

/** A pull that failed in the pull process. */
export class PullError extends PodError {
  override readonly kind: ErrorKind;
  /** HTTP status of the registry's answer, if that was the reason. */
  readonly status: number | undefined;
  /** The registry's error codes. */
  readonly codes: readonly string[];

  constructor(failure: FailureMessage, options?: ErrorOptions) {
    super(failure.message, options);
    this.kind = failure.kind;
    this.status = failure.status;
    this.codes = failure.codes ?? [];
  }
}

const DEFAULT_IDLE_MS = 20_000;
/** A process that was told to go and has not gone is killed after this. */
const LEAVE_MS = 5_000;
/** A process that does not answer a cancel for this long is killed, with all that it does. */
const CANCEL_MS = 10_000;
const SIGKILL = 9;
const STDERR = 2;

/** What the process needs of the daemon's environment. No proxy variables: it gets the settled result with each job. */
const PASSED_VARIABLES = [
  "PATH",
  "HOME",
  "DENO_DIR",
  "XDG_CACHE_HOME",
  "XDG_RUNTIME_DIR",
  "TMPDIR",
  "LD_LIBRARY_PATH",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "NPM_CONFIG_REGISTRY",
  "CRIO_SELF",
];

/** See the module comment. One client has at most one process that takes jobs. */
export class PullClient implements AsyncDisposable {
  #process: Promise<PullWorker> | undefined;
  readonly #leaving = new Set<Promise<void>>();

  constructor(private readonly options: PullClientOptions) {}

  /** Starts the process, so that it comes up while its first job is prepared. */
  prepare(): void {
    this.#worker().catch(() => {});
  }

  /** Pid of the process that takes jobs, if there is one. */
  async pid(): Promise<number | undefined> {
    return (await this.#process?.catch(() => undefined))?.pid;
  }

  /**
   * Runs one job to its end.
   *
   * @returns the layers that the plan asked for
   * @throws PullError; UnavailableError when the process dies; what `plan` throws; the signal's reason
   */
  async pull(job: PullJob, hooks: PullHooks): Promise<readonly LayerResult[]> {
    hooks.signal.throwIfAborted();
    return await (await this.#worker()).run({ type: "pull", job }, hooks);
  }

  /**
   * Checks signatures: what strangers wrote is not read in the daemon.
   *
   * @throws PullError with the kind `signature_validation_failed` when they are not enough; what {@link pull} throws
   */
  async verify(job: VerifyJob, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    await (await this.#worker()).run({ type: "verify", job }, { signal });
  }

  /**
   * Opens an archive with images; it stays open, and with it the process, until the result is disposed.
   *
   * @throws PullError for what is no archive; UnavailableError when the process dies; the signal's reason
   */
  async openArchive(archive: OpenRequest, options: { readonly signal: AbortSignal }): Promise<OpenedArchive> {
    options.signal.throwIfAborted();
    return await (await this.#worker()).open(archive, options.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const worker = await this.#process?.catch(() => undefined);
    worker?.leave();
    await Promise.all(this.#leaving);
  }

  #worker(): Promise<PullWorker> {
    this.#process ??= this.#start();
    return this.#process;
  }

  async #start(): Promise<PullWorker> {
    try {
      const { environment } = this.options;
      const [prefix, authorities] = await Promise.all([
        restrictedPrefix(NEEDED_CAPABILITIES),
        systemAuthorities(environment["SSL_CERT_FILE"]),
      ]);
      const worker = new PullWorker([...prefix, ...this.options.command(), "internal", "pull"], {
        ...this.options,
        // Asked for where it is not there, the system's list makes every request fail, plain ones too.
        authorities: authorities === undefined ? "mozilla" : "system",
        leaving: (): void => {
          this.#process = undefined;
        },
      });
      const gone = worker.gone.finally(() => this.#leaving.delete(gone));
      this.#leaving.add(gone);
      return worker;
    } catch (error) {
      this.#process = undefined;
      throw error;
    }
  }
}

/** An archive that the pull process has open. */
export interface OpenedArchive extends Disposable {
  readonly contents: ArchiveContents;
  /** Runs a job for one of its images, as {@link PullClient.pull} does for those of registries. */
  pull(image: number, job: PullJob, hooks: PullHooks): Promise<readonly LayerResult[]>;
}

type Work = { readonly type: "pull"; readonly job: PullJob } | { readonly type: "verify"; readonly job: VerifyJob };
/** Only a pull has something to plan. */
type WorkHooks = Pick<PullHooks, "signal"> & Partial<PullHooks>;

interface Pending {
  readonly hooks: WorkHooks;
  readonly result: PromiseWithResolvers<readonly LayerResult[]>;
}

/** One process and its channel. */
class PullWorker {
  readonly gone: Promise<void>;
  readonly #child: Child;
  readonly #observer: PullProcessObserver;
  readonly #channel: LineChannel<FromProcess, ToProcess>;
  readonly #jobs = new Map<number, Pending>();
  readonly #archives = new Map<number, PromiseWithResolvers<ArchiveContents>>();
  #dead: UnavailableError | undefined;
  #nextId = 1;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #leaving = false;

  constructor(
    argv: readonly string[],
    private readonly options: PullClientOptions & {
      readonly authorities: "system" | "mozilla";
      readonly leaving: () => void;
    },
  ) {
    using pair = openSocketPair();
    const env = { ...childEnvironment(options.environment), DENO_TLS_CA_STORE: options.authorities };
    this.#child = spawnProcess(argv, { env, cwd: "/", fds: new Map([[STDERR, STDERR], [CHANNEL_FD, pair.write.fd]]) });
    const { promise: closed, resolve: close } = Promise.withResolvers<void>();
    this.#channel = new LineChannel(duplexOf(pair.read), {
      message: (message) => this.#take(message),
      closed: (reason) => {
        this.#lost(reason).then(close, close);
      },
    });
    this.gone = closed;
    options.log.debug("Started the pull process", { pid: this.#child.pid });
    this.#observer = options.observer ?? noPullProcesses;
    this.#observer.started(this.#child.pid);
    this.#waitForWork();
  }

  get pid(): number {
    return this.#child.pid;
  }

  async run(work: Work, hooks: WorkHooks): Promise<readonly LayerResult[]> {
    const id = this.#begin();
    const result = Promise.withResolvers<readonly LayerResult[]>();
    this.#jobs.set(id, { hooks, result });
    this.#observer.jobs(1);
    try {
      return await this.#ask(id, { message: { ...work, id }, result: result.promise, signal: hooks.signal });
    } finally {
      this.#jobs.delete(id);
      this.#observer.jobs(-1);
      this.#waitForWork();
    }
  }

  async open(archive: OpenRequest, signal: AbortSignal): Promise<OpenedArchive> {
    const id = this.#begin();
    const result = Promise.withResolvers<ArchiveContents>();
    this.#archives.set(id, result);
    const close = (): void => {
      if (!this.#archives.delete(id)) return;
      this.#channel.send({ type: "close", id });
      this.#waitForWork();
    };
    try {
      const contents = await this.#ask(id, { message: { type: "open", id, archive }, result: result.promise, signal });
      const pull: OpenedArchive["pull"] = (image, job, hooks) =>
        this.run({ type: "pull", job: { ...job, archive: { opened: id, image } } }, hooks);
      return { contents, pull, [Symbol.dispose]: close };
    } catch (error) {
      close();
      throw error;
    }
  }

  #begin(): number {
    if (this.#dead !== undefined) throw this.#dead;
    clearTimeout(this.#idle);
    this.#channel.keepAlive("yes");
    return this.#nextId++;
  }

  /** Waits for the last word about a job. An abort cancels it, and waits for the answer to that. */
  async #ask<T>(
    id: number,
    job: { readonly message: ToProcess; readonly result: Promise<T>; readonly signal: AbortSignal },
  ): Promise<T> {
    const { message, result, signal } = job;
    // The process may have been waited for.
    signal.throwIfAborted();
    // Until the answer to a cancel comes, the process still writes into the stage.
    let overdue: ReturnType<typeof setTimeout> | undefined;
    const cancel = (): void => {
      this.#channel.send({ type: "cancel", id });
      overdue = setTimeout(() => this.#child.kill(SIGKILL), CANCEL_MS);
    };
    signal.addEventListener("abort", cancel, { once: true });
    this.#channel.send(message);
    try {
      return await result;
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      clearTimeout(overdue);
      signal.removeEventListener("abort", cancel);
    }
  }

  /** Tells the process to go; jobs that run fail. */
  leave(): void {
    if (this.#leaving) return;
    this.#leaving = true;
    this.options.leaving();
    clearTimeout(this.#idle);
    this.#channel[Symbol.dispose]();
  }

  #waitForWork(): void {
    if (this.#leaving || this.#jobs.size > 0 || this.#archives.size > 0) return;
    clearTimeout(this.#idle);
    this.#channel.keepAlive("no");
    this.#idle = setTimeout(() => this.leave(), this.options.idleMs ?? DEFAULT_IDLE_MS);
    Deno.unrefTimer(Number(this.#idle));
  }

  #take(message: FromProcess): void {
    const archive = this.#archives.get(message.id);
    if (message.type === "opened") return archive?.resolve(message.contents);
    if (message.type === "failed") archive?.reject(new PullError(message.failure));
    const pending = this.#jobs.get(message.id);
    if (pending === undefined) return;
    switch (message.type) {
      case "endpoint":
        pending.hooks.endpoint?.(message.endpoint);
        break;
      case "resolved":
        this.#plan(message.id, { pending, resolved: message.resolved });
        break;
      case "progress":
        pending.hooks.progress?.(message.progress);
        break;
      case "done":
        pending.result.resolve(message.layers);
        break;
      case "failed":
        pending.result.reject(new PullError(message.failure));
        break;
    }
  }

  #plan(id: number, work: { readonly pending: Pending; readonly resolved: ResolvedMessage }): void {
    const { hooks, result } = work.pending;
    if (hooks.plan === undefined) return;
    hooks.plan(work.resolved).then(
      (layers) => this.#channel.send({ type: "plan", id, layers }),
      (error) => {
        this.#channel.send({ type: "cancel", id });
        result.reject(error);
      },
    );
  }

  /** The channel is closed: by us, or because the process died. */
  async #lost(reason: string): Promise<void> {
    const wasLeaving = this.#leaving;
    this.leave();
    const killer = setTimeout(() => this.#child.kill(SIGKILL), LEAVE_MS);
    const status = await this.#child.exited;
    clearTimeout(killer);
    this.#observer.ended(this.pid, { asked: wasLeaving });
    const how = status.signal === undefined ? `exit code ${status.exitCode}` : `signal ${status.signal}`;
    if (!wasLeaving) {
      this.options.log.warn("The pull process ended", { pid: this.pid, how, reason, pulls: this.#jobs.size });
    }
    const text = wasLeaving
      ? "the pull was stopped because the daemon stops"
      : `the pull process ended with ${how} before the pull was done; the next attempt starts a new one`;
    this.#dead = new UnavailableError(text);
    for (const { result } of this.#jobs.values()) result.reject(this.#dead);
    for (const result of this.#archives.values()) result.reject(this.#dead);
  }
}

function childEnvironment(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const env: Record<string, string> = { DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" };
  for (const name of PASSED_VARIABLES) {
    const value = environment[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}
