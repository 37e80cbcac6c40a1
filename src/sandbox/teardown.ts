import { removeIfThere } from "../linux/remove.ts";
import type { SandboxDeps } from "./deps.ts";
import type { PodAttachment } from "./ports.ts";
import type { SandboxRecord } from "./types.ts";

/** Plugins that hang must not keep a pod for ever; the next try asks them again. */
const DETACH_LIMIT_MS = 120_000;

/** How the network plugins know this pod. */
export function attachmentOf(record: SandboxRecord, netnsPath: string): PodAttachment {
  const { metadata, portMappings, annotations } = record.spec;
  return {
    sandboxId: record.id,
    netnsPath,
    name: metadata.name,
    namespace: metadata.namespace,
    uid: metadata.uid,
    portMappings,
    cgroupParent: record.cgroupParent,
    annotations,
  };
}

/** Takes the pod off its network; the record says so afterwards. */
export async function detachNetwork(deps: SandboxDeps, record: SandboxRecord): Promise<void> {
  if (!record.networkAttached) return;
  const pinned = record.namespaces.network;
  const netnsPath = pinned !== undefined && deps.namespaces.isPinned(pinned) ? pinned : "";
  await deps.network.detach(attachmentOf(record, netnsPath), { signal: AbortSignal.timeout(DETACH_LIMIT_MS) });
  await deps.records.update(record.id, (now) => ({ ...now, networkAttached: false }));
}

/** Lets the pod's namespaces, infra process and shared memory go. */
export async function releaseHost(deps: SandboxDeps, record: SandboxRecord): Promise<void> {
  if (record.spec.security.namespaces.pid.kind === "pod") await deps.infra.remove(record);
  else await deps.cgroups.unmark(record.cgroupParent, record.id);
  for (const path of deps.namespaces.paths(record.id)) deps.namespaces.unpin(path);
  if (record.shmPath.startsWith(record.runDirectory)) await deps.mounts.unmountShm(record.shmPath);
  if (record.linkedLogs !== undefined) await deps.mounts.unlinkLogs(record.spec.logDirectory, record.linkedLogs);
}

/**
 * Takes down everything of a pod without containers, record last. Each step succeeds when there is nothing to do: it
 * serves removal, a run that failed half-way, and what a crash left.
 *
 * @throws the first failure; the record then stays and the teardown can be repeated
 */
export async function tearDownSandbox(deps: SandboxDeps, record: SandboxRecord): Promise<void> {
  if (record.state === "creating") await deps.killNaming(record.id);
  await detachNetwork(deps, record);
  await releaseHost(deps, record);
  for (const directory of [record.runDirectory, record.ownLogDirectory]) {
    if (directory !== undefined) await removeIfThere(directory);
  }
  await deps.records.remove(record.id);
  if (record.selinux !== undefined) deps.selinux?.release(record.selinux);
}
