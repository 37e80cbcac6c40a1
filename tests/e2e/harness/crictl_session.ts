import type { Crictl } from "./crictl.ts";

/** How crictl dials a stream. */
export type Transport = "spdy" | "websocket";
export const TRANSPORTS: readonly Transport[] = ["spdy", "websocket"];

const SILENCE_MS = 30_000;

/** A crictl that streams: its three streams are the test's. */
export class CrictlSession implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #output: AsyncIterator<Uint8Array>;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #errors: Promise<string>;
  #text = "";

  /**
   * @param args after the name of the program: `exec`, `-i` …
   * @param options `terminal` (rows and columns): it runs on a terminal of its own, as in a user's window
   */
  constructor(crictl: Crictl, args: readonly string[], options: { terminal?: readonly [number, number] } = {}) {
    const [program = "", ...rest] = options.terminal === undefined
      ? crictl.argv(args)
      : inTerminal(crictl.argv(args), options.terminal);
    this.#child = new Deno.Command(program, { args: rest, stdin: "piped", stdout: "piped", stderr: "piped" }).spawn();
    this.#output = this.#child.stdout[Symbol.asyncIterator]();
    this.#stdin = this.#child.stdin.getWriter();
    this.#errors = new Response(this.#child.stderr).text();
  }

  async write(data: string | Uint8Array): Promise<void> {
    await this.#stdin.write(typeof data === "string" ? new TextEncoder().encode(data) : data);
  }

  async endInput(): Promise<void> {
    await this.#stdin.close();
  }

  /**
   * Reads until what came so far fits, and gives the match.
   *
   * @throws Error with what came when it ends before, or is ended because it says nothing more for half a minute
   */
  async expect(pattern: RegExp): Promise<RegExpExecArray> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), SILENCE_MS);
    try {
      for (;;) {
        const match = pattern.exec(this.#text);
        if (match !== null) return match;
        const { done, value } = await this.#output.next();
        if (done === true) throw new Error(`ended before ${pattern}: ${this.#text}${await this.#errors}`);
        this.#text += new TextDecoder().decode(value);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** What is still to come of stdout, in pieces. */
  async *pieces(): AsyncGenerator<Uint8Array> {
    for (let next = await this.#output.next(); next.done !== true; next = await this.#output.next()) yield next.value;
  }

  /** Waits for its end: all text of stdout and of stderr, and the exit code. */
  async end(): Promise<{ code: number; stdout: string; stderr: string }> {
    const decoder = new TextDecoder();
    for await (const piece of this.pieces()) this.#text += decoder.decode(piece, { stream: true });
    const { code } = await this.#child.status;
    return { code, stdout: this.#text, stderr: await this.#errors };
  }

  /** Ends it as a user's Ctrl-C does, where it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stdin.close().catch(() => {});
    try {
      this.#child.kill("SIGINT");
    } catch {
      // It has ended already.
    }
    for await (const _ of this.pieces());
    await this.#child.status;
    await this.#errors;
  }
}

/** script(1) gives a terminal; its size is set before the program starts. */
function inTerminal(argv: readonly string[], [rows, columns]: readonly [number, number]): string[] {
  const quoted = argv.map((argument) => `'${argument.replaceAll("'", `'\\''`)}'`).join(" ");
  const command = `stty rows ${rows} cols ${columns}; exec ${quoted}`;
  return ["script", "--quiet", "--return", "--flush", "--command", command, "/dev/null"];
}
