import { killAll, mountsBelow, removeTree } from "./cleanup.ts";
import { CgroupParent } from "./cgroup_parent.ts";
import { message } from "./cri_client.ts";
import { prepareContainerd } from "./containerd.ts";
import { cgroupManager, type PodNetwork, prepareCrio } from "./crio.ts";
import type { CriDaemon } from "./daemon.ts";
import { type PodWish, removeAllPods } from "./pods.ts";
import { runtimeProcesses } from "./processes.ts";
import { type RegistryProcess, startRegistry } from "./registry_process.ts";
import { ImageSpec } from "../../../src/cri/gen/api.ts";

const BRIDGE = "crioe2e0";

export interface LabOptions {
  readonly defaultRuntime?: "crun" | "runc";
  /** Looked into for CNI plugins before the machine's own. */
  readonly pluginDirectory?: string;
  /** Added to crio.conf as it is. */
  readonly extraConfig?: string;
  /** Whether NRI plugins are served. Default: no. */
  readonly nri?: boolean;
  /** Called before the daemon starts. */
  readonly prepare?: (directory: string) => Promise<void>;
  /** Variables of the daemon's environment, such as CONTAINER_LOG_SIZE_MAX. */
  readonly environment?: Readonly<Record<string, string>>;
  /** A drop-in file over crio.conf, given the directory of everything: it replaces handlers as a whole. */
  readonly dropIn?: (directory: string) => string;
}

/** A crio (or containerd, where E2E_DAEMON says so: to test the tests) on temporary roots with a registry, everything of which can be looked at afterwards. */
export class Lab implements AsyncDisposable {
  private constructor(
    readonly directory: string,
    readonly daemon: CriDaemon,
    readonly registry: RegistryProcess,
    readonly cgroup: CgroupParent,
  ) {}

  /** Prepares and starts it; the image is not pulled yet. */
  static async start(options: LabOptions = {}): Promise<Lab> {
    await using undo = new AsyncDisposableStack();
    const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "crio-e2e-" });
    undo.defer(() => removeTree(directory));
    const registry = undo.use(await startRegistry());
    const cgroup = undo.use(await CgroupParent.create(`crio-e2e-${Deno.pid}`, cgroupManager()));
    const network = { bridge: BRIDGE, prefix: "10.238.77" };
    const other = Deno.env.get("E2E_DAEMON") === "containerd";
    const daemon = other
      ? await prepareContainerd({ directory, network, registryHost: registry.host })
      : await prepareLabCrio({ ...options, directory, network, registryHost: registry.host });
    if (options.dropIn !== undefined) {
      await Deno.writeTextFile(`${directory}/crio.conf.d/50-test.conf`, options.dropIn(directory));
    }
    await options.prepare?.(directory);
    await daemon.start();
    undo.move();
    return new Lab(directory, daemon, registry, cgroup);
  }

  /** The busybox image of the registry. */
  get image(): string {
    return `${this.registry.host}/bench/busybox:1`;
  }

  async pull(): Promise<void> {
    await this.daemon.client.call("pullImage", { image: message(ImageSpec, { image: this.image }) });
  }

  pod(name: string): PodWish {
    return { name, logDirectory: `${this.directory}/pods`, cgroupParent: this.cgroup.path };
  }

  /**
   * What should not be there once no pod and no image is left: one line each, by kind. Records are compared by the
   * daemon's own lists; here the kernel and the disk are asked.
   */
  async leaks(): Promise<string[]> {
    const seen = this.daemon.processes();
    // What the daemon starts meanwhile, or what ends, is none.
    const children = new Set(treeOf(this.daemon.pid));
    const still = new Set(this.daemon.processes().map(({ pid }) => pid));
    const monitors = seen.filter(({ pid }) => !children.has(pid) && still.has(pid));
    const mounts = await mountsBelow(this.directory);
    const lines = [
      ...monitors.map(({ pid, argv }) => `process ${pid}: ${argv.slice(0, 6).join(" ")}`),
      ...mounts.filter((path) => !path.endsWith("/root/overlay")).map((path) => `mount ${path}`),
      ...(await this.cgroup.leftovers()).map((path) => `cgroup ${path}`),
      ...(await filesBelow(`${this.directory}/cni-data`, /^\d+\.\d+\.\d+\.\d+$/)).map((path) => `address ${path}`),
    ];
    for (const place of ["exits", "attach", "ns", "crun", "runc", "root/overlay-containers"]) {
      const files = await filesBelow(`${this.directory}/${place}`, /^[0-9a-f-]{12,}/);
      lines.push(...files.map((path) => `file ${path}`));
    }
    const { stdout } = await new Deno.Command("ip", { args: ["-o", "link", "show", "master", BRIDGE] }).output();
    lines.push(...new TextDecoder().decode(stdout).split("\n").filter(Boolean).map((line) => `veth ${line}`));
    return lines;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeAllPods(this.daemon.client).catch(() => {});
    const left = this.daemon.processes().map(({ pid }) => pid).filter((pid) => pid !== this.daemon.pid);
    await this.daemon.stop();
    killAll(left);
    await this.registry[Symbol.asyncDispose]();
    await this.cgroup[Symbol.asyncDispose]();
    await new Deno.Command("ip", { args: ["link", "delete", BRIDGE], stderr: "null" }).output();
    await removeTree(this.directory);
  }
}

function prepareLabCrio(
  options: LabOptions & { directory: string; network: PodNetwork; registryHost: string },
): Promise<CriDaemon> {
  const { registryHost, ...rest } = options;
  return prepareCrio({
    ...rest,
    insecureRegistries: [registryHost],
    pauseImage: `${registryHost}/bench/pause:1`,
    logLevel: "debug",
  });
}

/** The daemon and its descendants, such as a pull process that is still warm. */
function treeOf(daemonPid: number): number[] {
  return runtimeProcesses(daemonPid, "/nonexistent").map(({ pid }) => pid);
}

/** Paths below a directory whose last part fits; the top ones only, not what lies inside them. */
async function filesBelow(directory: string, name: RegExp): Promise<string[]> {
  const found: string[] = [];
  try {
    for await (const entry of Deno.readDir(directory)) {
      const path = `${directory}/${entry.name}`;
      if (name.test(entry.name)) found.push(path);
      else if (entry.isDirectory) found.push(...await filesBelow(path, name));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found;
}
