import { type ControllerFiles, type ReadText, single } from "./_parse.ts";

/** What pidsStats is read from. */
export const PIDS_FILES: ControllerFiles = { v1: { pids: ["pids.current"] }, v2: ["pids.current"] };

/** Processes and threads: what the pids limit counts. */
export interface PidsStats {
  readonly current: number;
}

/** Undefined when the cgroup has no such figure. */
export function pidsStats(text: ReadText): PidsStats | undefined {
  const current = single(text("pids.current"));
  return current === undefined ? undefined : { current };
}
