/** `scripts/fuzz`: see there. */
import { parseArgs } from "node:util";
import { basename } from "node:path";
import { type Failure, runCases, type Tally } from "./run_cases.ts";
import { supervise } from "./supervise.ts";
import { MIN_PAST_SHARE, targetNamed, TARGETS } from "./targets.ts";
import type { FuzzTarget } from "./target.ts";
import { work } from "./worker.ts";

const FAILURES_DIRECTORY = "fuzz-failures";

const { values: flags } = parseArgs({
  options: {
    count: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
    only: { type: "string", default: TARGETS.map(({ target }) => target.name).join() },
    minutes: { type: "string", default: "0" },
    case: { type: "string", multiple: true },
    worker: { type: "string" },
  },
});

if (flags.worker !== undefined) {
  const { target, untilMs, ...range } = JSON.parse(flags.worker);
  await work(target, untilMs === null ? range : { ...range, untilMs });
} else {
  const good = flags.case === undefined ? await everything() : await again(flags.case);
  Deno.exit(good ? 0 : 1);
}

async function everything(): Promise<boolean> {
  const chosen = flags.only.split(",").map(targetNamed);
  const shares = TARGETS.filter(({ target }) => chosen.includes(target));
  const whole = shares.reduce((sum, { share }) => sum + share, 0);
  const minutes = Number(flags.minutes);
  const startMs = Date.now();
  let [passed, failed] = [0, 0];
  say("target      cases     refused     past accepted  past first  slowest      wall   RSS before, peak, after");
  for (const { target, share } of shares) {
    const untilMs = minutes > 0 ? { untilMs: Date.now() + minutes * 60_000 * share / whole } : {};
    const range = { seed: flags.seed, from: 0, count: Math.ceil(Number(flags.count) * share / whole), ...untilMs };
    const { tally, failures } = await supervise(target, { ...range, place: placeOf(target) });
    say(row(target, tally));
    for (const failure of failures) await report(failure);
    const tooShallow = pastShare(tally) < MIN_PAST_SHARE;
    if (tooShallow) {
      say(`FAILED: only ${percent(pastShare(tally))} of the cases of ${target.name} got past the first parser`);
    }
    failed += failures.length + (tooShallow ? 1 : 0);
    passed += tally.cases - tally.failed;
  }
  say(`seed ${flags.seed}, ${Math.round((Date.now() - startMs) / 1000)} s`);
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0;
}

/** `target-seed-index-number` is the name of a saved case; the number is that of its place. */
async function again(paths: readonly string[]): Promise<boolean> {
  let failed = 0;
  for (const path of paths) {
    const [name = "", seed = "", index = "", number = ""] = basename(path, ".case").split("-");
    const target = targetNamed(name);
    const range = {
      seed,
      from: Number(index),
      count: 1,
      place: placeOf(target, number),
      input: await Deno.readFile(path),
    };
    const tally = await runCases(target, range, { failed: ({ reason }) => say(`${path}: ${reason}`) });
    failed += tally.failed;
    if (tally.failed === 0) say(`${path}: ${Object.entries(tally.reached).find(([, count]) => count > 0)?.[0]}`);
  }
  say(`${paths.length - failed} passed, ${failed} failed`);
  return failed === 0;
}

async function report(failure: Failure): Promise<void> {
  const { target, seed, index, reason, input } = failure;
  say(`FAILED: case ${index} of ${target}, seed ${seed}: ${reason}`);
  if (input.length === 0) return;
  await Deno.mkdir(FAILURES_DIRECTORY, { recursive: true });
  const path = `${FAILURES_DIRECTORY}/${target}-${seed}-${index}-${number(Deno.pid)}.case`;
  await Deno.writeFile(path, input);
  say(`  again: scripts/fuzz --case ${path}`);
}

/** Of the same length for all: hostile links name it, and what is saved must be decided by the seed but for this. */
function placeOf(target: FuzzTarget, of: string = number(Deno.pid)): string {
  return `/tmp/crio-fuzz-${target.name}-${of}`;
}

function number(pid: number): string {
  return String(pid).padStart(8, "0");
}

function row(target: FuzzTarget, tally: Tally): string {
  const { refused, past, accepted } = tally.reached;
  const memory = [tally.rssBeforeBytes, tally.rssPeakBytes, tally.rssAfterBytes].map((bytes) => bytes >> 20).join(" ");
  const counts = [tally.cases, refused, past, accepted].map((count) => String(count).padStart(9)).join(" ");
  const times = [`${tally.slowestMs.toFixed(0)} ms`, `${(tally.wallMs / 1000).toFixed(0)} s`];
  return `${target.name.padEnd(10)}${counts} ${percent(pastShare(tally)).padStart(9)} ${
    times.map((time) => time.padStart(9)).join(" ")
  }   ${memory} MiB`;
}

function pastShare({ reached: { refused, past, accepted } }: Tally): number {
  return (past + accepted) / Math.max(1, refused + past + accepted);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}
