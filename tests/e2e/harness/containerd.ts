import { cniPluginDir, type PodNetwork, writeCniConfig } from "./crio.ts";
import { CriDaemon } from "./daemon.ts";

/** Writes the configuration of a containerd whose every path lies below one directory; runc, cgroupfs, overlay. */
export async function prepareContainerd(
  options: { readonly directory: string; readonly network: PodNetwork; readonly registryHost: string },
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
