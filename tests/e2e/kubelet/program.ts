import { until } from "./until.ts";

const STOP_TIMEOUT_MS = 20_000;

export interface ProgramSpec {
  readonly name: string;
  readonly argv: readonly string[];
  readonly logPath: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Whether it works by now. */
  readonly isReady: () => Promise<boolean>;
  /** Default: a minute. */
  readonly readyTimeoutMs?: number;
}

/** A program of Kubernetes as a child process with a log of its own: started until it works, ended by its pid. */
export class Program implements AsyncDisposable {
  #ended = false;

  private constructor(private readonly spec: ProgramSpec, private readonly child: Deno.ChildProcess) {
    void child.status.then(() => this.#ended = true);
  }

  /** @throws Error with the end of its log when it ends or does not work in time */
  static async start(spec: ProgramSpec): Promise<Program> {
    const script = `exec setsid "$@" >>"${spec.logPath}" 2>&1`;
    const child = new Deno.Command("/bin/sh", {
      args: ["-c", script, "sh", ...spec.argv],
      stdin: "null",
      ...(spec.env === undefined ? {} : { env: spec.env }),
    }).spawn();
    const program = new Program(spec, child);
    try {
      await until(`${spec.name} to work`, async () => {
        if (program.#ended) throw new Error(`${spec.name} has ended`);
        return await spec.isReady() || undefined;
      }, { timeoutMs: spec.readyTimeoutMs ?? 60_000 });
    } catch (error) {
      await program.stop("SIGKILL");
      const text = error instanceof Error ? error.message : String(error);
      throw new Error(`${text}; the log of ${spec.name} ends with:\n${program.logTail()}`, { cause: error });
    }
    return program;
  }

  get pid(): number {
    return this.child.pid;
  }

  /** Sends the signal and waits for the end; what does not heed it is killed after 20 s. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    if (this.#ended) return;
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await this.child.status;
    clearTimeout(timer);
  }

  logTail(lines = 25): string {
    return Deno.readTextFileSync(this.spec.logPath).trimEnd().split("\n").slice(-lines).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
