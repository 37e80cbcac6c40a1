/** A place for real containers: root file system, directories, runtimes, a cgroup parent. Leaves nothing behind. */
import { silentLogger } from "../../src/base/logger.ts";
import { CgroupTree } from "../../src/cgroup/tree.ts";
import { inspectHost } from "../../src/linux/host.ts";
import { Conmon, type CreateRequest, type MonitoredContainer } from "../../src/oci/monitor/conmon.ts";
import { isAlive, killTree } from "../../src/linux/process.ts";
import { OciRuntime } from "../../src/oci/runtime/runtime.ts";
import { runtimePathFor } from "../../src/oci/runtime/wrapper.ts";
import { parseVersion } from "../../src/oci/runtime/version.ts";
import { runCommand } from "../../src/linux/command.ts";

const APPLETS = ["sh", "sleep", "echo", "cat", "true", "false", "dd", "yes", "head", "tail", "id", "ls", "seq", "tr"];
let serial = 0;

/** Which programs the tests run on. */
export type RuntimeName = "crun" | "runc";

export interface ContainerOptions {
  readonly args: readonly string[];
  readonly memoryLimitBytes?: number;
  readonly uid?: number;
  readonly create?: Partial<CreateRequest>;
}

export interface TestContainer extends MonitoredContainer {
  readonly id: string;
  readonly bundle: string;
  readonly logPath: string;
  readonly persistDir: string;
  readonly cgroup: string;
}

/** The object for `execSync`: the same surroundings as a test container's first process. */
export function processSpec(args: readonly string[], options: { readonly uid?: number } = {}): object {
  const { uid = 0 } = options;
  const caps = ["CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE"];
  return {
    terminal: false,
    user: { uid, gid: uid },
    args,
    env: ["PATH=/bin"],
    cwd: "/",
    capabilities: uid === 0 ? { bounding: caps, effective: caps, permitted: caps } : {},
    noNewPrivileges: true,
  };
}

export class OciFixture implements AsyncDisposable {
  readonly exitDir: string;
  readonly execDir: string;
  readonly #containers: TestContainer[] = [];

  private constructor(
    readonly root: string,
    readonly runtime: OciRuntime,
    readonly tree: CgroupTree,
    readonly parent: string,
    readonly conmon: Conmon,
  ) {
    this.exitDir = `${root}/exits`;
    this.execDir = `${root}/run`;
  }

  static async make(name: RuntimeName): Promise<OciFixture> {
    const root = await Deno.makeTempDir({ prefix: "crio-oci-" });
    for (const dir of ["exits", "sockets", "run", "containers", "rootfs/bin", "rootfs/proc", "rootfs/dev"]) {
      await Deno.mkdir(`${root}/${dir}`, { recursive: true });
    }
    await Deno.copyFile("/bin/busybox", `${root}/rootfs/bin/busybox`);
    await Deno.chmod(`${root}/rootfs/bin/busybox`, 0o755);
    for (const applet of APPLETS) await Deno.symlink("busybox", `${root}/rootfs/bin/${applet}`);
    await Deno.chmod(root, 0o755);
    const { cgroup } = await inspectHost();
    const path = `/usr/bin/${name}`;
    const version = parseVersion(new TextDecoder().decode((await runCommand([path, "--version"])).stdout));
    const wrapped = await runtimePathFor({ path, version, cgroup, directory: `${root}/wrap`, log: silentLogger });
    const runtime = new OciRuntime({ name, path: wrapped, root: `${root}/runtime` });
    const parent = `/crio-test-${Deno.pid}-${serial++}`;
    const conmon = new Conmon({ path: "/usr/bin/conmon", log: silentLogger });
    return new OciFixture(root, runtime, new CgroupTree(cgroup), parent, conmon);
  }

  /** Writes a bundle and gives the request that creates a container from it. */
  async prepare(options: ContainerOptions): Promise<CreateRequest & { readonly cgroup: string }> {
    const id = `c${Deno.pid}x${serial++}`;
    const bundle = `${this.root}/containers/${id}`;
    const persistDir = `${bundle}/persist`;
    await Deno.mkdir(persistDir, { recursive: true });
    await Deno.mkdir(`${bundle}/logs`);
    const cgroup = `${this.parent}/crio-${id}`;
    await Deno.writeTextFile(`${bundle}/config.json`, JSON.stringify(this.#config(options, cgroup)));
    return {
      id,
      name: `k8s_${id}`,
      bundle,
      cgroup,
      logPaths: [`${bundle}/logs/0.log`],
      exitDir: this.exitDir,
      persistDir,
      socketDir: `${this.root}/sockets`,
      pidFile: `${bundle}/pidfile`,
      monitorPidFile: `${bundle}/conmon.pid`,
      runtime: this.runtime,
      noSyncLog: true,
      timeoutMs: 20_000,
      ...options.create,
    };
  }

  async create(options: ContainerOptions): Promise<TestContainer> {
    const request = await this.prepare(options);
    const { id, bundle, persistDir, cgroup } = request;
    const made = await this.conmon.create(request);
    const container = { id, bundle, persistDir, cgroup, logPath: request.logPaths[0] ?? "", ...made };
    this.#containers.push(container);
    return container;
  }

  /** Created and started. */
  async run(options: ContainerOptions): Promise<TestContainer> {
    const container = await this.create(options);
    await this.runtime.start(container.id);
    return container;
  }

  #config(options: ContainerOptions, cgroupsPath: string): object {
    const limit = options.memoryLimitBytes;
    return {
      ociVersion: "1.0.0",
      process: processSpec(options.args, options),
      root: { path: `${this.root}/rootfs`, readonly: false },
      hostname: "test",
      mounts: [
        { destination: "/proc", type: "proc", source: "proc" },
        { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755", "size=65536k"] },
        { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["newinstance", "ptmxmode=0666"] },
      ],
      linux: {
        cgroupsPath,
        resources: {
          devices: [{ allow: false, access: "rwm" }],
          ...(limit === undefined ? {} : { memory: { limit, swap: limit } }),
        },
        namespaces: ["pid", "network", "ipc", "uts", "mount"].map((type) => ({ type })),
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { id, monitor, container } of this.#containers) {
      await this.runtime.delete(id, { force: true });
      if (isAlive(container)) killTree(container);
      for (let i = 0; i < 200 && isAlive(monitor); i++) await new Promise((done) => setTimeout(done, 10));
      if (isAlive(monitor)) killTree(monitor);
    }
    await this.tree.remove(this.parent);
    await Deno.remove(this.root, { recursive: true });
  }
}
