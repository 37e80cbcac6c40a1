import { containerConfig, podConfig, removeAllPods, removePod, SLEEPER, startPod } from "../e2e/harness/pods.ts";
import { ContainerState } from "../../src/cri/gen/api.ts";
import { inParallel, mib, nextPod, type Subject, timed } from "./context.ts";
import { PULL_MEASURES } from "./pulls.ts";
import { median } from "./statistics.ts";

/** Everything that can be asked for by `--only`. Order matters: later ones leave the store fuller. */
export const MEASURES: Readonly<Record<string, (subject: Subject) => Promise<void>>> = {
  start: measureStart,
  idle: measureIdle,
  alone: (subject) => measureAlone(subject, { hostNetwork: false, suffix: "" }),
  hostnet: (subject) => measureAlone(subject, { hostNetwork: true, suffix: ", host network" }),
  together: measureTogether,
  exec: measureExec,
  ...PULL_MEASURES,
  fifty: measureManyPods,
};

/** Starts the daemon some times without pods. */
async function measureStart(subject: Subject): Promise<void> {
  for (let i = 0; i < subject.effort.starts; i++) {
    await subject.daemon.stop();
    subject.results.add("start to first Version", subject.peer, await subject.daemon.start());
  }
}

async function measureIdle(subject: Subject): Promise<void> {
  await subject.daemon.stop();
  await subject.daemon.start();
  await lists(subject, "0 pods");
  await new Promise((resolve) => setTimeout(resolve, Math.min(subject.effort.settleMs, 3000)));
  subject.results.add("daemon PSS idle, MiB", subject.peer, mib(subject.daemon.memory().daemonBytes));
}

async function measureAlone(subject: Subject, options: { hostNetwork: boolean; suffix: string }): Promise<void> {
  for (let i = 0; i < subject.effort.aloneCycles; i++) await cycle(subject, options);
}

async function measureTogether(subject: Subject): Promise<void> {
  const { workers, cyclesPerWorker } = subject.effort;
  const startMs = performance.now();
  await inParallel(workers, async () => {
    for (let i = 0; i < cyclesPerWorker; i++) await cycle(subject, { hostNetwork: false, suffix: ", 8 at once" });
  });
  const seconds = (performance.now() - startMs) / 1000;
  subject.results.add("pod cycles per second, 8 workers", subject.peer, workers * cyclesPerWorker / seconds);
}

/** One life of a pod with a container: run, create, start, stop, remove. */
async function cycle(subject: Subject, options: { hostNetwork: boolean; suffix: string }): Promise<void> {
  const { client } = subject.daemon;
  const { suffix } = options;
  const wish = nextPod(subject, options);
  const config = podConfig(wish);
  await Deno.mkdir(`${config.logDirectory}/main`, { recursive: true });
  const container = containerConfig({ name: "main", image: subject.image, command: ANNOUNCED_SLEEPER, pod: config });
  const podSandboxId = await timed(subject, `pod + container to running${suffix}`, async () => {
    const pod = await timed(subject, `RunPodSandbox${suffix}`, () => client.call("runPodSandbox", { config }));
    const request = { podSandboxId: pod.podSandboxId, config: container, sandboxConfig: config };
    const created = await timed(subject, `CreateContainer${suffix}`, () => client.call("createContainer", request));
    await timed(subject, `StartContainer${suffix}`, () => client.call("startContainer", created));
    return pod.podSandboxId;
  });
  await logged(`${config.logDirectory}/main/0.log`);
  await timed(subject, `StopPodSandbox${suffix}`, () => client.call("stopPodSandbox", { podSandboxId }));
  await timed(subject, `RemovePodSandbox${suffix}`, () => client.call("removePodSandbox", { podSandboxId }));
}

/**
 * Says when its handler for SIGTERM is there. The first process of a PID namespace ignores the signal before, and a
 * runtime that gives containers time to stop would wait for all of it.
 */
const ANNOUNCED_SLEEPER = ["/bin/sh", "-c", "trap 'exit 0' TERM; echo ready; sleep 100000 & wait"];

/** Waits for the first line of a container's log. */
async function logged(path: string): Promise<void> {
  while ((await Deno.stat(path)).size === 0) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** `true` in a running container: one after the other, then eight at once in eight pods. */
async function measureExec(subject: Subject): Promise<void> {
  const { client } = subject.daemon;
  const { execs, workers } = subject.effort;
  const container = { name: "main", image: subject.image, command: SLEEPER };
  const pods = await Promise.all(
    Array.from({ length: workers }, () => startPod(client, { pod: nextPod(subject), container })),
  );
  const exec = async (containerId: string, measure: string): Promise<void> => {
    const cmd = ["/bin/true"];
    const request = { containerId, cmd, timeout: 20n };
    const { exitCode } = await timed(subject, measure, () => client.call("execSync", request));
    if (exitCode !== 0) throw new Error(`${subject.peer}: exec of true gave ${exitCode}`);
  };
  const first = pods[0]?.containerId ?? "";
  for (let i = 0; i < execs; i++) await exec(first, "ExecSync true");
  await Promise.all(pods.map(async ({ containerId }) => {
    for (let i = 0; i < execs / 2; i++) await exec(containerId, "ExecSync true, 8 at once");
  }));
  const waiting = pods[1]?.containerId ?? "";
  await timed(subject, "StopContainer", () => client.call("stopContainer", { containerId: waiting, timeout: 10n }));
  await timed(subject, "RemoveContainer", () => client.call("removeContainer", { containerId: waiting }));
  for (const pod of pods) await removePod(client, pod.podSandboxId);
}

/** Many pods: lists, memory, restart, drain. */
async function measureManyPods(subject: Subject): Promise<void> {
  const { daemon, effort, results, peer } = subject;
  await daemon.stop();
  await daemon.start();
  const container = { name: "main", image: subject.image, command: SLEEPER };
  let wanted = effort.pods;
  const label = `${effort.pods} pods`;
  await timed(subject, `${label} up, ms`, () =>
    inParallel(effort.workers, async () => {
      while (wanted-- > 0) await startPod(daemon.client, { pod: nextPod(subject), container });
    }));
  await lists(subject, label);
  await new Promise((resolve) => setTimeout(resolve, effort.settleMs));
  const memory = daemon.memory();
  results.add(`daemon PSS with ${label}, MiB`, peer, mib(memory.daemonBytes + memory.helperBytes));
  results.add(`monitors PSS with ${label}, MiB`, peer, mib(memory.monitorBytes));
  const all = memory.daemonBytes + memory.helperBytes + memory.monitorBytes;
  results.add(`daemon + monitors PSS with ${label}, MiB`, peer, mib(all));
  for (const signal of ["SIGTERM", "SIGKILL"] as const) await measureRestart(subject, { signal, label });
  await timed(subject, `${label} drained, ms`, () => drain(subject));
}

async function measureRestart(
  subject: Subject,
  options: { signal: "SIGTERM" | "SIGKILL"; label: string },
): Promise<void> {
  const { daemon, effort } = subject;
  await daemon.stop(options.signal);
  await timed(subject, `restart with ${options.label} to all listed (${options.signal})`, async () => {
    await daemon.start();
    for (;;) {
      const { containers } = await daemon.client.call("listContainers", {});
      if (containers.filter(({ state }) => state === ContainerState.CONTAINER_RUNNING).length === effort.pods) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
}

async function drain(subject: Subject): Promise<void> {
  const { client } = subject.daemon;
  const { items } = await client.call("listPodSandbox", {});
  const queue = items.map((item) => item.id);
  await inParallel(subject.effort.workers, async () => {
    for (let id = queue.pop(); id !== undefined; id = queue.pop()) await removePod(client, id);
  });
  await removeAllPods(client);
}

/** Latency of small and of list calls, as the median of many: one sample per round. */
async function lists(subject: Subject, label: string): Promise<void> {
  const { client } = subject.daemon;
  const { lists: count } = subject.effort;
  const calls = {
    Version: () => client.call("version", {}),
    ListPodSandbox: () => client.call("listPodSandbox", {}),
    ListContainers: () => client.call("listContainers", {}),
  };
  for (const [name, call] of Object.entries(calls)) {
    const samples: number[] = [];
    for (let i = 0; i < count / 2; i++) {
      const startMs = performance.now();
      await call();
      samples.push(performance.now() - startMs);
    }
    subject.results.add(`${name}, ${label}`, subject.peer, median(samples));
  }
  await timedIfServed(subject, `ListContainerStats, ${label}`);
}

/** A call that a daemon may not have yet: then there is no sample. */
async function timedIfServed(subject: Subject, measure: string): Promise<void> {
  const UNIMPLEMENTED = 12;
  const TIMES = 5;
  for (let i = 0; i < TIMES; i++) {
    const startMs = performance.now();
    const served = await subject.daemon.client.call("listContainerStats", {}).then(() => true, (error: unknown) => {
      if (error instanceof Error && String(error.cause).includes(`${UNIMPLEMENTED} `)) return false;
      throw error;
    });
    if (!served) return;
    subject.results.add(measure, subject.peer, performance.now() - startMs);
  }
}
