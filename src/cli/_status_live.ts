/** The parts of `crio status` that go on: `top` and `events`. */
import { print } from "./_output.ts";
import { type Daemon, events, get } from "./_status_client.ts";
import { printable } from "./table.ts";
import { ratesOf, type Sort, type StatsReading, topLines } from "./top_lines.ts";

export interface TopOptions {
  readonly json: boolean;
  readonly sort: Sort;
  readonly intervalMs: number;
}

/** Cursor home, and nothing of what was there. */
const CLEAR = "\x1b[H\x1b[J";
const MIN_INTERVAL_MS = 1000;

/** `crio status top`: drawn anew on a terminal until it is interrupted; elsewhere, and with `--json`, one round. */
export async function statusTop(daemon: Daemon, { json, sort, intervalMs }: TopOptions): Promise<void> {
  const read = async (): Promise<StatsReading> => JSON.parse(await get(daemon, "/stats"));
  // The daemon reads the figures of a pod once a second at most.
  const pause = (): Promise<void> => wait(Math.max(MIN_INTERVAL_MS, intervalMs));
  const isLive = Deno.stdout.isTerminal() && !json;
  let before = await read();
  if (isLive) draw(topLines(before, ratesOf(before, undefined, sort)));
  do {
    await pause();
    const now = await read();
    const rates = ratesOf(now, before, sort);
    if (json) print(`${JSON.stringify({ at: now.at, cpus: now.cpus, pods: rates }, undefined, 2)}\n`);
    else if (isLive) draw(topLines(now, rates));
    else print(`${topLines(now, rates).join("\n")}\n`);
    before = now;
  } while (isLive);
}

function draw(lines: readonly string[]): void {
  const { columns, rows } = Deno.consoleSize();
  const shown = lines.slice(0, Math.max(1, rows - 1)).map((line) => line.slice(0, Math.max(1, columns - 1)));
  print(`${CLEAR}${shown.join("\n")}\n`);
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

interface NodeEvent {
  readonly kind: "pod" | "container";
  readonly type: string;
  readonly at: string;
  readonly id: string;
  readonly name?: string;
  readonly pod: string;
  readonly namespace: string;
  readonly exit_code?: number;
  readonly oom_killed?: boolean;
}

const SHORT_ID = 13;

/** `crio status events`: a line for each change from now on, until the daemon stops or nobody reads. */
export async function statusEvents(daemon: Daemon, options: { readonly json: boolean }): Promise<void> {
  for await (const data of events(daemon, "/events")) {
    if (!print(`${options.json ? data : eventLine(JSON.parse(data))}\n`)) return;
  }
}

function eventLine({ at, kind, type, id, name, pod, namespace, exit_code: code, oom_killed: oom }: NodeEvent): string {
  const what = name === undefined ? `${namespace}/${pod}` : `${namespace}/${pod}/${name}`;
  const end = code === undefined ? "" : ` exit code ${code}${oom === true ? ", out of memory" : ""}`;
  return printable(`${at}  ${kind} ${type}  ${id.slice(0, SHORT_ID)}  ${what}${end}`);
}
