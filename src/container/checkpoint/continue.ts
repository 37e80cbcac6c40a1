import type { ContainerDeps } from "../deps.ts";
import { monitorRequest } from "../monitor_request.ts";
import type { ContainerRecord, ProcessIdentity } from "../types.ts";
import { IMAGES } from "./files.ts";
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
  await Deno.remove(keptIn(record), { recursive: true });
  return made;
}
