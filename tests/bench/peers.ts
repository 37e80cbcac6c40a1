import { prepareContainerd } from "../e2e/harness/containerd.ts";
import { prepareCrio } from "../e2e/harness/crio.ts";
import type { CriDaemon } from "../e2e/harness/daemon.ts";

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

/** What a busy node turns on: nothing of it is spared for the sake of figures. */
const EVERYTHING_ON = `[crio.runtime]
enable_pod_events = true
[crio.stats]
included_pod_metrics = ["all"]
`;

/** Writes the configuration of a peer; it is not started yet. */
export async function preparePeer(name: PeerName, options: PeerOptions): Promise<CriDaemon> {
  const directory = `${options.workDir}/${name}`;
  await Deno.mkdir(directory, { recursive: true });
  const index = PEER_NAMES.indexOf(name);
  const network = { bridge: `bench${index}`, prefix: `10.241.${index}` };
  if (name === "containerd") return await prepareContainerd({ directory, network, ...options });
  await Deno.mkdir(`${directory}/crio.conf.d`);
  await Deno.writeTextFile(`${directory}/crio.conf.d/10-bench.conf`, EVERYTHING_ON);
  return await prepareCrio({
    name,
    directory,
    nri: true,
    network,
    command: options.crioCommand,
    defaultRuntime: name === "crio-crun" ? "crun" : "runc",
    pauseImage: `${options.registryHost}/bench/pause:1`,
    insecureRegistries: [options.registryHost],
    logLevel: "warn",
  });
}
