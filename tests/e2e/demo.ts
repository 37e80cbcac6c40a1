/**
 * The demonstration behind `scripts/demo`: every step through the CRI socket, as a kubelet would.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { ContainerState, ImageSpec, type PodSandboxStatusResponse } from "../../src/cri/gen/api.ts";
import { killAll, removeTree } from "./harness/cleanup.ts";
import { CgroupParent } from "./harness/cgroup_parent.ts";
import { type CriClient, message } from "./harness/cri_client.ts";
import { crioCommand, prepareCrio, PROJECT_ROOT } from "./harness/crio.ts";
import type { CriDaemon } from "./harness/daemon.ts";
import { containerConfig, podConfig, removeAllPods } from "./harness/pods.ts";
import { startRegistry } from "./harness/registry_process.ts";
import { Kept, makeDemoDirectory, stopKept } from "./demo_kept.ts";
import { say, Steps } from "./demo_steps.ts";

const BRIDGE = "criodemo0";
const SUBNET = "10.239.77";
const GREETING = `echo "hello from $(hostname), process $$"; date; id; uname -sr
trap 'echo "SIGTERM came: bye"; exit 7' TERM
n=0; while true; do n=$((n + 1)); echo "tick $n"; sleep 1 & wait $!; done`;
const LOOK_AROUND = "ip -4 addr show eth0 | grep inet; echo processes here:; ps | head -5";
const LOG_TIMEOUT_MS = 10_000;

interface Flags {
  readonly image: string | undefined;
  readonly keep: boolean;
  readonly command: readonly string[];
  readonly runtime: "crun" | "runc";
}

interface Scene {
  readonly client: CriClient;
  readonly directory: string;
  readonly image: string;
  readonly steps: Steps;
  readonly cgroupParent: string;
  /** Whether the image is not ours: then its own command runs. */
  readonly foreign: boolean;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      image: { type: "string" },
      keep: { type: "boolean", default: false },
      stop: { type: "boolean", default: false },
      dist: { type: "boolean", default: false },
      runtime: { type: "string", default: "crun" },
    },
  });
  if (values.stop) {
    await stopKept(BRIDGE);
    return;
  }
  const command = values.dist ? [`${PROJECT_ROOT}/dist/crio`] : crioCommand();
  const runtime = values.runtime === "runc" ? "runc" : "crun";
  await demonstrate({ image: values.image, keep: values.keep, command, runtime });
}

async function demonstrate(flags: Flags): Promise<void> {
  const steps = new Steps();
  await using cleanup = new AsyncDisposableStack();
  const directory = await makeDemoDirectory();
  const kept = new Kept(directory);
  // Everything that `cleanup` does at the end is left to `scripts/demo --stop` when the daemon is to stay.
  cleanup.defer(() => removeTree(directory));
  const registry = cleanup.use(
    await steps.run("serve an image on loopback", () => startRegistry({ stay: flags.keep })),
  );
  await kept.note({ registryPid: registry.pid });
  const cgroup = cleanup.use(await CgroupParent.create(`crio-demo-${Deno.pid}`));
  const daemon = await prepareCrio({
    directory: `${directory}/crio`,
    command: flags.command,
    defaultRuntime: flags.runtime,
    insecureRegistries: [registry.host],
    pauseImage: `${registry.host}/bench/pause:1`,
    network: { bridge: BRIDGE, prefix: SUBNET },
  });
  cleanup.defer(() => shutDown(daemon));
  await steps.run("start crio", () => daemon.start());
  await kept.note({ daemonPid: daemon.pid, socketPath: daemon.spec.socketPath, cgroup: cgroup.path });
  const image = flags.image ?? `${registry.host}/bench/busybox:1`;
  const foreign = flags.image !== undefined;
  const scene: Scene = { client: daemon.client, directory, image, steps, cgroupParent: cgroup.path, foreign };
  const containerId = await showPod(scene);
  if (flags.keep) {
    cleanup.move();
    kept.explain();
    return;
  }
  await showEnd(scene, containerId);
  say("cleaning up");
}

/** Version, pull, pod, container, exec, log. @returns the id of the container */
async function showPod(scene: Scene): Promise<string> {
  const { client, steps } = scene;
  const version = await steps.run("ask for its version", () => client.call("version", {}));
  say(`  ${version.runtimeName} ${version.runtimeVersion}, CRI ${version.runtimeApiVersion}`);
  const image = message(ImageSpec, { image: scene.image });
  const { imageRef } = await steps.run(`pull ${scene.image}`, () => client.call("pullImage", { image }));
  say(`  ${imageRef}`);
  const config = podConfig({
    name: "demo",
    logDirectory: `${scene.directory}/pods`,
    cgroupParent: scene.cgroupParent,
  });
  await Deno.mkdir(`${config.logDirectory}/main`, { recursive: true });
  const { podSandboxId } = await steps.run("run a pod", () => client.call("runPodSandbox", { config }));
  say(
    `  pod ${podSandboxId.slice(0, 13)}, address ${
      podAddress(await client.call("podSandboxStatus", { podSandboxId }))
    }`,
  );
  const command = scene.foreign ? [] : ["/bin/sh", "-c", GREETING];
  const request = {
    podSandboxId,
    config: containerConfig({ name: "main", image: scene.image, command, pod: config }),
    sandboxConfig: config,
  };
  const { containerId } = await steps.run("create a container", () => client.call("createContainer", request));
  await steps.run("start it", () => client.call("startContainer", { containerId }));
  await showExec(scene, containerId);
  const log = await steps.run("read its log", () => waitForLog(`${config.logDirectory}/main/0.log`));
  for (const line of log) say(`  | ${line}`);
  return containerId;
}

async function showExec(scene: Scene, containerId: string): Promise<void> {
  const { client, steps, foreign } = scene;
  const request = { containerId, cmd: ["/bin/sh", "-c", foreign ? "id" : LOOK_AROUND], timeout: 10n };
  try {
    const answer = await steps.run("run a command inside it", () => client.call("execSync", request));
    const text = new TextDecoder().decode(answer.stdout) + new TextDecoder().decode(answer.stderr);
    for (const line of text.trim().split("\n")) say(`  | ${line}`);
  } catch (error) {
    // An image without a shell, or whose process has ended, has nothing to show here.
    if (!foreign) throw error;
    say(`  not possible in this image: ${error instanceof Error ? error.message : error}`);
  }
}

async function showEnd(scene: Scene, containerId: string): Promise<void> {
  const { client, steps } = scene;
  await steps.run("stop the container", () => client.call("stopContainer", { containerId, timeout: 5n }));
  const { status } = await client.call("containerStatus", { containerId });
  say(`  exit code ${status?.exitCode}`);
  if (status?.state !== ContainerState.CONTAINER_EXITED) throw new Error("the container is not shown as exited");
  await steps.run("stop and remove the pod", () => removeAllPods(client));
  const { items } = await client.call("listPodSandbox", {});
  if (items.length > 0) throw new Error(`${items.length} pods are left`);
  steps.total();
}

function podAddress(answer: PodSandboxStatusResponse): string {
  return answer.status?.network?.ip || "(none)";
}

/** The first lines of a log in the CRI format, without their prefix. */
async function waitForLog(path: string): Promise<string[]> {
  const SHOWN_LINES = 6;
  const MIN_LINES = 4;
  const untilMs = performance.now() + LOG_TIMEOUT_MS;
  for (;;) {
    const text = await Deno.readTextFile(path).catch(() => "");
    const lines = text.split("\n").filter(Boolean).map((line) => line.split(" ").slice(3).join(" "));
    if (lines.length >= MIN_LINES || performance.now() > untilMs) {
      return lines.length === 0 ? ["(nothing was written)"] : lines.slice(0, SHOWN_LINES);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function shutDown(daemon: CriDaemon): Promise<void> {
  await removeAllPods(daemon.client).catch(() => {});
  const left = daemon.processes().map(({ pid }) => pid).filter((pid) => pid !== daemon.pid);
  await daemon.stop();
  killAll(left);
  await new Deno.Command("ip", { args: ["link", "delete", BRIDGE], stderr: "null" }).output();
}

try {
  await main();
  Deno.exit(0);
} catch (error) {
  say(`scripts/demo: ${error instanceof Error ? error.message : error}`);
  Deno.exit(1);
}
