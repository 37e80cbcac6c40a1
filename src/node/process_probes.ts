/** What the daemon's metrics are told of processes, by the kernel. */
import { type Clock, systemClock } from "../base/clock.ts";
import { finishInTurns } from "../base/turns.ts";
import { ownFigures, ownFiles } from "../linux/own_process.ts";
import { allPids, countZombies } from "../linux/process_census.ts";
import type { ProcessProbes } from "../metrics/process_metrics.ts";

/** A count of zombies holds for so long, and for so many times what it took: it looks at every process of the node. */
const ZOMBIES_MS = 10_000;
const SHARE = 200;

/** @param clock for how long a count holds */
export function processProbes(clock: Clock = systemClock): ProcessProbes {
  let counted: Promise<number> | undefined;
  let freshUntilMs = 0;
  const count = async (): Promise<number> => {
    const beganMs = clock.monotonicMs();
    try {
      return await finishInTurns(countZombies(await allPids()));
    } finally {
      const nowMs = clock.monotonicMs();
      freshUntilMs = nowMs + Math.max(ZOMBIES_MS, SHARE * (nowMs - beganMs));
    }
  };
  return {
    zombies(): Promise<number> {
      if (counted === undefined || clock.monotonicMs() >= freshUntilMs) {
        freshUntilMs = Infinity;
        counted = count();
      }
      return counted;
    },
    async self(): ReturnType<ProcessProbes["self"]> {
      const [figures, { open, limit }] = await Promise.all([ownFigures("self"), ownFiles()]);
      return { ...figures, openFiles: open, ...(limit === undefined ? {} : { maxOpenFiles: limit }) };
    },
    residentBytes: async (pid) => (await ownFigures(pid))?.residentBytes,
  };
}
