import { CriDaemon } from "./daemon.ts";

/** The top of the source tree. */
export const PROJECT_ROOT = new URL("../../../", import.meta.url).pathname.replace(/\/$/, "");

export interface CrioOptions {
  readonly name?: string;
  /** A directory of its own; made when it is missing. */
  readonly directory: string;
  /** Program and first arguments. Default: {@link crioCommand}. */
  readonly command?: readonly string[];
  readonly defaultRuntime?: "crun" | "runc";
  /** Image of the infra process, for pods that need one. */
  readonly pauseImage?: string;
  /** Empty (default): the entrypoint of the image. */
  readonly pauseCommand?: string;
  /** Registries, as `host:port`, that speak plain HTTP. */
  readonly insecureRegistries?: readonly string[];
  readonly network: PodNetwork;
  /** Looked into for CNI plugins before the machine's own. */
  readonly pluginDirectory?: string;
  /** Added to crio.conf as it is. */
  readonly extraConfig?: string;
  /** Whether plugins of the Node Resource Interface are served, at `nri.sock` and from `nri-plugins`. Default: no. */
  readonly nri?: boolean;
  readonly logLevel?: string;
  /** Variables of the daemon's environment. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** One bridge network for pods. */
export interface PodNetwork {
  readonly bridge: string;
  /** An IPv4 prefix of length 24 without its last part: `10.201.3`. */
  readonly prefix: string;
}

/** CRIO (a command line) from the environment, else dist/crio when asked for by CRIO=dist, else the source tree. */
export function crioCommand(): string[] {
  const asked = Deno.env.get("CRIO") ?? "";
  if (asked === "dist") return [`${PROJECT_ROOT}/dist/crio`];
  if (asked !== "") return asked.split(" ");
  return [Deno.execPath(), "run", "-A", "--config", `${PROJECT_ROOT}/deno.json`, `${PROJECT_ROOT}/main.ts`];
}

/** E2E_CGROUP_MANAGER from the environment: `systemd`, where it is PID 1; else cgroupfs. */
export function cgroupManager(): "cgroupfs" | "systemd" {
  return Deno.env.get("E2E_CGROUP_MANAGER") === "systemd" ? "systemd" : "cgroupfs";
}

/** Writes the configuration of a daemon whose every path lies below one directory; `crio.conf.d` in it is for more. */
export async function prepareCrio(options: CrioOptions): Promise<CriDaemon> {
  const { directory, command = crioCommand(), name = "crio" } = options;
  for (const part of ["cni", "cni-data", "exits", "attach", "ns", "pods", "hooks", "crio.conf.d", "registries.d"]) {
    await Deno.mkdir(`${directory}/${part}`, { recursive: true });
  }
  await Deno.writeTextFile(`${directory}/crio.conf`, crioConf(options));
  await Deno.writeTextFile(`${directory}/policy.json`, '{"default":[{"type":"insecureAcceptAnything"}]}\n');
  await Deno.writeTextFile(`${directory}/registries.conf`, registriesConf(options.insecureRegistries ?? []));
  await Deno.writeTextFile(`${directory}/storage.conf`, "");
  await writeCniConfig(`${directory}/cni`, { ...options.network, name, dataDir: `${directory}/cni-data` });
  const socketPath = `${directory}/crio.sock`;
  const argv = [...command, "--config", `${directory}/crio.conf`, "--config-dir", `${directory}/crio.conf.d`];
  argv.push("--registries-conf", `${directory}/registries.conf`, "--registries-conf-dir", `${directory}/registries.d`);
  const env = { CONTAINERS_STORAGE_CONF: `${directory}/storage.conf`, ...options.environment };
  return new CriDaemon({ name, directory, argv, socketPath, env, cwd: PROJECT_ROOT });
}

/** Writes a CNI configuration list: a bridge with host-local addresses and masquerading. */
export async function writeCniConfig(
  directory: string,
  network: PodNetwork & { readonly name: string; readonly dataDir: string },
): Promise<void> {
  const { bridge, prefix, name, dataDir } = network;
  const ranges = [[{ subnet: `${prefix}.0/24` }]];
  const ipam = { type: "host-local", dataDir, ranges, routes: [{ dst: "0.0.0.0/0" }] };
  const plugins = [{ type: "bridge", bridge, isGateway: true, ipMasq: true, hairpinMode: true, ipam }];
  await Deno.mkdir(directory, { recursive: true });
  const text = JSON.stringify({ cniVersion: "1.0.0", name, plugins }, undefined, 2);
  await Deno.writeTextFile(`${directory}/10-${name}.conflist`, `${text}\n`);
}

/** Where Debian keeps the CNI plugins, or where everybody else does. */
export function cniPluginDir(): string {
  return ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"].find((path) => exists(`${path}/bridge`)) ??
    "/opt/cni/bin";
}

function crioConf(options: CrioOptions): string {
  const { directory, defaultRuntime = "crun", pluginDirectory } = options;
  const runtimes = ["crun", "runc"].map((runtime) => ({ runtime, path: findProgram(runtime) }))
    .filter(({ path }) => path !== undefined)
    .map(({ runtime, path }) =>
      `[crio.runtime.runtimes.${runtime}]\nruntime_path = "${path}"\nruntime_root = "${directory}/${runtime}"\n`
    );
  return `[crio]
root = "${directory}/root"
runroot = "${directory}/runroot"
storage_driver = "overlay"
log_dir = "${directory}/pods"
version_file = "${directory}/version"
clean_shutdown_file = "${directory}/clean.shutdown"
[crio.api]
listen = "${directory}/crio.sock"
[crio.runtime]
default_runtime = "${defaultRuntime}"
cgroup_manager = "${cgroupManager()}"
conmon_cgroup = "pod"
log_level = "${options.logLevel ?? "info"}"
container_exits_dir = "${directory}/exits"
container_attach_socket_dir = "${directory}/attach"
namespaces_dir = "${directory}/ns"
hooks_dir = ["${directory}/hooks"]
${runtimes.join("")}[crio.image]
pause_image = "${options.pauseImage ?? "localhost/pause:none"}"
pause_command = "${options.pauseCommand ?? ""}"
signature_policy = "${directory}/policy.json"
images_dir = "${directory}/images.d"
[crio.network]
network_dir = "${directory}/cni"
plugin_dirs = [${pluginDirectory === undefined ? "" : `"${pluginDirectory}", `}"${cniPluginDir()}"]
[crio.nri]
enable_nri = ${options.nri === true}
nri_listen = "${directory}/nri.sock"
nri_plugin_dir = "${directory}/nri-plugins"
nri_plugin_config_dir = "${directory}/nri-conf.d"
${options.extraConfig ?? ""}`;
}

function registriesConf(insecure: readonly string[]): string {
  const blocks = insecure.map((location) => `\n[[registry]]\nlocation = "${location}"\ninsecure = true\n`);
  return `unqualified-search-registries = []\n${blocks.join("")}`;
}

function findProgram(name: string): string | undefined {
  return ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    .map((directory) => `${directory}/${name}`).find(exists);
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
