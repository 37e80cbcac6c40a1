import { PROJECT_ROOT } from "./crio.ts";
import { PATIENCE } from "./patience.ts";

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

  /** The whole command line of a call. */
  argv(args: readonly string[]): string[] {
    const endpoint = `unix://${this.socketPath}`;
    const connection = ["--config", "/dev/null", "--runtime-endpoint", endpoint, "--image-endpoint", endpoint];
    return [this.program, ...connection, "--timeout", `${60 * PATIENCE}s`, ...args];
  }

  /** Runs it, whatever the exit code. */
  async try(...args: string[]): Promise<CrictlOutput> {
    const [program = "", ...rest] = this.argv(args);
    const output = await new Deno.Command(program, { args: rest, stdin: "null" }).output();
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

  /** Starts one that goes on until it is stopped. */
  follow(...args: string[]): Following {
    const [program = "", ...rest] = this.argv(args);
    return new Following(program, rest);
  }
}

/** A crictl that goes on until it is stopped, such as `crictl events`. Disposing kills it. */
export class Following implements AsyncDisposable {
  readonly lines: string[] = [];
  /** Its exit code, once it has ended. */
  readonly code: Promise<number>;
  readonly #child: Deno.ChildProcess;
  readonly #read: Promise<void>;
  #more = Promise.withResolvers<void>();

  constructor(program: string, args: readonly string[]) {
    this.#child = new Deno.Command(program, { args: [...args], stdin: "null", stdout: "piped", stderr: "null" })
      .spawn();
    this.code = this.#child.status.then(({ code }) => code);
    this.#read = this.#follow();
  }

  /** Resolves when the lines so far satisfy the condition. @throws Error after half a minute without */
  async until(condition: (lines: readonly string[]) => boolean): Promise<void> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error(`crictl wrote only:\n${this.lines.join("\n")}`)), 30_000);
    try {
      while (!condition(this.lines)) await Promise.race([this.#more.promise, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await Promise.all([this.code, this.#read]);
  }

  async #follow(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      this.lines.push(...lines);
      this.#more.resolve();
      this.#more = Promise.withResolvers();
    }
  }
}

async function build(): Promise<string> {
  const output = await new Deno.Command(`${PROJECT_ROOT}/scripts/crictl`, { stderr: "inherit" }).output();
  if (!output.success) throw new Error("scripts/crictl could not build crictl; set CRICTL to one");
  return new TextDecoder().decode(output.stdout).trim();
}
