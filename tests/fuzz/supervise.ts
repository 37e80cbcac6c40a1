/** Runs the cases of one target in processes of their own: one that dies or hangs is a failed case, and the rest go on. */
import { type CaseRange, type Failure, inputOf, newTally, type Tally } from "./run_cases.ts";
import type { Bytes, FuzzTarget } from "./target.ts";
import type { WorkerLine } from "./worker.ts";

/** A case that runs longer than this hangs; far above the limit at which it is too slow. */
const HANG_MS = 30_000;
const LOOK_MS = 500;
/** What is wrong with so many cases is wrong with all. */
const MAX_FAILURES = 20;
const NUMBER_BYTES = 8;
/** Where in this much of its last words a process says why it died. */
const SHOWN_CHARS = 2000;

export interface Outcome {
  readonly tally: Tally;
  readonly failures: readonly Failure[];
}

/** @param range.place is made and removed by the processes, one after the other */
export async function supervise(
  target: FuzzTarget,
  range: CaseRange,
  options: { readonly hangMs?: number } = {},
): Promise<Outcome> {
  const total = newTally();
  const failures: Failure[] = [];
  const end = range.from + range.count;
  for (let from = range.from; from < end && failures.length < MAX_FAILURES;) {
    const part = { ...range, from, count: end - from };
    const { tally, failed, died } = await oneProcess(target, { ...part, hangMs: options.hangMs ?? HANG_MS });
    failures.push(...failed);
    if (tally !== undefined) add(total, tally);
    if (died === undefined) break;
    failures.push({
      target: target.name,
      seed: range.seed,
      ...died,
      input: await regenerated(target, range, died.index),
    });
    total.cases += died.index - from + 1;
    total.failed += 1 + failed.length;
    from = died.index + 1;
  }
  return { tally: total, failures: failures.slice(0, MAX_FAILURES) };
}

interface ProcessEnd {
  readonly tally: Tally | undefined;
  readonly failed: readonly Failure[];
  readonly died: { readonly index: number; readonly reason: string } | undefined;
}

async function oneProcess(target: FuzzTarget, range: CaseRange & { readonly hangMs: number }): Promise<ProcessEnd> {
  const progress = await Deno.makeTempFile({ prefix: "crio-fuzz-progress-" });
  const main = new URL("main.ts", import.meta.url).pathname;
  const { seed, from, count, place, untilMs = Infinity, hangMs } = range;
  const args = [
    "run",
    "-A",
    "--no-check",
    "--v8-flags=--expose-gc",
    main,
    "--worker",
    JSON.stringify({
      target: target.name,
      seed,
      from,
      count,
      place,
      progress,
      untilMs: untilMs === Infinity ? null : untilMs,
    }),
  ];
  const child = new Deno.Command(Deno.execPath(), { args, stdout: "piped", stderr: "piped" }).spawn();
  const hung = watch(child, { progress, hangMs });
  try {
    const { code, signal, stdout, stderr } = await child.output();
    const lines = new TextDecoder().decode(stdout).split("\n").filter((line) => line.startsWith("{"));
    const told = lines.map((line) => JSON.parse(line) as WorkerLine);
    const failed = told.flatMap((line) =>
      line.type === "failed" ? [{ ...line.failure, input: Uint8Array.fromBase64(line.failure.input) }] : []
    );
    const tally = told.find((line) => line.type === "done")?.tally;
    if (tally !== undefined && code === 0) return { tally, failed, died: undefined };
    await clear(place);
    const words = new TextDecoder().decode(stderr).slice(-SHOWN_CHARS);
    const why = hung.stop()
      ? `it hangs for ${hangMs} ms`
      : `the process died (${signal ?? `exit code ${code}`}): ${words}`;
    return { tally, failed, died: { index: await caseIn(progress) ?? from, reason: why } };
  } finally {
    hung.stop();
    await Deno.remove(progress);
  }
}

/** Kills a process whose case does not end. @returns how to stop it; it then says whether the process was killed */
function watch(
  child: Deno.ChildProcess,
  { progress, hangMs }: { readonly progress: string; readonly hangMs: number },
): { stop(): boolean } {
  let [last, sinceMs, killed] = [-1, Date.now(), false];
  const timer = setInterval(async () => {
    const now = await caseIn(progress) ?? -1;
    if (now !== last) [last, sinceMs] = [now, Date.now()];
    if (Date.now() - sinceMs < hangMs) return;
    killed = true;
    clearInterval(timer);
    child.kill("SIGKILL");
  }, LOOK_MS);
  return {
    stop: () => {
      clearInterval(timer);
      return killed;
    },
  };
}

async function caseIn(progress: string): Promise<number | undefined> {
  const bytes = await Deno.readFile(progress);
  return bytes.length < NUMBER_BYTES ? undefined : Number(new BigUint64Array(bytes.buffer)[0]);
}

/** The process that was to do it is gone. By a program, for what a case left may be what ours died of. */
async function clear(place: string): Promise<void> {
  await new Deno.Command("rm", { args: ["-rf", "--", place] }).output();
}

async function regenerated(target: FuzzTarget, range: CaseRange, index: number): Promise<Bytes> {
  await using session = await target.open(range.place);
  return inputOf(session, target.name, { seed: range.seed, index });
}

function add(total: Tally, part: Tally): void {
  total.cases += part.cases;
  total.failed += part.failed;
  for (const key of ["refused", "past", "accepted"] as const) total.reached[key] += part.reached[key];
  total.slowestMs = Math.max(total.slowestMs, part.slowestMs);
  total.wallMs += part.wallMs;
  total.rssBeforeBytes ||= part.rssBeforeBytes;
  total.rssAfterBytes = part.rssAfterBytes;
  total.rssPeakBytes = Math.max(total.rssPeakBytes, part.rssPeakBytes);
}
