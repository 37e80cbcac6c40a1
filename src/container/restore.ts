import { messageOf } from "../base/errors.ts";
import type { ContainerDeps } from "./deps.ts";
import type { ContainerExit } from "./exits.ts";
import { tearDownContainer } from "./teardown.ts";
import { transition } from "./transitions.ts";
import type { ContainerRecord } from "./types.ts";

/** Gives the end that a container's monitor wrote down, if it did. */
export type ReadExit = (record: ContainerRecord) => Promise<ContainerExit | undefined>;

const ASK_LIMIT_MS = 10_000;

/**
 * Brings the records in line with what the kernel says, after a start: takes down what a crash left half-made, and
 * notes the ends that nobody saw. What it changes it says in the log.
 */
export async function restoreContainers(deps: ContainerDeps, readExit: ReadExit): Promise<void> {
  await Promise.all([...deps.records.values()].map(async (record) => {
    try {
      await restoreOne(deps, readExit, record);
    } catch (error) {
      deps.log.error(`restore failed: ${messageOf(error)}`, { container: record.id, state: record.state });
    }
  }));
}

async function restoreOne(deps: ContainerDeps, readExit: ReadExit, record: ContainerRecord): Promise<void> {
  if (record.state === "creating") {
    deps.log.info("taking down a container whose creation was interrupted", { container: record.id });
    await tearDownContainer(deps, record);
    return;
  }
  if (record.state === "exited") return;
  const exit = await readExit(record);
  if (exit !== undefined) {
    deps.log.info("container ended while nobody watched", { container: record.id, exitCode: exit.exitCode });
    if (await wasStarted(deps, record)) await noteStart(deps, record);
    await deps.exits.handle(exit);
    return;
  }
  const alive = record.process !== undefined && deps.processes.isAlive(record.process);
  const watched = record.monitor !== undefined && deps.processes.isAlive(record.monitor);
  if (!alive && !watched) await noteLostEnd(deps, record);
  else if (await wasStarted(deps, record)) await noteStart(deps, record);
}

/**
 * Notes the end of a container whose process and monitor are both gone without an exit file.
 */
export async function noteLostEnd(deps: ContainerDeps, record: ContainerRecord): Promise<void> {
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

/** The daemon ended between the runtime's start and the record of it. */
async function noteStart(deps: ContainerDeps, record: ContainerRecord): Promise<void> {
  await deps.records.update(record.id, (now) => {
    if (now.state !== "created") return now;
    return transition(now, "start", { startedAtNanos: String(deps.clock.nowNanos()) });
  });
}

async function wasStarted(deps: ContainerDeps, record: ContainerRecord): Promise<boolean> {
  if (record.state !== "created") return false;
  const runtime = deps.runtimes.find(record.runtimeHandler);
  return await runtime.wasStarted(record.id, { signal: AbortSignal.timeout(ASK_LIMIT_MS) });
}
