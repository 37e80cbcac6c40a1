import { PATIENCE } from "./patience.ts";
import {
  type ContainerConfig,
  ContainerState,
  type ContainerStatus,
  type PodSandboxConfig,
} from "../../../src/cri/gen/api.ts";
import type { Lab } from "./lab.ts";
import { containerConfig, podConfig, SLEEPER } from "./pods.ts";

const LIMIT_MS = 20_000 * PATIENCE;

/** What a test changes of the usual request. */
export interface Wish {
  readonly name?: string;
  readonly command?: readonly string[];
  readonly image?: string;
  readonly change?: (config: ContainerConfig) => void;
}

/** One pod of a test, with short words for what tests do with it. */
export class PodUnderTest {
  #serial = 0;

  private constructor(private readonly lab: Lab, readonly id: string, readonly config: PodSandboxConfig) {}

  /** The request of a pod. */
  static configure(lab: Lab, name: string): PodSandboxConfig {
    return podConfig(lab.pod(name));
  }

  static async run(
    lab: Lab,
    name: string,
    options: { runtimeHandler?: string; change?: (config: PodSandboxConfig) => void } = {},
  ): Promise<PodUnderTest> {
    const config = PodUnderTest.configure(lab, name);
    options.change?.(config);
    const { runtimeHandler = "" } = options;
    const { podSandboxId } = await lab.daemon.client.call("runPodSandbox", { config, runtimeHandler });
    return new PodUnderTest(lab, podSandboxId, config);
  }

  /** The request of a container in this pod. */
  request(
    wish: Wish,
  ): { podSandboxId: string; config: ContainerConfig; sandboxConfig: PodSandboxConfig } {
    const { name = `c${this.#serial++}`, command = SLEEPER, image = this.lab.image, change } = wish;
    const config = containerConfig({ name, image, command, pod: this.config });
    change?.(config);
    return { podSandboxId: this.id, config, sandboxConfig: this.config };
  }

  async create(wish: Wish): Promise<string> {
    return (await this.lab.daemon.client.call("createContainer", this.request(wish))).containerId;
  }

  /** Created and started. */
  async start(wish: Wish): Promise<string> {
    const containerId = await this.create(wish);
    await this.lab.daemon.client.call("startContainer", { containerId });
    return containerId;
  }

  /** Runs a container to its end and gives its output without time stamps, and its status. */
  async output(wish: Wish): Promise<{ text: string; status: ContainerStatus }> {
    const containerId = await this.start(wish);
    const status = await exited(this.lab, containerId);
    return { text: await this.log(status), status };
  }

  /** What a container has written so far. */
  async log({ logPath }: { logPath: string }): Promise<string> {
    const lines = (await Deno.readTextFile(logPath)).split("\n").filter(Boolean);
    return lines.map((line) => line.split(" ").slice(3).join(" ")).join("\n");
  }

  /** Takes one container away, running or not. */
  async removeContainer(containerId: string): Promise<void> {
    await this.lab.daemon.client.call("removeContainer", { containerId });
  }

  async remove(): Promise<void> {
    await this.lab.daemon.client.call("stopPodSandbox", { podSandboxId: this.id });
    await this.lab.daemon.client.call("removePodSandbox", { podSandboxId: this.id });
  }
}

export async function statusOf(lab: Lab, containerId: string): Promise<ContainerStatus> {
  const { status } = await lab.daemon.client.call("containerStatus", { containerId });
  if (status === undefined) throw new Error(`no status of ${containerId}`);
  return status;
}

/** Waits until a container has ended. */
export async function exited(lab: Lab, containerId: string): Promise<ContainerStatus> {
  return await until(`end of ${containerId}`, async () => {
    const status = await statusOf(lab, containerId);
    return status.state === ContainerState.CONTAINER_EXITED ? status : undefined;
  });
}

/** The container's init process, as the host sees it. */
export async function pidOf(lab: Lab, containerId: string): Promise<number> {
  const { info } = await lab.daemon.client.call("containerStatus", { containerId, verbose: true });
  const { pid } = JSON.parse(info.get("info") ?? "{}") as { pid?: number };
  if (pid === undefined) throw new Error(`no pid of ${containerId}`);
  return pid;
}

export async function execText(lab: Lab, containerId: string, ...cmd: string[]): Promise<string> {
  const answer = await lab.daemon.client.call("execSync", { containerId, cmd, timeout: 20n });
  const text = new TextDecoder().decode(answer.stdout) + new TextDecoder().decode(answer.stderr);
  return answer.exitCode === 0 ? text.trimEnd() : `exit code ${answer.exitCode}: ${text.trimEnd()}`;
}

/** A command line for the shell of a container. */
export function shell(script: string): string[] {
  return ["/bin/sh", "-c", script];
}

/** Asks again and again until there is an answer: for what other programs do in their own time. */
export async function until<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  const endMs = performance.now() + LIMIT_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > endMs) throw new Error(`waited too long for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** What `/proc/<pid>/<file>` says, as lines `Name: value`. */
export async function procStatus(pid: number): Promise<Map<string, string>> {
  const text = await Deno.readTextFile(`/proc/${pid}/status`);
  return new Map(
    text.split("\n").map((line) => [line.split(":", 1)[0] ?? "", line.slice(line.indexOf(":") + 1).trim()]),
  );
}
