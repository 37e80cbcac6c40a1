import { messageOf } from "../base/errors.ts";
import type { ContainerDeps } from "./deps.ts";
import type { ContainerRecord } from "./types.ts";

/** Each step of a teardown has this long; it never uses the time of the request that asked for it. */
const STEP_LIMIT_MS = 60_000;

/**
 * Takes down everything that a container is or may be on this host, record last. Every step succeeds when there is
 * nothing to do, so it serves removal, a create that failed half-way, and what a crash left behind.
 *
 * @throws the first failure; the record then stays, and the teardown can be repeated
 */
export async function tearDownContainer(deps: ContainerDeps, record: ContainerRecord): Promise<void> {
  const { processes, cgroups, rootfs, records, imageVolumes, reachable, exitsDirectory } = deps;
  if (record.state === "creating") await processes.killNaming(record.id);
  const runtime = deps.runtimes.find(record.runtimeHandler);
  await runtime.delete(record.id, { signal: AbortSignal.timeout(STEP_LIMIT_MS) });
  // Nothing is left to watch. A monitor that hangs must not keep the cgroup, nor a late one write an exit file.
  if (record.monitor !== undefined) processes.signal(record.monitor, SIGKILL);
  await reachable.remove(record.id);
  const [removedCgroups, removedRootfs] = await Promise.allSettled([
    cgroups.remove(record.cgroupParent, record.id),
    rootfs.remove(record.id),
  ]);
  if (removedCgroups.status === "rejected") {
    deps.log.warn(`cgroup of a removed container stays for now: ${messageOf(removedCgroups.reason)}`, {
      container: record.id,
    });
  }
  if (removedRootfs.status === "rejected") throw removedRootfs.reason;
  await imageVolumes.release(record);
  deps.seccompNotifiers?.close(record.id);
  await removeFile(`${exitsDirectory}/${record.id}`);
  if (record.logLink !== undefined) await removeFile(record.logLink);
  await deps.performance?.undo(record.id);
  await records.remove(record.id);
}

const SIGKILL = 9;

async function removeFile(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
