import type { ProcessStreams } from "../streaming/handlers.ts";
import type { ContainerDeps } from "./deps.ts";
import { checkRunning, processTemplate } from "./exec.ts";
import type { ContainerRecord } from "./types.ts";

/** An exec whose container has ended ends by itself, as its PID namespace does; where it has none, we end it. */
const OUTLIVE_MS = 1000;

/**
 * Runs a command in a running container with its streams connected to a client, to its end. When the client goes, or
 * the container ends, the command is killed with all below it.
 *
 * @returns the exit code
 * @throws FailedPreconditionError unless the container runs; RuntimeError when the command cannot be started
 */
export async function execStream(
  deps: ContainerDeps,
  record: ContainerRecord,
  request: { command: readonly string[]; streams: ProcessStreams },
): Promise<number> {
  const { command, streams } = request;
  const process = await processTemplate(record, command, { terminal: streams.tty });
  // The state may have changed while the file was read.
  checkRunning(deps.records.get(record.id) ?? { ...record, state: "exited" });
  const ended = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  using _watch = deps.exits.onEnd(record.id, () => {
    timer = setTimeout(() => ended.abort(new DOMException("the container has ended", "AbortError")), OUTLIVE_MS);
  });
  try {
    const signal = AbortSignal.any([streams.signal, ended.signal]);
    return await deps.runtimes.find(record.runtimeHandler).execStream(record.id, { process, streams }, { signal });
  } finally {
    clearTimeout(timer);
  }
}
