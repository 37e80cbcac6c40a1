import { DataLossError, FailedPreconditionError } from "../base/errors.ts";
import { buildConfig } from "../config/build.ts";
import { parseDurationMs } from "../config/option.ts";
import type { Config } from "../config/schema.ts";
import type { ConfigValues } from "../config/values.ts";
import { verifyLayer } from "../image/unpack/verify_layer.ts";
import { RecordLockFile } from "../linux/record_lock.ts";
import { Log } from "../log/logger.ts";
import { storeOptions } from "../node/open_store.ts";
import { checkStore } from "../storage/check.ts";
import type { CheckReport, CheckScope, ProblemSubject, RepairReport } from "../storage/check_types.ts";
import { Store } from "../storage/store.ts";
import type { StoreOptions } from "../storage/types.ts";
import { wipeGraphRoot } from "../node/wipe_root.ts";
import { print, printError } from "./_output.ts";
import { flagsOf } from "./commands.ts";
import { isSet, lastValue, type ParsedFlags, parseFlags, UsageError } from "./flags.ts";

const USAGE = "usage: crio check [--quick] [--age 24h] [--repair [--force] [--wipe]] [--json]";
/** Exit code when something is damaged or left over, and was not repaired. */
const EXIT_DAMAGED = 3;
const COUNTED: readonly ProblemSubject[] = ["layer", "read-only layer", "image", "read-only image", "container"];

/** `crio check`: looks at the store, and repairs it when that is asked for. Gives the exit code. */
export async function checkCommand(values: ConfigValues, args: readonly string[]): Promise<number> {
  const parsed = parseFlags(args, flagsOf("check"));
  if (isSet(parsed, "host")) return await hostOnly(values, parsed);
  const config = buildConfig(values);
  const scope = scopeOf(parsed);
  await using log = new Log({ level: "warn" });
  const options = storeOptions(config, { log: log.root });
  const startMs = performance.now();
  const report = await checkStore(options, scope);
  const repaired = isSet(parsed, "repair") && report.problems.length > 0
    ? await repairOrWipe({ config, options, report, scope }, {
      removeContainers: isSet(parsed, "force"),
      wipe: isSet(parsed, "wipe"),
    })
    : undefined;
  const elapsedMs = Math.round(performance.now() - startMs);
  const outcome: Outcome = {
    graphRoot: options.graphRoot,
    report,
    elapsedMs,
    left: repaired?.left ?? report,
    repaired,
  };
  print(isSet(parsed, "json") ? jsonOf(outcome) : textOf(outcome));
  if (outcome.left.problems.length === 0) return 0;
  printError(`${summaryOf(outcome.left)}\n`);
  return EXIT_DAMAGED;
}

async function hostOnly(values: ConfigValues, parsed: ParsedFlags): Promise<number> {
  const others = [...parsed.flags.keys()].filter((name) => name !== "host" && name !== "json");
  const wrong = [...others.map((name) => `--${name}`), ...parsed.rest];
  if (wrong.length > 0) throw new UsageError(`check --host takes only --json, got ${wrong.join(" ")}`);
  return await (await import("./host_check.ts")).hostCheck(values, { json: isSet(parsed, "json") });
}

function scopeOf(parsed: ParsedFlags): CheckScope {
  if (parsed.rest.length > 0) throw new UsageError(`check takes no argument, got ${parsed.rest.join(" ")}; ${USAGE}`);
  if (isSet(parsed, "wipe") && !isSet(parsed, "repair")) {
    throw new UsageError(`--wipe is for a --repair that fails; \`crio wipe\` is the command; ${USAGE}`);
  }
  const age = lastValue(parsed, "age") ?? "24h";
  const unreferencedAgeMs = parseDurationMs(age);
  if (unreferencedAgeMs === undefined) {
    throw new UsageError(`--age ${JSON.stringify(age)} is not a duration such as 24h`);
  }
  return { unreferencedAgeMs, ...(isSet(parsed, "quick") ? {} : { content: (layer) => verifyLayer(layer) }) };
}

interface Repaired extends RepairReport {
  /** What is still wrong. */
  readonly left: CheckReport;
}

interface Outcome {
  readonly graphRoot: string;
  readonly report: CheckReport;
  readonly left: CheckReport;
  readonly repaired: Repaired | undefined;
  readonly elapsedMs: number;
}

interface RepairWork {
  readonly config: Config;
  readonly options: StoreOptions;
  readonly report: CheckReport;
  readonly scope: CheckScope;
}

/** As CRI-O has it: a repair that leaves something undone makes way for an empty store, where that is asked for. */
async function repairOrWipe(
  work: RepairWork,
  { removeContainers, wipe }: { readonly removeContainers: boolean; readonly wipe: boolean },
): Promise<Repaired> {
  const { options, report } = work;
  using _lock = await excludeDaemon(`${work.config.crio.root}/crio`);
  let repaired: Repaired;
  try {
    repaired = await repairStore(work, removeContainers);
  } catch (error) {
    // Records that cannot be read stop everything else.
    if (!wipe || !(error instanceof DataLossError)) throw error;
    repaired = { done: [], failed: [error.message], left: report };
  }
  if (!wipe || repaired.failed.length === 0) return repaired;
  await wipeGraphRoot(options.graphRoot);
  const done = [...repaired.done, `removed everything in ${options.graphRoot}`];
  return { done, failed: [], left: await checkStore(options) };
}

async function repairStore({ options, report, scope }: RepairWork, removeContainers: boolean): Promise<Repaired> {
  await using store = await Store.open(options);
  const { done, failed } = await store.repair(report, { removeContainers });
  await store.settle();
  return { done, failed, left: await checkStore(options, onlyDamaged(scope, report)) };
}

/** Reads the files of those layers again that were damaged: they are gone, or are still what they were. */
function onlyDamaged({ content, ...scope }: CheckScope, report: CheckReport): CheckScope {
  if (content === undefined) return scope;
  const damaged = new Set(report.problems.filter(({ kind }) => kind === "content").map(({ id }) => id));
  return {
    ...scope,
    content: async (layer) => damaged.has(layer.id) ? await content(layer) : { kind: "sound" },
  };
}

/** A daemon keeps containers and images in memory that a repair may remove. */
async function excludeDaemon(directory: string): Promise<Disposable> {
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  const lock = RecordLockFile.open(`${directory}/lock`);
  if (lock.tryLock("write")) return lock;
  lock[Symbol.dispose]();
  throw new FailedPreconditionError(
    `a crio daemon uses this store (${directory}/lock): stop it, containers keep running, and repair then`,
  );
}

function jsonOf({ graphRoot, report, repaired, left, elapsedMs }: Outcome): string {
  const { problems, ...counts } = report;
  const document = {
    graphRoot,
    sound: left.problems.length === 0,
    ...counts,
    elapsedMs,
    problems,
    ...(repaired === undefined ? {} : { repaired: repaired.done, failed: repaired.failed, left: left.problems }),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

function textOf({ graphRoot, report, repaired, left, elapsedMs }: Outcome): string {
  const { layers, images, containers, verified, unverifiable } = report;
  const read = verified === 0 ? "" : `, files of ${verified} layers compared`;
  const lines = [
    `checked ${graphRoot}: ${layers} layers, ${images} images, ${containers} containers${read}, ` +
    `in ${(elapsedMs / 1000).toFixed(1)} s`,
    ...unverifiable.map(({ id, reason }) => `not compared: layer ${id}: ${reason}`),
    ...linesOf(report),
  ];
  if (repaired !== undefined) {
    lines.push(...repaired.done, ...repaired.failed);
    if (left.problems.length > 0) lines.push("left:", ...linesOf(left));
  }
  if (left.problems.length === 0) lines.push(repaired === undefined ? "the store is sound" : "the store is sound now");
  return `${lines.join("\n")}\n`;
}

function linesOf({ problems }: CheckReport): string[] {
  return problems.map(({ subject, id, detail }) => `${subject} ${id}: ${detail}`);
}

/** The words in which CRI-O counts, by distinct object. */
function summaryOf({ problems }: CheckReport): string {
  const count = (subject: ProblemSubject): number => {
    return new Set(problems.filter((problem) => problem.subject === subject).map(({ id }) => id)).size;
  };
  const others = count("leftover") + count("store");
  return [
    ...COUNTED.map((subject) => `${count(subject)} ${subject} errors`),
    ...(others === 0 ? [] : [`${others} other problems`]),
  ].join(", ");
}
