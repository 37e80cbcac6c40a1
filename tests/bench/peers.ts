import { CriDaemon } from "../e2e/harness/daemon.ts";
import { cniPluginDir, type PodNetwork, prepareCrio, writeCniConfig } from "../e2e/harness/crio.ts";

/** The columns of the table, in this order. */
export const PEER_NAMES = ["containerd", "crio-runc", "crio-crun"] as const;
export type PeerName = (typeof PEER_NAMES)[number];

export interface PeerOptions {
  /** Below which each peer has a directory of its own. */
  readonly workDir: string;
  /** `127.0.0.1:port`, plain HTTP. */
  readonly registryHost: string;
  /** Program and first arguments of crio. */
  readonly crioCommand: readonly string[];
}

/** Writes the configuration of a peer; it is not started yet. */
export async function preparePeer(name: PeerName, options: PeerOptions): Promise<CriDaemon> {
  const directory = `${options.workDir}/${name}`;
  await Deno.mkdir(directory, { recursive: true });
  const index = PEER_NAMES.indexOf(name);
  const network = { bridge: `bench${index}`, prefix: `10.241.${index}` };
  if (name === "containerd") return await prepareContainerd({ directory, network, ...options });
  return await prepareCrio({
    name,
    directory,
    network,
    command: options.crioCommand,
    defaultRuntime: name === "crio-crun" ? "crun" : "runc",
    pauseImage: `${options.registryHost}/bench/pause:1`,
    insecureRegistries: [options.registryHost],
    logLevel: "warn",
  });
}

async function prepareContainerd(
  options: PeerOptions & { readonly directory: string; readonly network: PodNetwork },
): Promise<CriDaemon> {
  const { directory, registryHost, network } = options;
  const name = "containerd";
  const cniDir = `${directory}/cni`;
  await writeCniConfig(cniDir, { ...network, name, dataDir: `${directory}/cni-data` });
  const hostDir = `${directory}/certs.d/${registryHost}`;
  await Deno.mkdir(hostDir, { recursive: true });
  await Deno.writeTextFile(
    `${hostDir}/hosts.toml`,
    `server = "http://${registryHost}"\n[host."http://${registryHost}"]\n  capabilities = ["pull", "resolve"]\n`,
  );
  await Deno.writeTextFile(`${directory}/config.toml`, containerdConfig({ directory, registryHost, cniDir }));
  const argv = ["/usr/bin/env", "containerd", "--config", `${directory}/config.toml`];
  return new CriDaemon({ name, directory, argv, socketPath: `${directory}/c.sock` });
}

function containerdConfig(options: { directory: string; registryHost: string; cniDir: string }): string {
  const { directory, registryHost, cniDir } = options;
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  const off = ["btrfs", "zfs", "aufs", "devmapper"].map((name) => `"io.containerd.snapshotter.v1.${name}"`);
  return `version = 2
root = "${directory}/root"
state = "${directory}/state"
disabled_plugins = [${off.join(", ")}, "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "${directory}/c.sock"
[ttrpc]
  address = "${directory}/c.sock.ttrpc"
[debug]
  level = "warn"
[plugins."io.containerd.internal.v1.opt"]
  path = "${directory}/opt"
[${cri}]
  sandbox_image = "${registryHost}/bench/pause:1"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = true
  [${cri}.containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [${cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [${cri}.containerd.runtimes.runc.options]
        SystemdCgroup = false
  [${cri}.cni]
    bin_dir = "${cniPluginDir()}"
    conf_dir = "${cniDir}"
  [${cri}.registry]
    config_path = "${directory}/certs.d"
`;
}
