import type { Lab } from "./lab.ts";
import { until } from "./tries.ts";

/** Paths of the plugin of `nri_plugin/`, built with the oldest and the newest NRI; empty where there is no Go. */
export const NRI_PLUGINS = {
  "v0.9.0": Deno.env.get("NRI_PLUGIN_OLD") ?? "",
  "v0.12.5": Deno.env.get("NRI_PLUGIN_NEW") ?? "",
} as const;

export type NriVersion = keyof typeof NRI_PLUGINS;

/** What a plugin wrote down of an event. */
export interface NriLine {
  readonly event: string;
  readonly pod?: string;
  readonly container?: string;
  readonly message?: Readonly<Record<string, unknown>>;
  readonly pods?: readonly string[];
  readonly containers?: readonly string[];
  readonly config?: string;
  readonly runtime?: string;
  readonly failed?: readonly string[];
}

/** A running plugin that connects by itself; its script is that of `nri_plugin/main.go`. */
export class NriPlugin implements AsyncDisposable {
  private constructor(private readonly path: string, private readonly process: Deno.ChildProcess) {}

  /** Starts it and waits until it has been told what there is. */
  static async join(
    lab: Lab,
    { version, index, name, script = {} }: { version: NriVersion; index: string; name: string; script?: object },
  ): Promise<NriPlugin> {
    const path = `${lab.directory}/${index}-${name}`;
    await Deno.writeTextFile(`${path}.script`, JSON.stringify(script));
    const env = {
      NRI_TEST_SOCKET: `${lab.directory}/nri.sock`,
      NRI_TEST_INDEX: index,
      NRI_TEST_NAME: name,
      NRI_TEST_SCRIPT: `${path}.script`,
      NRI_TEST_LOG: `${path}.log`,
    };
    const command = new Deno.Command(NRI_PLUGINS[version], { env, stdout: "null", stderr: "null" });
    const plugin = new NriPlugin(path, command.spawn());
    await plugin.heard("Synchronize");
    return plugin;
  }

  /** What it does from now on. */
  async follow(script: object): Promise<void> {
    await Deno.writeTextFile(`${this.path}.script.new`, JSON.stringify(script));
    await Deno.rename(`${this.path}.script.new`, `${this.path}.script`);
  }

  lines(): Promise<NriLine[]> {
    return readNriLines(`${this.path}.log`);
  }

  /** The first line of an event, once it is there. */
  async heard(event: string): Promise<NriLine> {
    return await until(event, async () => (await this.lines()).find((line) => line.event === event));
  }

  /** Resolves when the process has ended by itself. */
  get ended(): Promise<Deno.CommandStatus> {
    return this.process.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.process.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
    await this.process.status;
  }
}

/** The lines of a plugin's log; none when it wrote nothing yet. */
export async function readNriLines(path: string): Promise<NriLine[]> {
  const text = await Deno.readTextFile(path).catch(() => "");
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}
