import type { Clock } from "../base/clock.ts";
import { Semaphore } from "../base/semaphore.ts";
import { finishInTurns } from "../base/turns.ts";
import { countOpenFiles, openFilesLimit, type ProcessCensus } from "../linux/process_census.ts";

/** What the processes of a container hold open. */
export interface ProcessFigures extends ProcessCensus {
  /** When the count began, nanoseconds since the epoch. */
  readonly atNanos: bigint;
  /** Soft limit of the init process; absent when that has ended. */
  readonly openFilesLimit?: number;
}

export interface ProcessFiguresDeps {
  /** All processes of a cgroup and of those below it. */
  processes(cgroup: string): Promise<readonly number[]>;
  readonly clock: Clock;
  /** Default 1000. */
  readonly maxAgeMs?: number;
}

const MAX_AGE_MS = 1000;
/** A count holds for so many times what it took: thousands of processes must not keep the daemon busy. */
const SHARE = 20;

interface Counted {
  readonly figures: Promise<ProcessFigures>;
  /** Monotonic; later once it is known what the count took. */
  freshUntilMs: number;
}

/** Counts open files of containers, one container after the other, each at most once a second. */
export class ProcessFiguresReader {
  readonly #counted = new Map<string, Counted>();
  readonly #turn = new Semaphore(1);

  constructor(private readonly deps: ProcessFiguresDeps) {}

  /** @param container.cgroup its path, as `containerCgroup` gives it; @param container.initPid absent: none */
  read(
    container: { readonly id: string; readonly cgroup: string; readonly initPid?: number },
  ): Promise<ProcessFigures> {
    const known = this.#counted.get(container.id);
    if (known !== undefined && this.deps.clock.monotonicMs() < known.freshUntilMs) return known.figures;
    const counted: Counted = { figures: this.#count(container, () => counted), freshUntilMs: Infinity };
    this.#counted.set(container.id, counted);
    counted.figures.catch(() => {
      if (this.#counted.get(container.id) === counted) this.#counted.delete(container.id);
    });
    return counted.figures;
  }

  /** Forgets all containers but these. */
  retain(ids: ReadonlySet<string>): void {
    for (const id of this.#counted.keys()) if (!ids.has(id)) this.#counted.delete(id);
  }

  /** Number of containers that are remembered. */
  get size(): number {
    return this.#counted.size;
  }

  async #count(
    { cgroup, initPid }: { readonly cgroup: string; readonly initPid?: number },
    entry: () => Counted,
  ): Promise<ProcessFigures> {
    const { clock, processes, maxAgeMs = MAX_AGE_MS } = this.deps;
    using _turn = await this.#turn.acquire();
    const beganMs = clock.monotonicMs();
    try {
      const atNanos = clock.nowNanos();
      const census = await finishInTurns(countOpenFiles(await processes(cgroup)));
      const limit = initPid === undefined ? undefined : openFilesLimit(initPid);
      return { ...census, atNanos, ...(limit === undefined ? {} : { openFilesLimit: limit }) };
    } finally {
      const nowMs = clock.monotonicMs();
      entry().freshUntilMs = Math.max(beganMs + maxAgeMs, nowMs + SHARE * (nowMs - beganMs));
    }
  }
}
