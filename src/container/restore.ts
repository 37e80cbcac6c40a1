import { messageOf } from "../base/errors.ts";
import { awaitsRestore } from "./checkpoint/continue.ts";
import { letGoOn } from "./checkpoint/dump.ts";
import type { ContainerId } from "../base/ids.ts";
import type { ContainerDeps } from "./deps.ts";
import { withKernelsOom } from "./oom.ts";
import { tearDownContainer } from "./teardown.ts";
import { transition } from "./transitions.ts";
import type { ContainerRecord } from "./types.ts";

const ASK_LIMIT_MS = 10_000;

/**
 * Brings the records in line with what the kernel says, after a start: takes down what a crash left half-made, and
 * notes the ends that nobody saw. What it changes it says in the log.
 */
export async function restoreContainers(deps: ContainerDeps): Promise<void> {
  await removeStrayExits(deps);
  await Promise.all([...deps.records.values()].map(async (record) => {
    try {
      await restoreOne(deps, record);
    } catch (error) {
      deps.log.error(`restore failed: ${messageOf(error)}`, { container: record.id, state: record.state });
    }
  }));
  await deps.imageVolumes.sweep();
  await deps.reachable.sweep((id) => deps.records.get(id as ContainerId) !== undefined);
}

/** Exit files of containers that are gone: their monitor wrote late, or was killed while it wrote. */
async function removeStrayExits({ exitsDirectory, records, log }: ContainerDeps): Promise<void> {
  for await (const { name, isFile } of Deno.readDir(exitsDirectory)) {
    const id = /^([0-9a-f]{64})(\.[A-Za-z0-9]+)?$/.exec(name)?.[1];
    if (!isFile || id === undefined || records.get(id) !== undefined) continue;
    await Deno.remove(`${exitsDirectory}/${name}`);
    log.info("removed the exit file of a container that is gone", { container: id });
  }
}

async function restoreOne(deps: ContainerDeps, record: ContainerRecord): Promise<void> {
  if (record.state === "creating") {
    deps.log.info("taking down a container whose creation was interrupted", { container: record.id });
    await tearDownContainer(deps, record);
    return;
  }
  if (record.tuned === true) deps.performance?.watch(record);
  if (record.state === "exited") return;
  if (record.isCheckpointing === true) {
    deps.log.info("letting a container go on whose checkpoint was interrupted", { container: record.id });
    await letGoOn(deps, record);
  }
  if (awaitsRestore(record)) return await endHalfRestore(deps, record);
  const exit = await deps.readExit(record);
  if (await wasStarted(deps, record)) {
    await noteStart(deps, record, exit?.finishedAtNanos ?? deps.clock.nowNanos());
  }
  if (exit === undefined) {
    await noteEndIfOver(deps, record);
    return;
  }
  deps.log.info("container ended while nobody watched", { container: record.id, exitCode: exit.exitCode });
  await deps.exits.handle(await withKernelsOom(deps, exit));
}

/**
 * Notes the end of a container whose process and monitor are both gone; does nothing while one of them lives. The
 * monitor writes the exit file last thing before it leaves, so the file is looked for after the monitor was.
 */
export async function noteEndIfOver(deps: ContainerDeps, record: ContainerRecord): Promise<void> {
  const { processes } = deps;
  if (record.monitor !== undefined && processes.isAlive(record.monitor)) return;
  if (record.process !== undefined && processes.isAlive(record.process)) return;
  const exit = await deps.readExit(record);
  if (exit !== undefined) {
    await deps.exits.handle(await withKernelsOom(deps, exit));
    return;
  }
  deps.log.warn("container and its monitor are gone without an exit file: exit code is not known", {
    container: record.id,
  });
  await deps.exits.handle({
    id: record.id,
    exitCode: 255,
    finishedAtNanos: deps.clock.nowNanos(),
    oomKilled: false,
    message: "container and monitor were gone without an exit file: the exit code is not known",
  });
}

/** A restore that the daemon's end interrupted: nobody knows its processes, so they go, and it can be started again. */
async function endHalfRestore(deps: ContainerDeps, record: ContainerRecord): Promise<void> {
  await deps.processes.killNaming(record.id);
  await deps.runtimes.find(record.runtimeHandler).delete(record.id, { signal: AbortSignal.timeout(ASK_LIMIT_MS) });
}

/** The daemon ended between the runtime's start and the record of it. */
async function noteStart(deps: ContainerDeps, record: ContainerRecord, atNanos: bigint): Promise<void> {
  await deps.records.update(record.id, (now) => {
    if (now.state !== "created") return now;
    return transition(now, "start", { startedAtNanos: String(atNanos) });
  });
}

async function wasStarted(deps: ContainerDeps, record: ContainerRecord): Promise<boolean> {
  if (record.state !== "created") return false;
  const runtime = deps.runtimes.find(record.runtimeHandler);
  return await runtime.wasStarted(record.id, { signal: AbortSignal.timeout(ASK_LIMIT_MS) });
}
