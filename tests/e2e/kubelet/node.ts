import { ContainerState, PodSandboxState } from "../../../src/cri/gen/api.ts";
import type { CriClient } from "../harness/cri_client.ts";
import type { CriDaemon } from "../harness/daemon.ts";
import { Lab, type LabOptions } from "../harness/lab.ts";
import { ControlPlane } from "./control_plane.ts";
import { Kubelet, NODE_IP, run } from "./kubelet.ts";
import { Kubectl } from "./kubectl.ts";
import { ClusterPods, type PodHost, StaticPods } from "./pod_host.ts";
import type { PodMetadata, PodSpec } from "./pod_types.ts";
import { TestPod } from "./test_pod.ts";
import { until } from "./until.ts";

/** Where the kubelet gets its pods from: files, or an API server. */
export type Mode = "standalone" | "cluster";

const POD_NAME_LABEL = "io.kubernetes.pod.name";
/** What the kubelet makes wherever its own directory is; each gets a file system of ours. */
const KUBELET_PLACES = ["/var/lib/kubelet", "/var/log/containers"];

export interface NodeOptions extends LabOptions {
  readonly mode: Mode;
  readonly featureGates?: Readonly<Record<string, boolean>>;
}

/** A node under test: a runtime, a kubelet on it and, in a cluster, a control plane. */
export class TestNode implements AsyncDisposable {
  private constructor(
    readonly mode: Mode,
    readonly lab: Lab,
    readonly kubelet: Kubelet,
    private readonly pods: PodHost,
    private readonly plane: ControlPlane | undefined,
    /** Whether Services work. */
    readonly hasProxy: boolean,
    private readonly resources: AsyncDisposableStack,
  ) {}

  /** Starts all of it; in a cluster the node is Ready then. */
  static async start(options: NodeOptions): Promise<TestNode> {
    const { mode, featureGates = {} } = options;
    await using undo = new AsyncDisposableStack();
    for (const place of KUBELET_PLACES) undo.use(await OwnPlace.mount(place));
    await addNodeAddress();
    const extraConfig = `[crio.stats]\nincluded_pod_metrics = ["all"]\n${options.extraConfig ?? ""}`;
    const lab = undo.use(await Lab.start({ ...options, extraConfig }));
    await lab.pull();
    const programs = programDirectory();
    undo.defer(() => keepLogs(lab.directory));
    const plane = mode === "cluster"
      ? undo.use(await ControlPlane.start({ directory: `${lab.directory}/control-plane`, programs }))
      : undefined;
    const kubelet = undo.use(
      await Kubelet.start({
        directory: `${lab.directory}/kubelet`,
        program: `${programs}/kubelet`,
        criSocket: mode === "cluster" ? await usualSocket(lab.daemon.spec) : lab.daemon.spec.socketPath,
        cgroupRoot: lab.cgroup.path,
        podLogsDirectory: `${lab.directory}/pods`,
        featureGates: { PodAndContainerStatsFromCRI: mode === "standalone", ...featureGates },
        ...(plane === undefined ? {} : { kubeconfig: plane.kubeconfig("kubelet") }),
      }),
    );
    await plane?.waitForNode();
    const hasProxy = await plane?.startProxy() ?? false;
    const pods = plane === undefined ? new StaticPods(kubelet, () => runningPods(lab.daemon)) : new ClusterPods(plane);
    undo.use(pods);
    return new TestNode(mode, lab, kubelet, pods, plane, hasProxy, undo.move());
  }

  get cluster(): ControlPlane {
    if (this.plane === undefined) throw new Error("there is no API server in standalone mode");
    return this.plane;
  }

  get kubectl(): Kubectl {
    return new Kubectl(`${programDirectory()}/kubectl`, this.cluster.kubeconfig("admin"));
  }

  /** The runtime's own interface: what it says of itself. */
  get cri(): CriClient {
    return this.lab.daemon.client;
  }

  /** The image with a static busybox. */
  get image(): string {
    return this.lab.image;
  }

  /** A directory on the node for a check, below the test's own. */
  async hostDirectory(name: string): Promise<string> {
    const path = `${this.lab.directory}/host/${name}`;
    await Deno.mkdir(path, { recursive: true });
    return path;
  }

  /** Gives a pod to the kubelet; containers without an image get the busybox one. */
  async run(name: string, spec: PodSpec, metadata: PodMetadata = {}): Promise<TestPod> {
    const pod = new TestPod(this, this.pods, name);
    await this.pods.add(name, this.#complete(spec), metadata);
    return pod;
  }

  /** Waits until a path of the node is gone: the kubelet clears up behind a pod in its own time. */
  async gone(path: string): Promise<void> {
    const isGone = (): Promise<true | undefined> => Deno.lstat(path).then(() => undefined, () => true as const);
    await until(`${path} to be gone`, isGone);
  }

  /** A pod that is there already, such as one of a Deployment. */
  attach(name: string): TestPod {
    return new TestPod(this, this.pods, name);
  }

  /** What should not be there without any pod; the kubelet's own cgroups and mounts stay. */
  async leaks(): Promise<string[]> {
    const own =
      /\/kubepods(\/besteffort|\/burstable)?$|^mount .*\/kubelet\/root$|^process \d+: \S*\/(kube[a-z-]*|etcd) /;
    return (await this.lab.leaks()).filter((line) => !own.test(line));
  }

  /** Ends what checks that failed have left. */
  async removePods(): Promise<void> {
    await this.pods[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.resources[Symbol.asyncDispose]();
  }

  #complete(spec: PodSpec): PodSpec {
    const complete: Record<string, unknown> = { terminationGracePeriodSeconds: 2, ...spec };
    for (const list of ["containers", "initContainers"]) {
      const containers = spec[list];
      if (!Array.isArray(containers)) continue;
      complete[list] = containers.map((fields) => ({ image: this.image, imagePullPolicy: "IfNotPresent", ...fields }));
    }
    return complete as PodSpec;
  }
}

/**
 * The runtime's socket where nodes have it. For CRI-O's path a kubelet takes its figures of pods from cgroups and from the
 * HTTP API on the same socket; at any other it asks by CRI.
 */
async function usualSocket(spec: { readonly name: string; readonly socketPath: string }): Promise<string> {
  if (spec.name !== "crio") return spec.socketPath;
  const path = "/var/run/crio/crio.sock";
  await Deno.mkdir("/var/run/crio", { recursive: true });
  await run("ln", "-sfn", spec.socketPath, path);
  return path;
}

/** KUBERNETES_BIN, which `scripts/kubelet-test` sets. */
export function programDirectory(): string {
  const directory = Deno.env.get("KUBERNETES_BIN");
  if (directory === undefined) {
    throw new Error("KUBERNETES_BIN does not say where kubelet is: use scripts/kubelet-test");
  }
  return directory;
}

/** Names of pods that have a ready sandbox or a running container. */
async function runningPods({ client }: CriDaemon): Promise<ReadonlySet<string>> {
  const { items } = await client.call("listPodSandbox", {});
  const { containers } = await client.call("listContainers", {});
  const ready = items.filter(({ state }) => state === PodSandboxState.SANDBOX_READY).map(({ labels }) => labels);
  const running = containers.filter(({ state }) => state === ContainerState.CONTAINER_RUNNING);
  return new Set([...ready, ...running.map(({ labels }) => labels)].map((all) => all.get(POD_NAME_LABEL) ?? ""));
}

/** Copies all logs to where KUBELET_LOGS says: the test's own directory goes with it. */
async function keepLogs(directory: string): Promise<void> {
  const target = Deno.env.get("KUBELET_LOGS");
  if (target === undefined) return;
  await Deno.mkdir(target, { recursive: true });
  const logs = await run("find", directory, "-maxdepth", "2", "-name", "*.log");
  for (const path of logs.split("\n").filter(Boolean)) {
    await Deno.copyFile(path, `${target}/${path.slice(path.lastIndexOf("/") + 1)}`);
  }
}

/** The node's address, on a pair of interfaces with a default route: kubelets look for "the host's address". */
async function addNodeAddress(): Promise<void> {
  const [inner, outer] = ["crionode0", "crionode1"];
  // Not /sys/class/net: that is the network namespace of whoever mounted it.
  if (await run("ip", "link", "show", inner).then(() => true, () => false)) return;
  await run("ip", "link", "add", inner, "type", "veth", "peer", "name", outer);
  await run("ip", "address", "add", `${NODE_IP}/24`, "dev", inner);
  for (const link of [inner, outer]) await run("ip", "link", "set", link, "up");
  await run("ip", "route", "add", "default", "dev", inner);
}

/** An empty file system over a directory of the machine, which is taken away again if it was not there. */
class OwnPlace implements AsyncDisposable {
  private constructor(private readonly path: string, private readonly made: boolean) {}

  static async mount(path: string): Promise<OwnPlace> {
    const made = await Deno.mkdir(path).then(() => true, () => false);
    await run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", path);
    return new OwnPlace(path, made);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("umount", "-l", this.path);
    // Another run may use it by now.
    if (this.made) await Deno.remove(this.path).catch(() => {});
  }
}
