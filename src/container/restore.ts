import { messageOf } from "../base/errors.ts";
import type { ContainerDeps } from "./deps.ts";
import type { ContainerExit } from "./exits.ts";
import { tearDownContainer } from "./teardown.ts";
import { transition } from "./transitions.ts";
import type { ContainerRecord } from "./types.ts";

/** What the monitor of a container left on disk. */
export interface ExitFiles {
  /** The exit that the monitor wrote down, if it did. */
  read(id: string): Promise<ContainerExit | undefined>;
  /** Whether the runtime says that the container has been started. */
  wasStarted(record: ContainerRecord): Promise<boolean>;
}

/**
 * Brings the records in line with what the kernel says, after a start: takes down what a crash left half-made, and
 * notes the ends that nobody saw. What it changes it says in the log.
 */
export async function restoreContainers(deps: ContainerDeps, files: ExitFiles): Promise<void> {
  await Promise.all([...deps.records.values()].map(async (record) => {
    try {
      await restoreOne(deps, files, record);
    } catch (error) {
      deps.log.error(`restore failed: ${messageOf(error)}`, { container: record.id, state: record.state });
    }
  }));
}

async function restoreOne(deps: ContainerDeps, files: ExitFiles, record: ContainerRecord): Promise<void> {
  if (record.state === "creating") {
    deps.log.info("taking down a container whose creation was interrupted", { container: record.id });
    await tearDownContainer(deps, record);
    return;
  }
  if (record.state === "exited") return;
  const exit = await files.read(record.id);
  if (exit !== undefined) {
    deps.log.info("container ended while nobody watched", { container: record.id, exitCode: exit.exitCode });
    await markStartedBeforeExit(deps, files, record);
    await deps.exits.handle(exit);
    return;
  }
  const alive = record.process !== undefined && deps.processes.isAlive(record.process);
  const watched = record.monitor !== undefined && deps.processes.isAlive(record.monitor);
  if (!alive && !watched) await noteLostEnd(deps, record);
  else if (record.state === "created" && await files.wasStarted(record)) await noteStart(deps, record);
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

async function markStartedBeforeExit(deps: ContainerDeps, files: ExitFiles, record: ContainerRecord): Promise<void> {
  if (record.state === "created" && await files.wasStarted(record)) await noteStart(deps, record);
}

/** The daemon ended between the runtime's start and the record of it. */
async function noteStart(deps: ContainerDeps, record: ContainerRecord): Promise<void> {
  await deps.records.update(record.id, (now) => {
    if (now.state !== "created") return now;
    return transition(now, "start", { startedAtNanos: String(deps.clock.nowNanos()) });
  });
}
