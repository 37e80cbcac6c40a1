import { cpuUsage } from "node:process";
import { messageOf } from "../../src/base/errors.ts";
import { Random } from "./random.ts";
import { type Bytes, Fault, type FuzzSession, type FuzzTarget, type Reached } from "./target.ts";

/** Cases between two looks at descriptors, memory and what the target checks now and then. */
const BATCH = 250;
/** Descriptors are counted from here on: caches and pools are full then. */
const WARM_CASES = 500;
/** The most processor time of all threads that one case may take. Where one takes more it is tried again: rubbish of others may have been collected. */
export const CASE_LIMIT_MS = 2000;
/** The most that the process may hold. */
export const RSS_LIMIT_BYTES = 768 << 20;

export interface CaseRange {
  readonly seed: string;
  /** First case, base is 0. */
  readonly from: number;
  readonly count: number;
  readonly place: string;
  /** No more cases are begun after this, milliseconds since the epoch. */
  readonly untilMs?: number;
  /** Default: {@link CASE_LIMIT_MS}. */
  readonly limitMs?: number;
  /** Taken in place of what the seed gives. */
  readonly input?: Bytes;
}

export interface Failure {
  readonly target: string;
  readonly seed: string;
  readonly index: number;
  readonly reason: string;
  readonly input: Bytes;
}

export interface Tally {
  cases: number;
  /** Cases that failed; what is wrong with a batch counts as one more. */
  failed: number;
  readonly reached: Record<Reached, number>;
  slowestMs: number;
  wallMs: number;
  rssBeforeBytes: number;
  rssAfterBytes: number;
  rssPeakBytes: number;
}

export interface CaseHooks {
  /** Before each case, and with the last one's number at the end. */
  readonly begin?: (index: number) => void;
  readonly failed: (failure: Failure) => void;
}

export function newTally(): Tally {
  const reached = { refused: 0, past: 0, accepted: 0 };
  return {
    cases: 0,
    failed: 0,
    reached,
    slowestMs: 0,
    wallMs: 0,
    rssBeforeBytes: 0,
    rssAfterBytes: 0,
    rssPeakBytes: 0,
  };
}

/** The input of a case, without running it. */
export function inputOf(session: FuzzSession, target: string, at: { seed: string; index: number }): Bytes {
  return session.generate(new Random(`${at.seed} ${target} ${at.index}`), at.index);
}

/** Runs cases one after the other in this process. A failure does not end it. */
export async function runCases(target: FuzzTarget, range: CaseRange, hooks: CaseHooks): Promise<Tally> {
  await using session = await target.open(range.place);
  const runner = new Runner(target, { session, range, hooks });
  await runner.run();
  return runner.tally;
}

class Runner {
  readonly tally = newTally();
  #descriptors: string | undefined;
  #unhandled: string | undefined;

  constructor(
    private readonly target: FuzzTarget,
    private readonly work: { readonly session: FuzzSession; readonly range: CaseRange; readonly hooks: CaseHooks },
  ) {}

  async run(): Promise<void> {
    const { from, count, untilMs = Infinity } = this.work.range;
    const startMs = performance.now();
    const onRejection = (event: PromiseRejectionEvent): void => {
      event.preventDefault();
      this.#unhandled ??= String(event.reason);
    };
    globalThis.addEventListener("unhandledrejection", onRejection);
    this.tally.rssBeforeBytes = Deno.memoryUsage().rss;
    try {
      for (let index = from; index < from + count && Date.now() < untilMs; index++) {
        await this.#case(index);
        if ((index - from + 1) % BATCH === 0) await this.#look(index);
      }
      await this.#look(from + this.tally.cases - 1);
    } finally {
      globalThis.removeEventListener("unhandledrejection", onRejection);
      this.tally.wallMs = performance.now() - startMs;
      this.tally.rssAfterBytes = Deno.memoryUsage().rss;
    }
  }

  async #case(index: number): Promise<void> {
    const { session, hooks, range } = this.work;
    const { limitMs = CASE_LIMIT_MS } = range;
    hooks.begin?.(index);
    const input = range.input ?? inputOf(session, this.target.name, { seed: range.seed, index });
    this.tally.cases += 1;
    try {
      let tookMs = await this.#timed(input);
      if (tookMs > limitMs) tookMs = Math.min(tookMs, await timeOf(() => session.run(input)));
      this.tally.slowestMs = Math.max(this.tally.slowestMs, tookMs);
      if (tookMs > limitMs) throw new Fault(`it takes ${Math.round(tookMs)} ms of the processor`);
      this.#requireHeard();
    } catch (error) {
      this.#fail(index, error, input);
    }
  }

  async #timed(input: Bytes): Promise<number> {
    return await timeOf(async () => {
      this.tally.reached[await this.work.session.run(input)] += 1;
    });
  }

  /** What the process holds, and what the target looks at now and then. */
  async #look(index: number): Promise<void> {
    const rss = heldBytes();
    this.tally.rssPeakBytes = Math.max(this.tally.rssPeakBytes, rss);
    try {
      // Rejections are told between two turns of the event loop.
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.#requireHeard();
      await this.work.session.check();
      if (rss > RSS_LIMIT_BYTES) throw new Fault(`the process holds ${rss >> 20} MiB`);
      if (index - this.work.range.from + 1 < WARM_CASES) return;
      const before = this.#descriptors ??= descriptors();
      const now = await settled(before);
      if (now !== before) {
        this.#descriptors = now;
        throw new Fault(`open descriptors were ${before}, are ${now}`);
      }
    } catch (error) {
      this.#fail(index, new Fault(`in the ${BATCH} cases before: ${messageOf(error)}`), new Uint8Array());
    }
  }

  /** Of this case, or of one shortly before it. */
  #requireHeard(): void {
    const unhandled = this.#unhandled;
    this.#unhandled = undefined;
    if (unhandled !== undefined) throw new Fault(`a promise was rejected, and nobody heard: ${unhandled}`);
  }

  #fail(index: number, error: unknown, input: Bytes): void {
    this.tally.failed += 1;
    const reason = error instanceof Fault ? error.message : `${String(error)}\n${(error as Error).stack ?? ""}`;
    this.work.hooks.failed({ target: this.target.name, seed: this.work.range.seed, index, reason, input });
  }
}

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const before = cpuUsage();
  await work();
  const { user, system } = cpuUsage(before);
  return (user + system) / 1000;
}

/** What the process holds; where that is much, after rubbish was collected: V8 does not know how much native memory hangs on it. */
function heldBytes(): number {
  const { rss } = Deno.memoryUsage();
  const { gc } = globalThis as { gc?: () => void };
  if (rss < RSS_LIMIT_BYTES / 2 || gc === undefined) return rss;
  gc();
  return Deno.memoryUsage().rss;
}

/** What is open now; what the runtime has open for a moment, such as /etc/nsswitch.conf, gets some time to go. */
async function settled(before: string): Promise<string> {
  let now = descriptors();
  for (let tries = 0; now !== before && tries < 20; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    now = descriptors();
  }
  return now;
}

/** How many descriptors of what kind are open; sockets and pipes of clients come and go, files must not. */
function descriptors(): string {
  const counts = new Map<string, number>();
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    const target = linkTarget(`/proc/self/fd/${name}`);
    if (!target.startsWith("/") || target.startsWith("/proc/")) continue;
    counts.set(target, (counts.get(target) ?? 0) + 1);
  }
  return JSON.stringify([...counts].sort());
}

function linkTarget(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch {
    return "";
  }
}
