import { Program } from "./program.ts";

/** Address of the node in the test's own network namespace. */
export const NODE_IP = "10.239.0.1";
export const NODE_NAME = "crio-node";
/** The kubelet's ports: with TLS, and without it for reading. */
const PORT = 10250;
const READ_ONLY_PORT = 10255;
export const KUBELET_URL = `https://${NODE_IP}:${PORT}`;
export const KUBELET_READ_URL = `http://${NODE_IP}:${READ_ONLY_PORT}`;
const HEALTH_URL = "http://127.0.0.1:10248/healthz";
export const LOG_MAX_FILES = 3;

/**
 * Settings of the whole machine and what the kubelet sets them to. While it starts it sees files of ours instead, so
 * that the machine keeps its own.
 */
const SYSCTLS: Readonly<Record<string, string>> = {
  "vm/overcommit_memory": "1",
  "vm/panic_on_oom": "0",
  "kernel/panic": "10",
  "kernel/panic_on_oops": "1",
  "kernel/keys/root_maxkeys": "1000000",
  "kernel/keys/root_maxbytes": "25000000",
};

export interface KubeletOptions {
  /** Where its files lie; made when it is missing. */
  readonly directory: string;
  readonly program: string;
  readonly criSocket: string;
  readonly cgroupRoot: string;
  readonly podLogsDirectory: string;
  /** For a node of a cluster. */
  readonly kubeconfig?: string;
  readonly featureGates?: Readonly<Record<string, boolean>>;
}

/** A real kubelet in our own mount namespace: it mounts volumes where the runtime sees them. */
export class Kubelet implements AsyncDisposable {
  #program: Program | undefined;

  private constructor(private readonly options: KubeletOptions) {}

  static async start(options: KubeletOptions): Promise<Kubelet> {
    const { directory } = options;
    for (const part of ["manifests", "root", "volume-plugins", "empty"]) {
      await Deno.mkdir(`${directory}/${part}`, { recursive: true });
    }
    await Deno.writeTextFile(`${directory}/resolv.conf`, "nameserver 10.96.0.10\nsearch example.test\n");
    await Deno.writeTextFile(`${directory}/kubelet.json`, JSON.stringify(configuration(options), undefined, 2));
    const kubelet = new Kubelet(options);
    await kubelet.start();
    return kubelet;
  }

  /** Manifests of static pods. */
  get manifestDirectory(): string {
    return `${this.options.directory}/manifests`;
  }

  get rootDirectory(): string {
    return `${this.options.directory}/root`;
  }

  get logPath(): string {
    return `${this.options.directory}/kubelet.log`;
  }

  get pid(): number {
    if (this.#program === undefined) throw new Error("the kubelet is not running");
    return this.#program.pid;
  }

  /** Starts it, again too, and waits until its servers answer and it syncs pods. */
  async start(): Promise<void> {
    const { directory, kubeconfig, program } = this.options;
    await using _shield = await SysctlShield.raise(`${directory}/empty`);
    const argv = [program, `--config=${directory}/kubelet.json`, `--root-dir=${this.rootDirectory}`];
    argv.push(`--cert-dir=${directory}/pki`, `--hostname-override=${NODE_NAME}`, `--node-ip=${NODE_IP}`, "--v=2");
    if (kubeconfig !== undefined) argv.push(`--kubeconfig=${kubeconfig}`);
    const before = await sizeOf(this.logPath);
    this.#program = await Program.start({
      name: "kubelet",
      argv,
      logPath: this.logPath,
      isReady: async () => await answers(HEALTH_URL) && await this.#hasSetUpNode(before),
    });
  }

  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    await this.#program?.stop(signal);
    this.#program = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Plugins are looked for once the node's settings and cgroups are made. */
  async #hasSetUpNode(fromByte: number): Promise<boolean> {
    const log = (await Deno.readFile(this.logPath)).subarray(fromByte);
    return new TextDecoder().decode(log).includes("Starting Kubelet Plugin Manager") &&
      await answers(`${KUBELET_READ_URL}/pods`);
  }
}

/** Ordinary files of the kubelet's liking in the place of the machine's settings, in our mount namespace. */
class SysctlShield implements AsyncDisposable {
  private constructor(private readonly paths: string[]) {}

  static async raise(directory: string): Promise<SysctlShield> {
    const shield = new SysctlShield([]);
    for (const [name, value] of Object.entries(SYSCTLS)) {
      const file = `${directory}/${name.replaceAll("/", "-")}`;
      await Deno.writeTextFile(file, `${value}\n`);
      await run("mount", "--bind", file, `/proc/sys/${name}`);
      shield.paths.push(`/proc/sys/${name}`);
    }
    return shield;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const path of this.paths.reverse()) await run("umount", path);
  }
}

/** Runs a short command; throws with what it wrote when it fails. */
export async function run(...argv: string[]): Promise<string> {
  const [program = "", ...args] = argv;
  const { success, stdout, stderr } = await new Deno.Command(program, { args, stdin: "null" }).output();
  if (!success) throw new Error(`${argv.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** Whether a server answers with success. */
export async function answers(url: string, init: RequestInit & { client?: Deno.HttpClient } = {}): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(5000), ...init });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

async function sizeOf(path: string): Promise<number> {
  return await Deno.stat(path).then(({ size }) => size, () => 0);
}

function configuration(options: KubeletOptions): unknown {
  const { directory, criSocket, cgroupRoot, podLogsDirectory, featureGates = {} } = options;
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    staticPodPath: `${directory}/manifests`,
    fileCheckFrequency: "2s",
    failCgroupV1: false,
    cgroupDriver: "cgroupfs",
    cgroupRoot,
    cgroupsPerQOS: true,
    enforceNodeAllocatable: ["pods"],
    containerRuntimeEndpoint: `unix://${criSocket}`,
    imageServiceEndpoint: `unix://${criSocket}`,
    address: NODE_IP,
    port: PORT,
    readOnlyPort: READ_ONLY_PORT,
    healthzBindAddress: "127.0.0.1",
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: "AlwaysAllow" },
    clusterDomain: "cluster.local",
    clusterDNS: ["10.96.0.10"],
    resolvConf: `${directory}/resolv.conf`,
    podLogsDir: podLogsDirectory,
    volumePluginDir: `${directory}/volume-plugins`,
    failSwapOn: false,
    protectKernelDefaults: false,
    serializeImagePulls: false,
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    evictionHard: { "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
    evictionPressureTransitionPeriod: "10s",
    syncFrequency: "10s",
    nodeStatusUpdateFrequency: "5s",
    allowedUnsafeSysctls: ["net.core.somaxconn"],
    containerLogMaxSize: "64Ki",
    containerLogMaxFiles: LOG_MAX_FILES,
    containerLogMonitorInterval: "3s",
    featureGates: { ImageVolume: true, ContainerStopSignals: true, ...featureGates },
  };
}
