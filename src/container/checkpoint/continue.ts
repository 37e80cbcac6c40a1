import { messageOf } from "../../base/errors.ts";
import { parseContainerId } from "../../base/ids.ts";
import type { ContainerDeps } from "../deps.ts";
import { monitorRequest } from "../monitor_request.ts";
import type { ContainerRecord, ProcessIdentity } from "../types.ts";
import { IMAGES, readSpecDump } from "./files.ts";
import type { ImportedCheckpoint } from "./source.ts";

/** Where a container that is to go on from a checkpoint keeps it until its start. */
function keptIn(record: ContainerRecord): string {
  return `${record.directory}/restore`;
}

/** Keeps a checkpoint with its container: there is no process yet, the start makes it. */
export async function keepForStart(record: ContainerRecord, checkpoint: ImportedCheckpoint): Promise<void> {
  await Deno.rename(checkpoint.directory, keptIn(record));
}

/** Whether the container waits for its start without a process of its own. */
export function awaitsRestore(record: ContainerRecord): boolean {
  return record.restoredFrom !== undefined && record.state === "created" && record.process === undefined;
}

/**
 * Lets a container go on where its checkpoint was taken. A failure leaves nothing in the runtime.
 *
 * @throws RuntimeError, with the end of CRIU's messages
 */
export async function continueFromCheckpoint(
  deps: ContainerDeps,
  record: ContainerRecord,
  options: { readonly signal: AbortSignal },
): Promise<{ readonly process: ProcessIdentity; readonly monitor: ProcessIdentity }> {
  const restoreFrom = `${keptIn(record)}/${IMAGES}`;
  const runtime = deps.runtimes.find(record.runtimeHandler);
  const made = await runtime.create({ ...monitorRequest(record), restoreFrom }, options);
  await leaveFormerCgroup(deps, record);
  await Deno.remove(keptIn(record), { recursive: true });
  return made;
}

/**
 * CRIU makes the cgroup anew that the container was in when it was written down; on cgroup v2 runc 1.1.5 leaves the
 * processes in it, where neither limits nor stats of this container are. The path comes from the checkpoint, so only a
 * name of ours that no container here has is emptied and removed.
 */
async function leaveFormerCgroup(deps: ContainerDeps, record: ContainerRecord): Promise<void> {
  const linux = readSpecDump(keptIn(record))["linux"] as { cgroupsPath?: unknown } | undefined;
  const path = linux?.cgroupsPath;
  const [, parent = "", id = ""] = typeof path === "string" && !path.includes("..")
    ? /^(\/.*)\/crio-([0-9a-f]{64})$/.exec(path) ?? /^([^/:]+\.slice):crio:([0-9a-f]{64})$/.exec(path) ?? []
    : [];
  if (id === "" || deps.records.get(id) !== undefined) return;
  const former = { parent, id: parseContainerId(id) };
  await deps.cgroups.takeOver(former, { parent: record.cgroupParent, id: record.id });
  await deps.cgroups.remove(parent, former.id).catch((error) => {
    deps.log.debug(`the cgroup of a restored container's former self stays: ${messageOf(error)}`, { container: id });
  });
}
