import type { MonitorRequest } from "./ports.ts";
import type { ContainerRecord } from "./types.ts";

/** What the monitor needs to know of a container whose bundle is complete. */
export function monitorRequest(record: ContainerRecord): MonitorRequest {
  const { spec } = record;
  return {
    id: record.id,
    name: record.name,
    bundle: record.runDirectory,
    persistDirectory: record.directory,
    logFile: record.logFile,
    terminal: spec.tty,
    stdin: spec.stdin,
    stdinOnce: spec.stdinOnce,
    cgroupParent: record.cgroupParent,
  };
}
