import { PATIENCE } from "./patience.ts";
import { CriClient } from "./cri_client.ts";
import { type ProcessInfo, pssBytes, runtimeProcesses } from "./processes.ts";

/** How a CRI daemon is started and reached. */
export interface DaemonSpec {
  readonly name: string;
  /** Everything of this daemon lies below it; its monitors name it in their arguments. */
  readonly directory: string;
  readonly argv: readonly string[];
  readonly socketPath: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Memory of one runtime, in bytes of proportional set size. */
export interface RuntimeMemory {
  readonly daemonBytes: number;
  /** Children of the daemon, such as a pull process. */
  readonly helperBytes: number;
  /** conmon or shims. */
  readonly monitorBytes: number;
}

const START_TIMEOUT_MS = 60_000 * PATIENCE;
const STOP_TIMEOUT_MS = 30_000 * PATIENCE;

/** A CRI daemon as a child process: start, stop, kill, start again. */
export class CriDaemon implements AsyncDisposable {
  #child: Deno.ChildProcess | undefined;
  #client: CriClient | undefined;

  constructor(public spec: DaemonSpec) {}

  get pid(): number {
    if (this.#child === undefined) throw new Error(`${this.spec.name} is not running`);
    return this.#child.pid;
  }

  get client(): CriClient {
    if (this.#client === undefined) throw new Error(`${this.spec.name} is not running`);
    return this.#client;
  }

  get logPath(): string {
    return `${this.spec.directory}/daemon.log`;
  }

  /**
   * Starts it and waits until Version is answered.
   *
   * @returns milliseconds from spawn to that answer
   * @throws Error with the end of its log when it ends or says nothing within a minute
   */
  async start(): Promise<number> {
    const startMs = performance.now();
    // exec keeps the pid, setsid keeps it from the terminal's signals, and a log file outlives whoever reads.
    const script = `exec setsid "$@" >>"${this.logPath}" 2>&1`;
    const child = new Deno.Command("/bin/sh", {
      args: ["-c", script, "sh", ...this.spec.argv],
      stdin: "null",
      ...(this.spec.env === undefined ? {} : { env: this.spec.env }),
      ...(this.spec.cwd === undefined ? {} : { cwd: this.spec.cwd }),
    }).spawn();
    this.#child = child;
    const ended = child.status.then((status) => `ended with code ${status.code}`);
    const ready = this.#waitForVersion(startMs + START_TIMEOUT_MS);
    const failure = await Promise.race([ready, ended]);
    if (failure !== undefined) throw new Error(`${this.spec.name} ${failure}; its log ends with:\n${this.logTail()}`);
    return performance.now() - startMs;
  }

  /** Sends the signal and waits for the end; SIGTERM becomes SIGKILL after half a minute. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const [child, client] = [this.#child, this.#client];
    this.#child = undefined;
    this.#client = undefined;
    // The HTTP/2 client of Deno 2.9.6 can crash on the GOAWAY of a server that shuts down (an assertion of nghttp2, or
    // a segmentation fault, one time in three): leave before that. A kill must find the connection in use.
    if (signal === "SIGTERM") client?.[Symbol.dispose]();
    if (child !== undefined) {
      child.kill(signal);
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await child.status;
      clearTimeout(timer);
    }
    if (signal === "SIGKILL") client?.[Symbol.dispose]();
  }

  /** What belongs to the runtime now; see {@link runtimeProcesses}. */
  processes(): ProcessInfo[] {
    return runtimeProcesses(this.pid, this.spec.directory);
  }

  /** CPU time of all of them so far, reaped children included, in milliseconds. */
  cpuMs(): number {
    return this.processes().reduce((total, process) => total + process.cpuMs, 0);
  }

  memory(): RuntimeMemory {
    let [daemonBytes, helperBytes, monitorBytes] = [0, 0, 0];
    for (const { pid, argv } of this.processes()) {
      if (pid === this.pid) daemonBytes += pssBytes(pid);
      else if (/(^|\/)(conmon|containerd-shim[^/]*)$/.test(argv[0] ?? "")) monitorBytes += pssBytes(pid);
      else helperBytes += pssBytes(pid);
    }
    return { daemonBytes, helperBytes, monitorBytes };
  }

  /** The last lines of its log. */
  logTail(lines = 25): string {
    try {
      return Deno.readTextFileSync(this.logPath).trimEnd().split("\n").slice(-lines).join("\n");
    } catch {
      return "(no log)";
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #waitForVersion(untilMs: number): Promise<string | undefined> {
    const child = this.#child;
    while (this.#child === child) {
      if (performance.now() > untilMs) return `did not answer within ${START_TIMEOUT_MS} ms`;
      if (await canConnect(this.spec.socketPath)) {
        const client = new CriClient(this.spec.socketPath);
        try {
          await client.call("version", {}, { timeoutMs: 5000 * PATIENCE });
          this.#client = client;
          return undefined;
        } catch {
          client[Symbol.dispose]();
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    return undefined;
  }
}

async function canConnect(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch {
    return false;
  }
}
