import { atStage, messageOf } from "../base/errors.ts";
import { awaitsRestore, continueFromCheckpoint } from "./checkpoint/continue.ts";
import type { ContainerDeps } from "./deps.ts";
import { laterOf } from "./exits.ts";
import { InvalidTransition, transition } from "./transitions.ts";
import type { ContainerRecord } from "./types.ts";

const CLEANUP_MS = 10_000;

/**
 * Lets a created container run.
 *
 * @throws InvalidTransition unless it is `created`; after a failure the container is `exited` with the reason
 */
export async function startContainer(
  deps: ContainerDeps,
  record: ContainerRecord,
  options: { signal: AbortSignal },
): Promise<void> {
  if (record.state !== "created") throw new InvalidTransition(record.id, record.state, "start");
  const runtime = deps.runtimes.find(record.runtimeHandler);
  const startedAtNanos = String(deps.clock.nowNanos());
  try {
    await deps.performance?.apply(record);
    if (awaitsRestore(record)) {
      const made = await continueFromCheckpoint(deps, record, options);
      await deps.records.update(record.id, (now) => ({ ...now, ...made }));
    } else await runtime.start(record.id, options);
  } catch (error) {
    await deps.exits.handle({
      id: record.id,
      exitCode: 128,
      finishedAtNanos: deps.clock.nowNanos(),
      oomKilled: false,
      message: messageOf(error),
    });
    // Nothing of it may run on, whatever the runtime did before it failed.
    await runtime.delete(record.id, { signal: AbortSignal.timeout(CLEANUP_MS) }).catch((left) => {
      deps.log.warn(`a container that failed to start stays until it is removed: ${messageOf(left)}`, {
        container: record.id,
      });
    });
    throw atStage(`start container ${record.id}`, error);
  }
  await deps.records.update(record.id, (now) => {
    // A short program may have ended, and been recorded, before we come here.
    if (now.state === "created") return transition(now, "start", { startedAtNanos });
    if (now.startedAtNanos !== "0") return now;
    return { ...now, startedAtNanos, finishedAtNanos: laterOf(now.finishedAtNanos, startedAtNanos) };
  });
}
