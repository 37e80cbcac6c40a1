import {
  ContainerState,
  ImageSpec,
  LinuxContainerConfig,
  LinuxContainerSecurityContext,
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxState,
} from "../../../src/cri/gen/api.ts";
import { message } from "./cri_client.ts";
import { containerConfig, podConfig, SLEEPER } from "./pods.ts";
import type { Lab } from "./lab.ts";

/** What we know of one pod: only what was answered, and what was asked to change. */
interface Pod {
  readonly id: string;
  /** Its removal was asked for, so that nothing more can be expected of it. */
  leaving: boolean;
  readonly containers: Map<string, Container>;
}

interface PodRequest {
  readonly config: PodSandboxConfig;
  readonly runtimeHandler: string;
}

interface Container {
  /** Exit code when it ends by itself; undefined: it runs until it is stopped. */
  readonly endsWith: number | undefined;
  started: boolean;
}

/**
 * Clients that make and remove pods for as long as they are let, and a memory of what has to be there after the daemon
 * was killed: each answered call must have lasted.
 */
export class Churn {
  readonly #pods = new Map<string, Pod>();
  readonly #failures: string[] = [];
  #serial = 0;
  #stopping = false;
  /** How often the daemon was killed: what fails over a change of it has an unknown outcome. */
  #kills = 0;
  #daemonBack = Promise.resolve();
  #resume = (): void => {};

  constructor(private readonly lab: Lab, private readonly random: () => number) {}

  /** Failures that no kill explains. */
  get failures(): readonly string[] {
    return this.#failures;
  }

  /** Runs until {@link finish}. */
  async work(workers: number): Promise<void> {
    await Promise.all([...Array.from({ length: workers }, () => this.#worker()), this.#puller()]);
  }

  /** Pulls and removes an image of its own again and again, whose layer is shared with the pods' image. */
  async #puller(): Promise<void> {
    const image = message(ImageSpec, { image: this.lab.image.replace("busybox", "nobody") });
    while (!this.#stopping) {
      await this.#attempt(async () => {
        await this.lab.daemon.client.call("pullImage", { image });
        await this.lab.daemon.client.call("removeImage", { image });
      });
    }
    while (await this.#attempt(async () => void await this.lab.daemon.client.call("removeImage", { image })));
  }

  finish(): void {
    this.#stopping = true;
  }

  /** Workers wait from here on until {@link daemonIsBack}. */
  daemonIsAway(): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#daemonBack = promise;
    this.#kills++;
    this.#resume = resolve;
  }

  daemonIsBack(): void {
    this.#resume();
  }

  /**
   * Compares the daemon's lists with what was answered before. Call while the workers wait.
   *
   * @returns one line for each difference
   */
  async differences(): Promise<string[]> {
    const { client } = this.lab.daemon;
    const { items } = await client.call("listPodSandbox", {});
    const { containers } = await client.call("listContainers", {});
    const podStates = new Map(items.map((item) => [item.id, item.state]));
    const states = new Map(containers.map((container) => [container.id, container.state]));
    const lines: string[] = [];
    for (const pod of this.#pods.values()) {
      if (pod.leaving) continue;
      const state = podStates.get(pod.id);
      if (state === undefined) lines.push(`pod ${pod.id} is gone`);
      else if (state !== PodSandboxState.SANDBOX_READY) lines.push(`pod ${pod.id} is not ready`);
      for (const [id, container] of pod.containers) lines.push(...await this.#containerFaults(id, container, states));
    }
    return lines;
  }

  async #containerFaults(
    id: string,
    container: Container,
    states: ReadonlyMap<string, ContainerState>,
  ): Promise<string[]> {
    const { client } = this.lab.daemon;
    const state = states.get(id);
    if (state === undefined) return [`container ${id} is gone`];
    if (!container.started) return [];
    if (container.endsWith !== undefined) return await this.#exitFaults(id, container.endsWith);
    if (state !== ContainerState.CONTAINER_RUNNING) return [`container ${id} does not run: state ${state}`];
    const answer = await client.call("execSync", { containerId: id, cmd: ["/bin/echo", "here"], timeout: 20n });
    const text = new TextDecoder().decode(answer.stdout);
    return text === "here\n" && answer.exitCode === 0 ? [] : [`exec in ${id}: code ${answer.exitCode}, ${text}`];
  }

  async #exitFaults(id: string, expected: number): Promise<string[]> {
    const untilMs = performance.now() + 20_000;
    for (;;) {
      const { status } = await this.lab.daemon.client.call("containerStatus", { containerId: id });
      if (status?.state === ContainerState.CONTAINER_EXITED) {
        return status.exitCode === expected ? [] : [`container ${id} ended with ${status.exitCode}, not ${expected}`];
      }
      if (performance.now() > untilMs) return [`container ${id} is not seen to have ended`];
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async #worker(): Promise<void> {
    while (!this.#stopping) {
      const request = this.#podRequest();
      if (!(await this.#attempt(() => this.#onePod(request)))) continue;
      // What a kill interrupted is asked for again and removed, as a kubelet does it.
      while (await this.#attempt(() => this.#clearAway(request)));
    }
  }

  /** @returns whether a kill made it fail */
  async #attempt(work: () => Promise<void>): Promise<boolean> {
    await this.#daemonBack;
    const kills = this.#kills;
    try {
      await work();
      return false;
    } catch (error) {
      if (kills !== this.#kills) return true;
      this.#failures.push(error instanceof Error ? error.message : String(error));
      return false;
    }
  }

  /** Pods of all kinds: with and without a network or a PID namespace of their own, below either runtime. */
  #podRequest(): PodRequest {
    const hostNetwork = this.random() < 0.15;
    const config = podConfig({ ...this.lab.pod(`churn-${this.#serial++}`), hostNetwork });
    const options = config.linux?.securityContext?.namespaceOptions;
    if (options !== undefined && this.random() < 0.3) options.pid = NamespaceMode.POD;
    return { config, runtimeHandler: this.random() < 0.3 ? "runc" : "crun" };
  }

  async #clearAway(request: PodRequest): Promise<void> {
    const { client } = this.lab.daemon;
    const { podSandboxId } = await client.call("runPodSandbox", request);
    const known = this.#pods.get(podSandboxId);
    if (known !== undefined) known.leaving = true;
    await client.call("stopPodSandbox", { podSandboxId });
    await client.call("removePodSandbox", { podSandboxId });
    this.#pods.delete(podSandboxId);
  }

  async #onePod({ config, runtimeHandler }: PodRequest): Promise<void> {
    const { client } = this.lab.daemon;
    await Deno.mkdir(config.logDirectory, { recursive: true });
    const { podSandboxId } = await client.call("runPodSandbox", { config, runtimeHandler });
    const pod: Pod = { id: podSandboxId, leaving: false, containers: new Map() };
    this.#pods.set(podSandboxId, pod);
    const MAX_CONTAINERS = 2;
    for (let i = 0; i <= this.random() * MAX_CONTAINERS; i++) {
      const endsWith = this.random() < 0.4 ? 1 + Math.floor(this.random() * 200) : undefined;
      const command = endsWith === undefined ? SLEEPER : ["/bin/sh", "-c", `sleep 0.3; exit ${endsWith}`];
      const container = containerConfig({ name: `c${i}`, image: this.lab.image, command });
      const namespaceOptions = config.linux?.securityContext?.namespaceOptions;
      const securityContext = message(LinuxContainerSecurityContext, { namespaceOptions });
      container.linux = message(LinuxContainerConfig, { securityContext });
      await Deno.mkdir(`${config.logDirectory}/c${i}`, { recursive: true });
      const request = { podSandboxId, config: container, sandboxConfig: config };
      const { containerId } = await client.call("createContainer", request);
      const known: Container = { endsWith, started: false };
      pod.containers.set(containerId, known);
      await client.call("startContainer", { containerId });
      known.started = true;
    }
    // Some pods stay over several kills; the others leave at once.
    if (this.random() < 0.15) return;
    pod.leaving = true;
    await client.call("stopPodSandbox", { podSandboxId });
    await client.call("removePodSandbox", { podSandboxId });
    this.#pods.delete(podSandboxId);
  }
}
