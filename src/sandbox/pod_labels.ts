import type { Config } from "../config/schema.ts";
import type { Host } from "../linux/host.ts";
import { SelinuxLabels } from "../security/selinux/labels.ts";
import { relabelVolume } from "../security/selinux/relabel.ts";
import type { RecordStore } from "../state/record_store.ts";
import type { SandboxRecord } from "./types.ts";

/** The labels of this node's pods, those that are there already included; undefined where SELinux is off. */
export async function openPodLabels(
  { config, host, records }: {
    readonly config: Config;
    readonly host: Pick<Host, "selinux">;
    readonly records: RecordStore<SandboxRecord>;
  },
): Promise<SelinuxLabels | undefined> {
  if (host.selinux === "absent") return undefined;
  const { hostnetworkDisableSelinux } = config.runtime;
  const labels = await SelinuxLabels.open({ hostNetworkIsUnseparated: hostnetworkDisableSelinux });
  for (const { selinux } of records.values()) if (selinux !== undefined) labels.adopt(selinux);
  return labels;
}

/** Lets the pod's containers read the files that are made for them. */
export async function labelPodFiles(record: SandboxRecord): Promise<void> {
  const { selinux, runDirectory } = record;
  if (selinux === undefined) return;
  const own = [record.resolvConf, record.hostnameFile, record.hostsFile].filter((path) =>
    path.startsWith(runDirectory)
  );
  await Promise.all(own.map((path) => relabelVolume(path, selinux.mountLabel, { onlyIfTopDiffers: false })));
}
