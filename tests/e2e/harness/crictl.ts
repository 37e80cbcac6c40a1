import { PROJECT_ROOT } from "./crio.ts";

export interface CrictlOutput {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** crictl against one socket. */
export class Crictl {
  private constructor(private readonly program: string, private readonly socketPath: string) {}

  /** The program is $CRICTL, else what `scripts/crictl` builds. */
  static async for(socketPath: string): Promise<Crictl> {
    const program = Deno.env.get("CRICTL") ?? await build();
    return new Crictl(program, socketPath);
  }

  /** Whether there is a crictl, or one can be built here; says why not on stderr. */
  static async isAvailable(): Promise<boolean> {
    return Deno.env.has("CRICTL") || await build().then(() => true, () => false);
  }

  /** Runs it, whatever the exit code. */
  async try(...args: string[]): Promise<CrictlOutput> {
    const endpoint = `unix://${this.socketPath}`;
    const connection = ["--config", "/dev/null", "--runtime-endpoint", endpoint, "--image-endpoint", endpoint];
    const all = [...connection, "--timeout", "60s", ...args];
    const output = await new Deno.Command(this.program, { args: all, stdin: "null" }).output();
    const decoder = new TextDecoder();
    return { code: output.code, stdout: decoder.decode(output.stdout), stderr: decoder.decode(output.stderr) };
  }

  /**
   * Runs it and gives stdout without white space at the ends.
   *
   * @throws Error with what it wrote when it does not end with 0
   */
  async run(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.try(...args);
    if (code !== 0) throw new Error(`crictl ${args.join(" ")} ended with ${code}: ${stderr}${stdout}`);
    return stdout.trim();
  }

  /** As {@link run}, with the output parsed. */
  // deno-lint-ignore no-explicit-any -- the shape is crictl's, and each test says what it expects of it
  async json(...args: string[]): Promise<any> {
    return JSON.parse(await this.run(...args));
  }
}

async function build(): Promise<string> {
  const output = await new Deno.Command(`${PROJECT_ROOT}/scripts/crictl`, { stderr: "inherit" }).output();
  if (!output.success) throw new Error("scripts/crictl could not build crictl; set CRICTL to one");
  return new TextDecoder().decode(output.stdout).trim();
}
