/** What a command wrote. */
export interface KubectlOutput {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface KubectlOptions {
  readonly stdin?: string | Uint8Array<ArrayBuffer>;
  /** How exec, attach and port-forward are carried. Default: kubectl's own choice, WebSocket. */
  readonly transport?: "websocket" | "spdy";
}

/** kubectl as the cluster's administrator. */
export class Kubectl {
  constructor(private readonly program: string, private readonly kubeconfig: string) {}

  /** Runs it to its end, whatever the exit code. */
  async try(args: readonly string[], options: KubectlOptions = {}): Promise<KubectlOutput> {
    const child = this.spawn(args, options);
    const writer = child.stdin.getWriter();
    const { stdin = "" } = options;
    const input = typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin;
    // A command that does not read ends before all of it is taken.
    const written = writer.write(input).then(() => writer.close()).catch(() => {});
    const { code, stdout, stderr } = await child.output();
    await written;
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }

  /** As {@link try}; gives standard output, throws when it does not end with 0. */
  async run(args: readonly string[], options: KubectlOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.try(args, options);
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")} ended with ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  spawn(args: readonly string[], options: KubectlOptions = {}): Deno.ChildProcess {
    const websockets = String(options.transport !== "spdy");
    return new Deno.Command(this.program, {
      args: [`--kubeconfig=${this.kubeconfig}`, ...args],
      env: { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: websockets, KUBECTL_PORT_FORWARD_WEBSOCKETS: websockets },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }
}
