import { KUBELET_URL } from "./kubelet.ts";
import type { TestNode } from "./node.ts";
import { gone, NAMESPACE, type PodHost } from "./pod_host.ts";
import type { ContainerView, PodView } from "./pod_types.ts";
import { type ExecOutcome, type ExecWish, RemoteSession, throughPort } from "./streams.ts";
import { until } from "./until.ts";

/** A pod of a check, with short words for what checks do with it. */
export class TestPod {
  constructor(private readonly node: TestNode, private readonly pods: PodHost, readonly name: string) {}

  /** What the API shows now. */
  find(): Promise<PodView | undefined> {
    return this.pods.find(this.name);
  }

  async view(): Promise<PodView> {
    const view = await this.find();
    if (view === undefined) throw new Error(`there is no pod ${this.name}`);
    return view;
  }

  /** Waits until the pod is as `fits` wants it: anything but undefined and false. */
  async until<T>(what: string, fits: (pod: PodView) => T | undefined | false): Promise<T> {
    let last: PodView | undefined;
    return await until(`pod ${this.name}: ${what}`, async () => {
      last = await this.find();
      const answer = last === undefined ? undefined : fits(last);
      return answer === false ? undefined : answer;
    }, { seen: () => JSON.stringify(last?.status) });
  }

  /** Waits until all of its containers are ready. */
  async ready(): Promise<PodView> {
    return await this.until("ready", (pod) => {
      return pod.status.conditions?.some(({ type, status }) => type === "Ready" && status === "True") && pod;
    });
  }

  /** Waits until it has ended, whatever the outcome. */
  async ended(): Promise<PodView> {
    return await this.until("ended", (pod) => /^(Succeeded|Failed)$/.test(pod.status.phase ?? "") && pod);
  }

  /** Waits until a container, of any kind, is as `fits` wants it. */
  async untilContainer<T>(
    name: string,
    what: string,
    fits: (container: ContainerView) => T | undefined | false,
  ): Promise<T> {
    return await this.until(`container ${name} ${what}`, (pod) => {
      const container = containerOf(pod, name);
      return container !== undefined && fits(container);
    });
  }

  async container(name: string): Promise<ContainerView> {
    const container = containerOf(await this.view(), name);
    if (container === undefined) throw new Error(`pod ${this.name} shows no container ${name}`);
    return container;
  }

  /** The runtime's id of a container, without its scheme. */
  async containerId(name: string): Promise<string> {
    const { containerID } = await this.container(name);
    return (containerID ?? "").replace(/^[a-z-]+:\/\//, "");
  }

  /** A container's first process, as the host sees it. */
  async pid(name: string): Promise<number> {
    const containerId = await this.containerId(name);
    const { info } = await this.node.cri.call("containerStatus", { containerId, verbose: true });
    const { pid } = JSON.parse(info.get("info") ?? "{}") as { pid?: number };
    if (pid === undefined || pid === 0) throw new Error(`container ${name} of pod ${this.name} has no process`);
    return pid;
  }

  /** What a script writes inside a container; it must succeed. */
  async shell(container: string, script: string): Promise<string> {
    const { stdout, stderr, exitCode } = await this.exec(container, ["sh", "-c", script]);
    if (exitCode !== 0) throw new Error(`${script}: ended with ${exitCode}: ${stderr}${stdout}`);
    return stdout.trimEnd();
  }

  /** The kubelet's `run`: one command of words without spaces, its output in one. */
  async runCommand(container: string, command: string): Promise<Response> {
    const query = new URLSearchParams({ cmd: command });
    return await fetch(`${KUBELET_URL}/run/${this.#path(container)}?${query}`, { method: "POST" });
  }

  /** A command through the kubelet's `exec`, over a WebSocket. */
  async exec(container: string, command: readonly string[], wish: ExecWish = {}): Promise<ExecOutcome> {
    return await (await this.openExec(container, command, wish)).outcome();
  }

  /** As {@link exec}, without waiting for the end. */
  async openExec(container: string, command: readonly string[], wish: ExecWish = {}): Promise<RemoteSession> {
    const query = new URLSearchParams(streams(wish));
    for (const word of command) query.append("command", word);
    return await RemoteSession.open(`/exec/${this.#path(container)}?${query}`, wish);
  }

  /** The container's own streams, through the kubelet's `attach`. */
  async attach(container: string, wish: ExecWish): Promise<RemoteSession> {
    const query = new URLSearchParams(streams(wish));
    return await RemoteSession.open(`/attach/${this.#path(container)}?${query}`, wish);
  }

  /** What a port answers to `request`, through the kubelet's `portForward`. */
  async throughPort(port: number, request: Uint8Array, options: { answerBytes?: number } = {}): Promise<Uint8Array> {
    const path = `/portForward/${NAMESPACE}/${this.pods.fullName(this.name)}?port=${port}`;
    return await throughPort(path, request, options);
  }

  /** The log through the kubelet's API. `query`: tailLines, timestamps, previous, sinceTime, limitBytes. */
  async log(container: string, query: Readonly<Record<string, string>> = {}): Promise<string> {
    const response = await this.openLog(container, query);
    const text = await response.text();
    if (!response.ok) throw new Error(`log of ${container}: ${response.status} ${text}`);
    return text;
  }

  openLog(container: string, query: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Response> {
    const url = `${KUBELET_URL}/containerLogs/${this.#path(container)}?${new URLSearchParams(query)}`;
    return fetch(url, signal === undefined ? {} : { signal });
  }

  /** Asks for its end; does not wait. */
  async remove(options: { graceSeconds?: number } = {}): Promise<void> {
    await this.pods.remove(this.name, options);
  }

  /** Waits until the API has forgotten it. */
  async gone(): Promise<void> {
    await gone(this.pods, this.name);
  }

  /** Asks for its end and waits for it. */
  async delete(options: { graceSeconds?: number } = {}): Promise<void> {
    await this.remove(options);
    await this.gone();
  }

  #path(container: string): string {
    return `${NAMESPACE}/${this.pods.fullName(this.name)}/${container}`;
  }
}

function containerOf(pod: PodView, name: string): ContainerView | undefined {
  const { containerStatuses = [], initContainerStatuses = [], ephemeralContainerStatuses = [] } = pod.status;
  return [...containerStatuses, ...initContainerStatuses, ...ephemeralContainerStatuses]
    .find((container) => container.name === name);
}

function streams(wish: ExecWish): Record<string, string> {
  const { tty = false, stdin, onOutput } = wish;
  const input = stdin !== undefined || onOutput !== undefined ? { input: "1" } : undefined;
  return { output: "1", ...(tty ? { tty: "1" } : { error: "1" }), ...input };
}
